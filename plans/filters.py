"""What a stream's `where` may say: whole Extended JSON, and nothing whose answer depends on time or chance.

A filter is asked again for every span, every change and every comparison. What is dropped from it silently would be
dropped everywhere alike, and nothing would notice; what changes its mind without an event moves documents into or out
of the stream that no change names (`rules.md` K3).
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator, Mapping


def _text(pattern: str) -> Callable[[object], bool]:
    form = re.compile(pattern)
    return lambda value: isinstance(value, str) and form.fullmatch(value) is not None


def _whole(bits: int, *, signed: bool = True) -> Callable[[object], bool]:
    """A whole number of so many bits."""
    numbers = range(-(1 << bits - 1), 1 << bits - 1) if signed else range(1 << bits)
    return lambda value: isinstance(value, int) and not isinstance(value, bool) and value in numbers


def _whole_text(bits: int) -> Callable[[object], bool]:
    is_text, is_whole = _text("-?[0-9]{1,19}"), _whole(bits)
    return lambda value: is_text(value) and is_whole(int(str(value)))


def _double_text(value: object) -> bool:
    """A double's text; not one that only an infinity stands for."""
    if value in ("Infinity", "-Infinity", "NaN"):
        return True
    return _text("-?[0-9]+([.][0-9]*)?([eE][+-]?[0-9]+)?")(value) and math.isfinite(float(str(value)))


def _parts(**forms: Callable[[object], bool]) -> Callable[[object], bool]:
    """A mapping of just these parts."""
    return lambda value: (
        isinstance(value, dict) and value.keys() == forms.keys() and all(is_it(value[n]) for n, is_it in forms.items())
    )


def _any_of(*forms: Callable[[object], bool]) -> Callable[[object], bool]:
    return lambda value: any(is_it(value) for is_it in forms)


_ANY_TEXT = _text("(?s).*")
_HEX = "[0-9a-fA-F]"
_LONG = _any_of(_whole(64), _whole_text(64))
_INSTANT = r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]{1,3})?(Z|[+-][0-9]{2}:?[0-9]{2})"
_BASE64 = "([A-Za-z0-9+/]{4})*([A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?"

VALUES: Mapping[str, tuple[Callable[[object], bool], str]] = {
    "$oid": (_text(_HEX + "{24}"), '"507f1f77bcf86cd799439011"'),
    "$symbol": (_ANY_TEXT, '"text"'),
    "$numberInt": (_whole_text(32), '"5"'),
    "$numberLong": (_LONG, '"5"'),
    "$numberDouble": (_double_text, '"1.5"'),
    "$numberDecimal": (_text("-?[0-9]+([.][0-9]*)?([eE][+-]?[0-9]+)?|-?Infinity|NaN"), '"1.50"'),
    "$binary": (_parts(base64=_text(_BASE64), subType=_text(_HEX + "{1,2}")), '{"base64": "YWI=", "subType": "00"}'),
    "$uuid": (_text(f"{_HEX}{{8}}(-?{_HEX}{{4}}){{3}}-?{_HEX}{{12}}"), '"00112233-4455-6677-8899-aabbccddeeff"'),
    "$code": (_ANY_TEXT, '"text"'),
    "$timestamp": (_parts(t=_whole(32, signed=False), i=_whole(32, signed=False)), '{"t": 1700000000, "i": 1}'),
    "$regularExpression": (_parts(pattern=_text("(?s)[^\0]*"), options=_text("[imsux]*")),
                           '{"pattern": "^a", "options": "i"}'),
    "$date": (_any_of(_text(_INSTANT), _whole(64), _parts(**{"$numberLong": _LONG})), '"2024-01-31T12:00:00.000Z"'),
    "$minKey": (lambda value: value == 1 and value is not True, "1"),
    "$maxKey": (lambda value: value == 1 and value is not True, "1"),
}  # fmt: skip
"""Extended JSON's values (version 2), what each takes, and an example of it. Each stands alone, but for `$code` with
`$scope`. A library would make some number or date of much that is none. The old form of regular expressions, `$regex`
and `$options`, is not among them: in a filter these are operators, beside others."""

UNASKED = {
    "$undefined": "cannot be asked for; $exists and {$type: 6} can",
    "$dbPointer": "cannot be asked for; {$type: 12} can",
}

OPERATORS = {
    "$where": "runs code of its own",
    "$function": "runs code of its own",
    "$accumulator": "runs code of its own",
    "$rand": "depends on chance",
    "$sampleRate": "depends on chance",
    "$createObjectId": "depends on chance",
    "$currentDate": "depends on time",
    "$near": "does not stand beside a condition on keys",
    "$geoNear": "does not stand beside a condition on keys",
    "$nearSphere": "does not stand beside a condition on keys",
    "$text": "does not stand beside a condition on keys",
}
VARIABLES = {
    "$$NOW": "depends on time",
    "$$CLUSTER_TIME": "depends on time",
    "$$USER_ROLES": "depends on who asks",
}


def is_value(mapping: dict[str, object]) -> bool:
    """Whether a mapping is a value of Extended JSON, or was meant to be one."""
    return not mapping.keys().isdisjoint(VALUES.keys() | UNASKED)


def refusals(where: object, place: tuple[str, ...] = ()) -> Iterator[str]:
    """What a filter may not say, each with its place. A literal text is no variable: only `$expr` knows these."""
    if isinstance(where, list):
        for number, part in enumerate(where):
            yield from refusals(part, (*place, str(number)))
    elif isinstance(where, dict) and is_value(where):
        yield from _value(where, place)
    elif isinstance(where, dict):
        for name, part in where.items():
            if name in OPERATORS:
                yield f"{_named(*place, name)} {OPERATORS[name]}"
            elif name != "$literal":
                yield from refusals(part, (*place, name))
    elif isinstance(where, str) and "$expr" in place and where.partition(".")[0] in VARIABLES:
        yield f"{where} in {_named(*place)} {VARIABLES[where.partition('.')[0]]}"


def _value(mapping: dict[str, object], place: tuple[str, ...]) -> Iterator[str]:
    for kind in sorted(UNASKED.keys() & mapping.keys()):
        yield f"{_named(*place)}: {kind} {UNASKED[kind]}"
        return
    kinds = sorted(VALUES.keys() & mapping.keys())
    beside = sorted(mapping.keys() - {kinds[0]} - ({"$scope"} if kinds == ["$code"] else set()))
    if beside:
        yield f"{_named(*place)}: {', '.join(beside)} cannot stand beside {kinds[0]}, which is a value of its own"
        return
    is_it, example = VALUES[kinds[0]]
    if not is_it(mapping[kinds[0]]) or not isinstance(mapping.get("$scope", {}), dict):
        yield f'{_named(*place)}: not a value of {kinds[0]}, which is written {{"{kinds[0]}": {example}}}'


def _named(*place: str) -> str:
    return ".".join(place) or "the filter"
