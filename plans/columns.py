"""The declared form of keys, columns and child tables, with their short forms.

`status: text` is `status: {type: text}`; a `path` that is left out is the name, split on dots.
"""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import AfterValidator, BeforeValidator, Field, StringConstraints, WithJsonSchema, model_validator

from tranship.plans.elsewhere import TYPES
from tranship.plans.forms import Choice, Form, Later, ShortForm, given, null_is_text, refuse
from tranship.plans.pairs import PAIRS, Bson
from tranship.plans.problems import Code
from tranship.plans.streams import LogicalType

MAX_PRECISION = 38
"""Digits of the widest decimal that batches carry."""

KeyType = Literal["int32", "int64", "decimal", "text", "bytes", "uuid", "objectid", "timestamp", "date", "canonical"]

LISTED = (LogicalType.TEXT, LogicalType.INT32, LogicalType.INT64)
"""The types whose values can be listed."""

LONG_KEY_TYPES = ("text", "bytes", "canonical")
"""Key types whose values can be of any length."""

ItemType = Literal[
    "bool", "int32", "int64", "float64", "decimal", "text", "bytes", "uuid", "objectid", "timestamp", "date"
]

Name = Annotated[str, StringConstraints(min_length=1)]


def _split(value: object) -> object:
    steps = value.split(".") if isinstance(value, str) else value
    if not isinstance(steps, list) or not all(isinstance(step, str) for step in steps):
        refuse(Code.TYPE, "not a path", allowed=("a text such as address.city", "a list of field names"))
    if isinstance(value, str) and "" in steps:
        refuse(Code.VALUE, "an empty field name in the path: write the path as a list if that is meant")
    if any("\0" in step for step in steps):
        refuse(Code.VALUE, "a field name cannot hold U+0000")
    return tuple(steps)


def _refuse_no_steps(path: tuple[str, ...]) -> tuple[str, ...]:
    if not path:
        refuse(Code.VALUE, "the path names no field: only a child table's column stands for the element itself")
    return path


def _path_schema(least: int) -> WithJsonSchema:
    names = {"type": "array", "items": {"type": "string"}, "minItems": least}
    return WithJsonSchema({"anyOf": [{"type": "string", "minLength": 1}, names]})


FieldPath = Annotated[tuple[str, ...], AfterValidator(_refuse_no_steps), BeforeValidator(_split), _path_schema(1)]
"""Field names from the document (or an array's element) down; a list when a name itself has a dot."""

ElementPath = Annotated[tuple[str, ...], BeforeValidator(_split), _path_schema(0)]
"""As `FieldPath`; an empty list stands for the array's element itself, when the elements are no documents."""


Null = Annotated[
    Literal["missing", "null"], Choice(), null_is_text, WithJsonSchema({"enum": ["missing", "null", None]})
]
Empty = Annotated[
    Literal["empty", "missing", "null"],
    Choice(),
    null_is_text,
    WithJsonSchema({"enum": ["empty", "missing", "null", None]}),
]


def _check_comment(text: str) -> str:
    if "\0" in text:
        refuse(Code.VALUE, "a comment cannot hold U+0000")
    return text


Comment = Annotated[Annotated[str, StringConstraints(min_length=1), AfterValidator(_check_comment)] | None, given]
"""What the target's catalog says of a table or column. It is no part of what a run's rows mean."""


def _is_listed(value: object) -> object:
    if isinstance(value, bool) or not isinstance(value, str | int):
        refuse(Code.TYPE, "not a value that can be listed", allowed=("texts", "whole numbers"))
    if isinstance(value, str) and "\0" in value:
        refuse(Code.VALUE, "a text cannot hold U+0000")
    return value


def _are_different(values: tuple[str | int, ...]) -> tuple[str | int, ...]:
    for place, value in enumerate(values):
        if value in values[:place]:
            refuse(Code.VALUE, f"{value!r} is there twice")
    return values


_Listed = Annotated[
    Any, BeforeValidator(_is_listed), WithJsonSchema({"anyOf": [{"type": "string"}, {"type": "integer"}]})
]
_List = Annotated[tuple[_Listed, ...], Field(strict=False, min_length=1), AfterValidator(_are_different)]
Values = Annotated[_List | None, given]
"""The only values that a column may hold; others are as if they were of another type."""

Filled = Annotated[Literal["expected", "optional"], Choice()]
"""Whether a column that no document has filled, or a child table without any row, keeps the cutover from happening."""


