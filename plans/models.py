"""The declared form of a plan: what the YAML file says, checked key by key.

`plans.loader` reads it from a file, `plans.rules` checks what no single key can, `plans.resolution` turns it into the
frozen values that the rest of the program works with.
"""

from __future__ import annotations

import json
from typing import Annotated, Any, ClassVar, Literal

from pydantic import (
    AfterValidator,
    BeforeValidator,
    ConfigDict,
    Field,
    StringConstraints,
    ValidationInfo,
    WithJsonSchema,
)

from tranship.plans.addresses import Address, AddressError, Surroundings, read_address
from tranship.plans.columns import ChildPlan, ColumnPlan, Comment, KeyColumnPlan, Name
from tranship.plans.filters import refusals
from tranship.plans.forms import Choice, Form, Later, Patience, Seconds, Share, ShortForm, Size, at_least, given, refuse
from tranship.plans.indexes import IndexPlan
from tranship.plans.problems import Code
from tranship.plans.strategies import LATER_PHASES, LATER_STRATEGIES, STAGES, STRATEGIES, Group, PhaseName, Stage
from tranship.plans.streams import Rest
from tranship.plans.units import parse_duration, parse_size

_INT64 = range(-(2**63), 2**63)

SOURCE_SCHEMES = ("mongodb://", "mongodb+srv://")
TARGET_SCHEMES = ("postgresql://", "postgres://")
STATE_SCHEMA = "tranship"


def _address(*schemes: str) -> Any:
    def read(value: object, info: ValidationInfo) -> Address:
        if not isinstance(value, str):
            refuse(Code.TYPE, "not a URI", allowed=("a text such as ${env:NAME}",))
        surroundings = info.context if isinstance(info.context, Surroundings) else Surroundings()
        try:
            return read_address(value, schemes, surroundings)
        except AddressError as exc:
            return refuse(Code.SECRET, str(exc))

    return BeforeValidator(read)


class SourcePlan(Form):
    """The source server and the database to move."""

    model_config = ConfigDict(arbitrary_types_allowed=True)

    mongodb: Annotated[Address, _address(*SOURCE_SCHEMES), WithJsonSchema({"type": "string"})]
    database: Name


class TargetPlan(Form):
    """The target database, the schema that gets the tables, and the schema that keeps the state of runs.

    `accept` names tables of others whose foreign keys may refer to migrated rows; they act when a document is deleted.
    """

    model_config = ConfigDict(arbitrary_types_allowed=True)

    postgresql: Annotated[Address, _address(*TARGET_SCHEMES), WithJsonSchema({"type": "string"})]
    schema_name: Name = Field(default="public", alias="schema")
    state_schema: Name = STATE_SCHEMA
    accept: tuple[Name, ...] = Field(default=(), strict=False)


class RestPlan(ShortForm):
    """What becomes of the rest: `residue`, `quarantine`, `fail`, or `{json: column}` for unnamed fields."""

    short: ClassVar[str] = "policy"

    policy: Annotated[Rest, Choice()] = Rest.RESIDUE
    json_column: Annotated[Name | None, given] = Field(default=None, alias="json")


def _check_filter(value: dict[str, Any]) -> dict[str, Any]:
    try:
        json.dumps(value, allow_nan=False)
    except ValueError:
        refuse(Code.VALUE, 'not JSON: write infinities and NaN as {$numberDouble: "NaN"}')
    _check_numbers(value)
    for refusal in refusals(value):
        refuse(Code.VALUE, refusal)
    return value


def _check_numbers(value: object) -> None:
    if isinstance(value, dict | list):
        for part in value.values() if isinstance(value, dict) else value:
            _check_numbers(part)
    elif isinstance(value, int) and value not in _INT64:
        refuse(Code.VALUE, "an integer beyond 64 bits")


class StreamPlan(Form):
    """What becomes one root table and its child tables.

    `where` is a source filter, with extended JSON for BSON types. `order` lists all top fields of a usual document.
    """

    collection: Annotated[Name | None, given] = Field(default=None, alias="from")
    where: Annotated[Annotated[dict[str, Any], AfterValidator(_check_filter)] | None, given] = None
    table: Annotated[Name | None, given] = None
    key: Annotated[dict[Name, KeyColumnPlan], Field(min_length=1)] = Field(
        default_factory=lambda: {"_id": KeyColumnPlan(type="objectid")}
    )
    columns: dict[Name, ColumnPlan] = Field(default_factory=dict)
    children: dict[Name, ChildPlan] = Field(default_factory=dict)
    indexes: tuple[IndexPlan, ...] = Field(default=(), strict=False)
    rest: RestPlan = Field(default_factory=RestPlan)
    order: Annotated[Annotated[tuple[str, ...], Field(strict=False)] | None, given] = None
    comment: Comment = None


