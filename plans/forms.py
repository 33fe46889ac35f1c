"""The building blocks of the declared form: closed models, short forms, choices, and keys that are not available yet.

Every refusal of a value is raised by `refuse`, so that it carries what a problem needs; `plans.translation` turns it
into a problem with its place.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Annotated, Any, ClassVar, NoReturn, get_args

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    GetCoreSchemaHandler,
    GetJsonSchemaHandler,
    WithJsonSchema,
    model_validator,
)
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, PydanticCustomError, core_schema

from tranship.plans.problems import Code
from tranship.plans.units import (
    DURATION_PATTERN,
    FOREVER,
    SHARE_PATTERN,
    SIZE_PATTERN,
    parse_duration,
    parse_patience,
    parse_share,
    parse_size,
)


def refuse(code: Code, message: str, *, allowed: tuple[str, ...] = (), key: str = "", near: str = "") -> NoReturn:
    """Refuse the value that is being validated; `key` names the key of it that the message is about, `near` what was
    probably meant, where that is known better than by its spelling."""
    context = {"message": message, "code": code, "allowed": allowed, "key": key, "near": near}
    raise PydanticCustomError("tranship", "{message}", context)


class Form(BaseModel):
    """Base of all that a plan declares: unknown keys are refused, nothing is converted, nothing changes later."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, hide_input_in_errors=True, defer_build=True)
    # deferred: one validator, of whole plans, is made when it is first needed, and none for each of their parts


class ShortForm(Form):
    """A form that may also be written as one text, which stands for its key `short`."""

    short: ClassVar[str]

    @model_validator(mode="before")
    @classmethod
    def _expand(cls, value: object) -> object:
        return {cls.short: value} if isinstance(value, str) else value

    @classmethod
    def __get_pydantic_json_schema__(cls, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        reference = handler(schema)
        full = handler.resolve_ref_schema(reference)
        written_out = dict(full)
        full.clear()
        full.update(anyOf=[written_out["properties"][cls.short], written_out])
        return reference


@dataclass(frozen=True)
class Choice:
    """Annotation of a Literal or an Enum: says what is allowed, and knows what is planned but not available yet."""

    later: tuple[str, ...] = ()
    among: tuple[Enum, ...] = ()
    """Of several enumerations, the members that are allowed."""
    elsewhere: Mapping[str, str] = field(default_factory=dict, hash=False)
    """What members are called elsewhere, in small letters."""

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        members: dict[str, object]
        if self.among:
            members = {str(member.value): member for member in self.among}
        elif isinstance(source, type) and issubclass(source, Enum):
            members = {str(member.value): member for member in source}
        else:
            members = {str(value): value for value in get_args(source)}

        def choose(value: object) -> object:
            # The key is compared as text, but 1, "1" and true stay three different values.
            chosen = members.get(str(value))
            if chosen is not None and (isinstance(chosen, Enum) or type(chosen) is type(value)):
                return chosen
            if value in self.later:
                refuse(Code.LATER, f"{value} is not available yet", allowed=tuple(members))
            known = self.elsewhere.get(value.lower(), "") if isinstance(value, str) else ""
            near = known if known in members else ""
            return refuse(Code.CHOICE, "not one of the allowed values", allowed=tuple(members), near=near)

        return core_schema.no_info_before_validator_function(choose, handler(source))

    def __get_pydantic_json_schema__(self, core: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        if self.among:
            return {"enum": [member.value for member in self.among], "type": "string"}
        return handler(core)


def _refuse_later(_: object) -> NoReturn:
    refuse(Code.LATER, "not available yet: remove this key")


Later = Annotated[
    None,
    BeforeValidator(_refuse_later),
    WithJsonSchema({"not": {}, "description": "Not available yet."}),
]
"""A key that is planned: any value of it is refused, because a key is acted on or refused, never ignored."""


def _refuse_nothing(value: object) -> object:
    if value is None:
        refuse(Code.TYPE, "nothing is given: write a value or leave the key out")
    return value


given = BeforeValidator(_refuse_nothing)
"""For optional keys: the key may be left out, but not be written without a value."""


def _null_is_text(value: object) -> object:
    return "null" if value is None else value


null_is_text = BeforeValidator(_null_is_text)
"""For choices that have the member `null`, which YAML reads as nothing when it is written without quotes."""


def _measure(parse: Callable[[str], float]) -> BeforeValidator:
    def read(value: object) -> float:
        if not isinstance(value, str):
            refuse(Code.TYPE, "a unit is missing", allowed=("a number with a unit, such as 512MiB or 10s",))
        try:
            return parse(value)
        except ValueError as exc:
            return refuse(Code.VALUE, "cannot be read", allowed=(str(exc),))

    return BeforeValidator(read)


def at_least(smallest: str, parse: Callable[[str], float]) -> AfterValidator:
    """A lower limit of a size or duration, written as in a plan."""

    def compare(value: float) -> float:
        if value < parse(smallest):
            refuse(Code.VALUE, "out of range", allowed=(f"at least {smallest}",))
        return value

    return AfterValidator(compare)


Size = Annotated[int, _measure(parse_size), WithJsonSchema({"type": "string", "pattern": SIZE_PATTERN})]
"""Bytes, written as `512MiB`."""

Patience = Annotated[
    float,
    _measure(parse_patience),
    WithJsonSchema({"anyOf": [{"type": "string", "pattern": DURATION_PATTERN}, {"const": FOREVER}]}),
]
"""Seconds, written as `10s`, or `forever`."""

Seconds = Annotated[float, _measure(parse_duration), WithJsonSchema({"type": "string", "pattern": DURATION_PATTERN})]
"""Seconds, written as `10s`."""

Share = Annotated[float, _measure(parse_share), WithJsonSchema({"type": "string", "pattern": SHARE_PATTERN})]
"""A part of 1, written as `1%`."""