class _Typed(ShortForm):
    """What every typed column has. `bson` names the source type whose values are held exactly."""

    short: ClassVar[str] = "type"

    type: str
    path: Annotated[FieldPath | None, given] = None
    bson: Annotated[Annotated[Bson, Choice()] | None, given] = None
    precision: Annotated[Annotated[int, Field(ge=1, le=MAX_PRECISION)] | None, given] = None
    scale: Annotated[Annotated[int, Field(ge=0, le=MAX_PRECISION)] | None, given] = None

    def _check_type(self, logical: LogicalType) -> None:
        if self.bson is not None and self.bson not in PAIRS[logical]:
            refuse(Code.CHOICE, f"does not feed {logical} exactly", allowed=PAIRS[logical], key="bson")
        if logical is not LogicalType.DECIMAL:
            for key in ("precision", "scale"):
                if getattr(self, key) is not None:
                    refuse(Code.VALUE, f"only a decimal has it, not {logical}", key=key)
        elif self.scale is None:
            refuse(Code.MISSING_KEY, "a decimal needs its number of digits after the point", key="scale")
        elif self.scale > (self.precision or MAX_PRECISION):
            refuse(Code.VALUE, "larger than the precision", key="scale")


class _DataColumn(_Typed):
    """A column that is no key: it may hold an array, and NULL stands for one of two things."""

    type: Annotated[LogicalType, Choice(elsewhere=TYPES)]
    items: Annotated[Annotated[ItemType, Choice(elsewhere=TYPES)] | None, given] = None
    null: Null = "missing"
    filled: Filled = "expected"
    values: Values = None
    comment: Comment = None

    @property
    def single(self) -> LogicalType:
        """The type of one value: of an array's element, or of the column."""
        return LogicalType(self.items or self.type)

    def _check_items(self) -> None:
        array = self.type is LogicalType.ARRAY
        if array and self.items is None:
            refuse(Code.MISSING_KEY, "an array needs the type of its elements", key="items")
        if not array and self.items is not None:
            refuse(Code.VALUE, f"only an array has it, not {self.type}", key="items")
        self._check_type(self.single)
        if self.values is not None and self.type not in LISTED:
            refuse(Code.VALUE, f"{self.type} has no list of values", allowed=LISTED, key="values")
        for value in self.values or ():
            if isinstance(value, str) is not (self.type is LogicalType.TEXT):
                refuse(Code.VALUE, f"{value!r} is no value of {self.type}", key="values")
            if isinstance(value, int) and value.bit_length() >= (32 if self.type is LogicalType.INT32 else 64):
                refuse(Code.VALUE, f"{value} is beyond {self.type}", key="values")


class KeyColumnPlan(_Typed):
    """A column of the primary key: `_id`, a part of it, or (`canonical`) the canonical key of `_id`s of mixed types."""

    type: Annotated[KeyType, Choice(elsewhere=TYPES)]
    long: bool = False
    comment: Comment = None

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.long and self.type not in LONG_KEY_TYPES:
            refuse(Code.VALUE, f"values of {self.type} are short", allowed=LONG_KEY_TYPES, key="long")
        if self.type != "canonical":
            self._check_type(LogicalType(self.type))
            return self
        for key in ("path", "bson", "precision", "scale"):
            if getattr(self, key) is not None:
                refuse(Code.VALUE, "a canonical key does not have it: it stands for the whole _id", key=key)
        return self


class ReferencePlan(ShortForm):
    """`references: customers` is `references: {to: customers}`: the column holds keys of that stream's rows."""

    short: ClassVar[str] = "to"

    to: Name
    enforce: Annotated[Literal["report"], Choice(later=("yes",))] = "report"


_NO_REFERENCES = "an array holds no references; in a child table its elements can be joined"


class ColumnPlan(_DataColumn):
    """A column of a root table."""

    unique: bool = False
    references: Annotated[ReferencePlan | None, given] = None

    @model_validator(mode="after")
    def _check(self) -> Self:
        self._check_items()
        if self.items is not None and self.unique:
            refuse(Code.VALUE, "an array cannot be unique", key="unique")
        if self.items is not None and self.references is not None:
            refuse(Code.VALUE, _NO_REFERENCES, key="references")
        return self


class ChildColumnPlan(_DataColumn):
    """A column of a child table; its path starts at the array's element, and an empty list is the element itself."""

    path: Annotated[ElementPath | None, given] = None
    unique: Later = None
    references: Later = None

    @model_validator(mode="after")
    def _check(self) -> Self:
        self._check_items()
        return self


class ChildPlan(Form):
    """A child table: one row per element of the array at `path`. `empty` says what no rows at all stand for. `order`
    lists all top fields of a usual element."""

    path: Annotated[FieldPath | None, given] = None
    columns: Annotated[dict[Name, ChildColumnPlan], Field(min_length=1)]
    children: dict[Name, ChildPlan] = Field(default_factory=dict)
    empty: Empty = "empty"
    filled: Filled = "expected"
    order: Annotated[Annotated[tuple[str, ...], Field(strict=False)] | None, given] = None
    comment: Comment = None


def default_bson(logical: LogicalType) -> Bson:
    """The BSON type that a column of this type expects when the plan does not say."""
    return PAIRS[logical][0]
