"""What a stream's `where` may say: whole Extended JSON, and nothing whose answer depends on time or chance.

A filter is asked again for every span, every change and every comparison. What is dropped from it silently would be
dropped everywhere alike, and nothing would notice; what changes its mind without an event moves documents into or out
of the stream that no change names (`rules.md` K3).
"""

from __future__ import annotations

from collections.abc import Iterator

VALUES = frozenset(
    {"$oid", "$symbol", "$numberInt", "$numberLong", "$numberDouble", "$numberDecimal", "$binary", "$uuid", "$code"}
    | {"$timestamp", "$regularExpression", "$dbPointer", "$date", "$minKey", "$maxKey", "$undefined"}
)
"""Keys of Extended JSON's values (version 2). Each stands alone, but for `$code` with `$scope`. Its old form of regular
expressions, `$regex` and `$options`, is not among them: in a filter these are operators, beside others."""

OPERATORS = {
    "$where": "runs code of its own",
    "$function": "runs code of its own",
    "$accumulator": "runs code of its own",
    "$rand": "depends on chance",
    "$sampleRate": "depends on chance",
    "$near": "does not stand beside a condition on keys",
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
    return not VALUES.isdisjoint(mapping)


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
    if "$undefined" in mapping:
        yield f"{_named(*place)}: $undefined cannot be asked for; $exists and {{$type: 6}} can"
    kinds = sorted(VALUES & mapping.keys())
    beside = sorted(mapping.keys() - {kinds[0]} - ({"$scope"} if kinds == ["$code"] else set()))
    if beside:
        yield f"{_named(*place)}: {', '.join(beside)} cannot stand beside {kinds[0]}, which is a value of its own"


def _named(*place: str) -> str:
    return ".".join(place) or "the filter"
