"""PostgreSQL as a target: loads, replaces and reads back rows, keeps progress beside them, owns what it makes.

Versions: 14 and later. Roles: batch target, progress, target schema; marked target, ledger.

Guarantees:
- Rows, their progress and their mark commit in one transaction, which checks the epoch last. Where the two are in
  different databases, rows and mark do, and the ledger settles behind them.
- Sessions that write are recorded under their epoch and ended at takeover, so that a stopped process blocks nobody.
- Only what a run made (and noted in the state schema) is emptied or dropped.
- What was loaded is read back equal, column by column, in key order, with bounded memory.

Cannot:
- Hold what its types cannot: U+0000 in text, times before 4714 BC; the source leaves such values to the residue.
- Read values that others put into its tables and that the plan's types lack (NaN in a `numeric`, infinite times, arrays
  of several dimensions): such a row reads as different from any document's. In a key column they are an error.
- Work through a pooler: it hides which session is which, and takeover ends sessions. `findings` refuses one.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from tranship.connectors.postgresql import script
from tranship.connectors.postgresql.mapping import mapping
from tranship.connectors.protocols import Scope
from tranship.plans.streams import Endpoint, Stream

if TYPE_CHECKING:
    from tranship.connectors.postgresql.control import PostgresControl
    from tranship.connectors.postgresql.ledger import PostgresLedger
    from tranship.connectors.postgresql.marked import PostgresMarkedTarget
    from tranship.connectors.postgresql.progress import PostgresProgress
    from tranship.connectors.postgresql.schema import PostgresSchema
    from tranship.connectors.postgresql.target import PostgresTarget
    from tranship.connectors.protocols import BatchTarget, Progress, TargetSchema
    from tranship.connectors.protocols.control import ControlStore
    from tranship.connectors.protocols.detached import Ledger, MarkedTarget

Hook = Callable[[str], None]

SITES = (
    "load.before_mark",
    "load.before_epoch",
    "load.before_commit",
    "load.after_commit",
    "replace.before_delete",
    "replace.before_mark",
    "replace.before_epoch",
    "replace.before_commit",
    "replace.after_commit",
    "keep.before_position",
    "keep.before_commit",
    "keep.after_commit",
    "seal.before_commit",
    "seal.after_commit",
    "journal.before_commit",
    "journal.after_append",
)
"""Names that a `hook` is called with, each at one place: for failpoints."""


def _no_hook(_: str) -> None: ...


WORKER_MODULES = ("tranship.connectors.postgresql.target",)

# Each way in loads only what it needs: a status needs no Arrow, and showing a plan no driver at all.


def connect_target(
    endpoint: Endpoint,
    streams: Sequence[Stream],  # noqa: ARG001 - every connector is opened alike
    scope: Scope,
    *,
    hook: Hook = _no_hook,
) -> PostgresTarget:
    """A writer under `scope`: its session is recorded under the epoch before anything else.

    Under a scope that only reads (`Scope.reading`) nothing is recorded, and a transaction may not idle for a minute.
    Raises `EpochMovedError`, `RefusedError` or `TransientError`.
    """
    from tranship.connectors.postgresql.target import PostgresTarget

    return PostgresTarget(endpoint, scope, hook)


def connect_progress(
    endpoint: Endpoint,
    streams: Sequence[Stream],
    *,
    hook: Hook = _no_hook,
) -> PostgresProgress:
    """The durable progress of the streams; connects when it is first used."""
    from tranship.connectors.postgresql.progress import PostgresProgress

    return PostgresProgress(endpoint, streams, hook)


def connect_marked(endpoint: Endpoint, scope: Scope, *, hook: Hook = _no_hook) -> PostgresMarkedTarget:
    """The same target without what is kept about its rows; connects when it is first used."""
    from tranship.connectors.postgresql.marked import PostgresMarkedTarget

    return PostgresMarkedTarget(endpoint, scope, hook)


def connect_ledger(endpoint: Endpoint, streams: Sequence[Stream], *, hook: Hook = _no_hook) -> PostgresLedger:
    """What is kept about the rows of a target elsewhere; connects when it is first used. The endpoint's `schema` is
    not looked at."""
    from tranship.connectors.postgresql.ledger import PostgresLedger

    return PostgresLedger(endpoint, streams, hook)


def connect_control(endpoint: Endpoint, *, hook: Hook = _no_hook) -> PostgresControl:
    """The control store in the state schema; connects when it is first used."""
    from tranship.connectors.postgresql.control import PostgresControl

    return PostgresControl(endpoint, hook)


def connect_schema(endpoint: Endpoint, streams: Sequence[Stream]) -> PostgresSchema:
    """The catalog; `streams` are all of the plan's, so that references are found. Connects when it is first used."""
    from tranship.connectors.postgresql.schema import PostgresSchema

    return PostgresSchema(endpoint, streams)


def schema_script(endpoint: Endpoint, streams: Sequence[Stream], *, rollback: bool = False) -> str:
    """The SQL that makes what the streams need, or takes it away. Connects to nothing."""
    return script.dropping(endpoint, streams) if rollback else script.making(endpoint, streams)


def discard_shadow(endpoint: Endpoint) -> None:
    """Take a dry run over that is over, and remove its tables and their schema. Idempotent.

    Raises `RefusedError` where others have hung something on them; nothing is removed then.
    """
    from tranship.connectors.postgresql.discarding import discard

    discard(endpoint)


if TYPE_CHECKING:

    def _is_target(target: PostgresTarget) -> BatchTarget:
        return target

    def _is_marked(target: PostgresMarkedTarget) -> MarkedTarget:
        return target

    def _is_ledger(ledger: PostgresLedger) -> Ledger:
        return ledger

    def _is_progress(progress: PostgresProgress) -> Progress:
        return progress

    def _is_control(control: PostgresControl) -> ControlStore:
        return control

    def _is_schema(schema: PostgresSchema) -> TargetSchema:
        return schema


__all__ = [
    "SITES",
    "connect_control",
    "connect_ledger",
    "connect_marked",
    "connect_progress",
    "connect_schema",
    "connect_target",
    "discard_shadow",
    "mapping",
    "schema_script",
]
