"""Errors of connectors, by what the orchestrator has to do about them.

Drivers' exceptions end at a connector's `translate(exc)`; nothing above a connector catches a driver's class. Messages
say what happened, where and what to do; they never hold a URI, a password or a document's values.
"""

from __future__ import annotations

from typing import Any


class ConnectorError(Exception):
    """Base of all errors that a connector raises. `stream`: the only one that it is about, where that is known."""

    stream: str = ""


class TransientError(ConnectorError):
    """The server or the way to it failed for the moment; the same call may succeed later. Nothing was committed."""


class AmbiguousCommitError(ConnectorError):
    """The connection was lost while COMMIT was under way: read the mark before anything is repeated (`rules.md` I1)."""


class RefusedError(ConnectorError):
    """The server is there but does not allow this: credentials, privileges, topology, version. A person must act."""


class NotOursError(RefusedError):
    """Something exists in the target that this run did not make; it is never overwritten or dropped."""


class TakenOverError(RefusedError):
    """Another process has taken over what this one was to do, or has undone what it goes by. Nothing of it is done."""


class UnsettledError(ConnectorError):
    """Lanes cannot be sealed: something is left to be applied or to be looked at, which the text names."""


class MarkMovedError(ConnectorError):
    """The compare-and-swap of a mark failed: another attempt committed first. Nothing of this one was kept."""


class EpochMovedError(ConnectorError):
    """Another orchestrator took over (the epoch is not ours any more). Nothing of this transaction was kept."""


class UniqueConflictError(ConnectorError):
    """Rows of the batch hold unique values that other rows hold (SQLSTATE 23505). Nothing was kept.

    `stream`, `constraint` and `columns` name the place; `claimants` are the canonical keys of those rows of the batch,
    `owners` those of the rows outside the batch that hold their values (none when two rows of the batch hold one).
    """

    def __init__(
        self,
        message: str,
        *,
        stream: str,
        constraint: str,
        columns: tuple[str, ...] = (),
        claimants: tuple[bytes, ...] = (),
        owners: tuple[bytes, ...] = (),
    ) -> None:
        super().__init__(message)
        self.stream = stream
        self.constraint = constraint
        self.columns = columns
        self.claimants = claimants
        self.owners = owners

    def __reduce__(self) -> tuple[object, ...]:
        """Pickled by its keywords, because workers send their errors to the orchestrator."""
        return (_with_attributes, (type(self), str(self), vars(self)))


class TiedError(UniqueConflictError):
    """More rows hold values of each other than can be written in one transaction. Nothing was kept."""


def _with_attributes(kind: type[ConnectorError], message: str, attributes: dict[str, Any]) -> ConnectorError:
    made = kind.__new__(kind, message)
    made.__dict__.update(attributes)
    return made


class RowRefusedError(ConnectorError):
    """The target cannot hold a row of the batch (too wide, too long for an index, refused by a rule). Nothing was kept.

    Which row it is, `BatchTarget.refused` finds out.
    """


class PositionLostError(ConnectorError):
    """The source's history no longer reaches back to our position (MongoDB 286): changes may have been missed."""


class SourceChangedError(ConnectorError):
    """A migrated collection was dropped, renamed or invalidated, or an event of unknown kind came: stop, say why."""


class UnmappableError(ConnectorError):
    """A document does not fit the plan and the plan's policy for that is `fail`.

    `stream`, `key` and `path` name it, where it is known.
    """

    def __init__(self, message: str, *, stream: str = "", key: bytes = b"", path: str = "") -> None:
        super().__init__(message)
        self.stream = stream
        self.key = key
        self.path = path

    def __reduce__(self) -> tuple[object, ...]:
        """As `UniqueConflictError`."""
        return (_with_attributes, (type(self), str(self), vars(self)))