class ReconcilePlan(Form):
    """How source and target are compared, and what a divergence leads to."""

    mode: Annotated[Literal["full"], Choice(later=("sampled", "continuous"))] = "full"
    max_divergences: Annotated[int, Field(ge=0)] = 0
    on_divergence: Annotated[Literal["rollback", "repair"], Choice()] = "rollback"


class WriterPlan(ShortForm):
    """An application's user on the source, and the database that keeps it. `login`: its own URI, by which it is tried
    whether a fence holds."""

    model_config = ConfigDict(arbitrary_types_allowed=True)
    short: ClassVar[str] = "user"

    user: Name
    database: Name = "admin"
    login: Annotated[
        Annotated[Address, _address(*SOURCE_SCHEMES), WithJsonSchema({"type": "string"})] | None, given
    ] = None


FenceName = Literal["external", "router", "auto", "write-block", "roles", "validators"]


class CutoverPlan(Form):
    """When the switch may happen. `fence` is what keeps writers from the source: they were stopped by hand
    (`external`), write through routers (`router`), or the source's server keeps them away (`write-block`, `roles`,
    `validators`; `auto` takes the first of the two former that can be raised). `writers` are the users whose writes
    that is about. `quiet` is for how long no write to a migrated collection may have come before it, with an external
    fence; `deadline` is how long that is waited for, or for how long a fence may stand. `final` is what is compared
    behind the last write: what was applied lately or is known to differ, or every row."""

    fence: Annotated[FenceName, Choice()] = "external"
    writers: tuple[WriterPlan, ...] = Field(default=(), strict=False)
    quiet: Annotated[Seconds, at_least("100ms", parse_duration)] = 5.0
    deadline: Annotated[Seconds, at_least("1s", parse_duration)] = 10.0
    # Capture looks at an idle source once a second: a smaller lag could not be told from a larger one.
    max_lag: Annotated[Seconds, at_least("2s", parse_duration)] = 2.0
    max_quarantined: Annotated[int, Field(ge=0)] = 0
    final: Annotated[Literal["touched", "full"], Choice()] = "touched"


StageName = Annotated[Stage, Choice(later=LATER_PHASES, among=STAGES)]
OnFailure = Annotated[Literal["rollback", "pause"], Choice()]


class RollbackPlan(Form):
    """What a failed verification leads to, for every phase and for single ones."""

    on_failure: OnFailure = "rollback"
    phases: dict[StageName, OnFailure] = Field(default_factory=dict)


class RequirePlan(Form):
    """What a run must have before it begins. `dry_run`: a report of a dry run that is not older."""

    dry_run: Annotated[Annotated[Seconds, at_least("1m", parse_duration)] | None, given] = None


class LimitsPlan(Form):
    """What a run may use: worker processes, memory for all of them together, source bytes per chunk.

    `lease` is for how long an orchestrator that fell silent keeps others out, `patience` for how long a server may be
    away before the run pauses. `misfit` is how many of a column's values may be NULL because they did not fit.
    """

    workers: Annotated[int, Field(ge=1, le=64)] = 2
    memory: Annotated[Annotated[Size, at_least("256MiB", parse_size)] | None, given] = None
    chunk: Annotated[Size, at_least("64KiB", parse_size)] = 4 * 1024**2
    lease: Annotated[Seconds, at_least("2s", parse_duration)] = 15.0
    patience: Annotated[Patience, at_least("1s", parse_duration)] = 900.0
    misfit: Share = 0.01


class Plan(Form):
    """A plan, as declared."""

    version: Annotated[Literal[1], Choice()]
    name: Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_-]{0,39}$")] = Field(alias="plan")
    strategy: Annotated[Literal["expand-contract"], Choice(later=LATER_STRATEGIES)] = "expand-contract"
    source: SourcePlan
    target: TargetPlan
    applications: Later = None
    streams: Annotated[dict[Name, StreamPlan], Field(min_length=1)]
    reconcile: ReconcilePlan = Field(default_factory=ReconcilePlan)
    cutover: CutoverPlan = Field(default_factory=CutoverPlan)
    approval: tuple[StageName, ...] = Field(default=(Group.CUTOVER,), strict=False)
    rollback: RollbackPlan = Field(default_factory=RollbackPlan)
    require: RequirePlan = Field(default_factory=RequirePlan)
    soak: Later = None
    limits: LimitsPlan = Field(default_factory=LimitsPlan)

    @property
    def phases(self) -> tuple[PhaseName, ...]:
        """The phases of the strategy, in order."""
        return STRATEGIES[self.strategy]
