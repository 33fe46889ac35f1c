"""Values of a path that are neither documents nor arrays: which type a column for them has, and what it leaves over."""

from __future__ import annotations

from typing import Any

from tranship.connectors.profile import Node, Values
from tranship.orchestrator.design.proposals import share
from tranship.plans.columns import MAX_PRECISION

MOSTLY = 0.99
"""Of values one type: then a column has it."""

RARE = 0.001
"""Of a table's rows so many may have a residue for fields that are no columns."""

_INT32 = range(-(2**31), 2**31)
_EXACT_DOUBLES = range(-(2**53), 2**53 + 1)

_SCALARS = {
    "bool": "bool",
    "int32": "int32",
    "int64": "int64",
    "double": "float64",
    "decimal128": "decimal",
    "string": "text",
    "binary": "bytes",
    "uuid": "uuid",
    "objectid": "objectid",
    "date": "timestamp",
}
_NUMBERS = ("int32", "int64", "double", "decimal128")
_WIDTHS = {"bool": 1, "int32": 4, "int64": 8, "float64": 8, "decimal": 10, "uuid": 16, "objectid": 25, "timestamp": 8}

PLURALS = {
    "bool": "booleans",
    "int32": "32-bit integers",
    "int64": "64-bit integers",
    "double": "doubles",
    "decimal128": "decimals",
    "string": "texts",
    "binary": "binaries",
    "uuid": "UUIDs",
    "objectid": "ObjectIds",
    "date": "dates",
    "object": "documents",
    "array": "arrays",
}


def scalar_type(node: Node) -> tuple[str, dict[str, Any] | None]:
    """The dominant BSON type, and what the plan says of a column for it; None where only json will do."""
    shares = dict(node.shares())
    kind = next(iter(shares))
    numbers: dict[str, int] = {name: shares[name] for name in _NUMBERS if name in shares}
    if sum(numbers.values()) >= MOSTLY * node.filled:
        kind = max(numbers, key=lambda name: (numbers[name], name))
        return kind, _number(node, numbers, kind)
    if kind not in _SCALARS or shares[kind] < MOSTLY * node.filled:
        return kind, None
    return kind, {"type": _SCALARS[kind]}


def _number(node: Node, numbers: dict[str, int], kind: str) -> dict[str, Any] | None:
    many = {name for name, count in numbers.items() if count > (1 - MOSTLY) * node.filled} | {kind}
    if "decimal128" in many:
        return None if "double" in many else _decimal(node.types["decimal128"], kind)
    if "double" in many:
        if "int64" in many and not _within(node.types["int64"], _EXACT_DOUBLES):
            return None
        return {"type": "float64"} | ({"bson": "int32"} if _whole_are_int32(node) else {})
    if "int64" in many or not _within(node.types.get("int64", Values()), _INT32):
        return {"type": "int64"} | ({"bson": "int32"} if kind == "int32" else {})
    return {"type": "int32"}


def _whole_are_int32(node: Node) -> bool:
    """Whether whole numbers are rather kept as int32, as JavaScript does, than as doubles: a double with a fraction is
    held exactly either way."""
    return _count(node, "int32") > node.types["double"].integral


def _count(node: Node, kind: str) -> int:
    return node.types[kind].count if kind in node.types else 0


def _within(values: Values, numbers: range) -> bool:
    if values.least is None or values.greatest is None:
        return True
    # Not `in`: a range goes through all its numbers for what is no plain int.
    return numbers.start <= values.least and values.greatest < numbers.stop


def _decimal(values: Values, kind: str) -> dict[str, Any] | None:
    """As many digits after the point as nearly all have; where they differ, as the longest that are no exceptions."""
    usual = [scale for scale, times in values.scales.items() if times > (1 - MOSTLY) * values.count]
    scale = max([0, *usual])
    if not usual or scale + max(values.whole[one] for one in usual) > MAX_PRECISION:
        return None
    return {"type": "decimal", "scale": scale} | ({"bson": kind} if kind != "decimal128" else {})


def residues(node: Node, kind: str, spec: dict[str, Any]) -> tuple[int, int]:
    """Values that a column does not hold, and those that it holds in another form."""
    fitting = FITTING[spec["type"]]
    shares = dict(node.shares())
    off = sum(count for name, count in shares.items() if name not in fitting)
    off += sum(node.types[name].odd for name in fitting if name in node.types and name != "double")
    form = sum(count for name, count in shares.items() if name in fitting and name != kind)
    if spec["type"] == "float64":
        by_int32 = spec.get("bson") == "int32"
        form = _count(node, "int64") + (node.types["double"].integral if by_int32 else _count(node, "int32"))
    if spec["type"] == "decimal" and "decimal128" in node.types:
        form += sum(times for scale, times in node.types["decimal128"].scales.items() if scale != spec["scale"])
    return off, form


FITTING = {
    "int32": ("int32",),
    "int64": ("int64", "int32"),
    "float64": ("double", "int32", "int64"),
    "decimal": ("decimal128", "int32", "int64"),
} | {logical: (kind,) for kind, logical in _SCALARS.items() if kind not in ("int32", "int64", "double", "decimal128")}


def width(spec: dict[str, Any], node: Node) -> float:
    """Bytes of a usual value in PostgreSQL."""
    fixed = _WIDTHS.get(spec["type"])
    if fixed is not None:
        return fixed
    values = [node.types[name] for name in ("string", "binary") if name in node.types]
    count = sum(one.count for one in values)
    return 4 + sum(one.size for one in values) / count if count else 32


def others_of(node: Node, kind: str, fitting: tuple[str, ...] = ()) -> list[str]:
    """What has another type than the column, with its share; what hardly any value has, together.

    Numbers that a column of numbers holds are no misfits: at the most the residue keeps their form.
    """
    others = [(name, count) for name, count in node.shares() if name != kind]
    told = [name for name, count in others if count >= RARE * node.filled]
    few = sum(count for name, count in others if name not in told)
    notes = [counted(node, name) + ("" if name in fitting else ": residue") for name in told]
    return [*notes, *([f"{share(few, node.filled)} of other types: residue"] if few else [])]


def counted(node: Node, name: str) -> str:
    """A BSON type with its share of what was there."""
    return f"{share(dict(node.shares())[name], node.filled)} {PLURALS.get(name, name)}"
