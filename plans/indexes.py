"""The declared form of an index and of the condition that a row must meet to be in it.

`columns: [status, {placed: desc}]`; `where: {deleted: absent, total: {gt: 5}}`. Names and values are judged against the
table by `plans.rules`: alone they say nothing.
"""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import BeforeValidator, Field, WithJsonSchema, model_validator

from tranship.plans.columns import Name
from tranship.plans.forms import Form, ShortForm, given, refuse
from tranship.plans.problems import Code
from tranship.plans.streams import Condition

Scalar = bool | int | float | str
"""A value that a column is compared with: times, ids and exact decimals are written as texts."""

_SCALAR = WithJsonSchema({"anyOf": [{"type": kind} for kind in ("boolean", "number", "string")]})


def _is_scalar(value: object) -> object:
    if not isinstance(value, bool | int | float | str):
        refuse(Code.TYPE, "not a single value", allowed=("a text, a number, true or false",))
    return value


Compared = Annotated[Any, BeforeValidator(_is_scalar), _SCALAR]


def _split(value: object) -> object:
    """(name, whether descending)"""
    name, way = next(iter(value.items())) if isinstance(value, dict) and len(value) == 1 else (value, "asc")
    if not isinstance(name, str) or not name:
        refuse(Code.TYPE, "not a column", allowed=("a column's name", "{NAME: desc}"))
    if way not in ("asc", "desc"):
        refuse(Code.CHOICE, f"not a direction of {name}", allowed=("asc", "desc"))
    return name, way == "desc"


_DIRECTED: dict[str, Any] = {
    "type": "object",
    "additionalProperties": {"enum": ["asc", "desc"]},
    "minProperties": 1,
    "maxProperties": 1,
}

_ONE_VALUE: tuple[Literal["eq", "gt", "gte", "lt", "lte"], ...] = ("eq", "gt", "gte", "lt", "lte")

IndexColumn = Annotated[
    tuple[str, bool],
    BeforeValidator(_split),
    WithJsonSchema({"anyOf": [{"type": "string", "minLength": 1}, _DIRECTED]}),
]
"""A column of an index, ascending, or `{NAME: desc}`."""


def _is_there(value: object) -> object:
    if value not in ("absent", "present"):
        refuse(Code.CHOICE, "says nothing of the column", allowed=("absent", "present", "{eq: VALUE}"))
    return value


_there = BeforeValidator(_is_there)


class ConditionPlan(ShortForm):
    """What a column of a row has to be: `absent` (NULL), `present`, or a value as compared; all tests must hold."""

    short: ClassVar[str] = "is"

    there: Annotated[Annotated[Literal["absent", "present"], _there] | None, given] = Field(default=None, alias="is")
    eq: Annotated[Compared, given] = None
    gt: Annotated[Compared, given] = None
    gte: Annotated[Compared, given] = None
    lt: Annotated[Compared, given] = None
    lte: Annotated[Compared, given] = None
    among: Annotated[Annotated[tuple[Compared, ...], Field(strict=False, min_length=1)] | None, given] = Field(
        default=None, alias="in"
    )

    @model_validator(mode="after")
    def _check(self) -> Self:
        if not self.model_fields_set:
            refuse(
                Code.VALUE, "says nothing of the column", allowed=("absent", "present", "{eq: VALUE}", "{gt: VALUE}")
            )
        return self

    def conditions(self, column: str) -> tuple[Condition, ...]:
        """Its resolved form."""
        found = [Condition(column, self.there)] if self.there is not None else []
        values = {test: getattr(self, test) for test in _ONE_VALUE}
        found += [Condition(column, test, (value,)) for test, value in values.items() if value is not None]
        return (*found, *([Condition(column, "in", self.among)] if self.among is not None else []))


class IndexPlan(Form):
    """An index of the root table. `unique`: no two rows hold the same values, of which NULL is none. `where`: only rows
    that meet it are in the index."""

    columns: Annotated[tuple[IndexColumn, ...], Field(strict=False, min_length=1)]
    unique: bool = False
    where: dict[Name, ConditionPlan] = Field(default_factory=dict)
