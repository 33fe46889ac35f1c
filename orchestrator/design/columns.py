"""From figures to columns, by these rules.

- A path whose values have one type in 99 of 100 documents is a column of that type; the others are residue.
- Whole numbers of both sizes are int64; whole numbers and doubles are float64; with decimals they are decimal.
- A document whose fields are few, or mostly the same, is columns of the table that it is in; else it is json.
- An array of such documents is a child table, unless it is empty in some and missing in others (no rows are no rows);
  one of values of one type is an array; any other is json.
- What is left is json, which holds everything.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from tranship.connectors.profile import Documents, Lists, Node, Values
from tranship.orchestrator.design.orders import out_of_order, usual_order
from tranship.orchestrator.design.proposals import Column, Path, Table, share
from tranship.plans.columns import MAX_PRECISION

MOSTLY = 0.99
"""Of values one type: then a column has it."""

FIELDS = 190
"""So many fields can be columns of a table; where there are more, the rare ones are left to the rest."""

COMMON = 0.05
"""A field that so many documents have is a part of their shape; others may be names that are data."""

MISFIT = 0.008
"""Where more values do not fit, they may be too many for `limits.misfit`, which is 1 %."""

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


def fill(table: Table, documents: Documents, at: Path = (), only: frozenset[str] | None = None) -> None:
    """Propose columns and child tables for the fields of documents at a path within the table's."""
    names = [name for name in documents.fields if only is None or name in only]
    for name in _rare(names, documents, table.rows):
        names.remove(name)
        table.form += documents.fields[name].count
        table.rare.append(".".join((*at, name)))
    order = usual_order(names, documents.next)
    for name in order:
        _field(table, (*at, name), documents.fields[name])
    if at:
        # Within a document the plan knows no order but that of declaration, and arrays are declared behind the columns.
        children = [child.path[len(at)] for child in table.children if child.path[: len(at)] == at]
        order = [name for name in order if name not in children] + [name for name in order if name in children]
        table.form += out_of_order(order, documents.next)
    else:
        table.order = order


def _rare(names: list[str], documents: Documents, rows: int) -> list[str]:
    """Fields that hardly any document has, as many of them as are no matter together: the residue keeps them."""
    left, found = RARE * rows, []
    for name in sorted(names, key=lambda name: (documents.fields[name].count, name)):
        left -= documents.fields[name].count
        if left < 0:
            break
        found.append(name)
    return found


def _field(table: Table, path: Path, node: Node) -> None:
    if not node.filled:
        note = f"null in {share(node.nulls, table.rows)}, never anything else"
        table.columns.append(Column(path, {"type": "json", "null": "null", "filled": "optional"}, notes=[note]))
        return
    kind, count = node.shares()[0]
    mostly = count >= MOSTLY * node.filled
    if mostly and kind == "object" and node.documents is not None and is_stable(node.documents):
        # What is beside the documents has no column: null, another type, and documents without any field.
        table.off += node.filled - count
        table.form += node.nulls + node.documents.empty
        fill(table, node.documents, path)
    elif mostly and kind == "array" and node.lists is not None and _is_child(node, node.lists, table.rows):
        table.children.append(_child(table, path, node, node.lists))
    else:
        table.columns.append(_column(path, node, table.rows))


def is_stable(documents: Documents) -> bool:
    """Whether names of fields are a shape and not data: not too many, and most occurrences are of common ones."""
    if documents.other is not None or not documents.fields or len(documents.fields) > FIELDS:
        return False
    counts = [node.count for node in documents.fields.values()]
    common = sum(count for count in counts if count >= COMMON * documents.count)
    return len(counts) <= 20 or common >= 0.5 * sum(counts)


def _column(path: Path, node: Node, rows: int) -> Column:
    spec = None
    if node.lists is not None and node.lists.count >= MOSTLY * node.filled:
        spec = _array(node.lists)
    found = Column(path, spec or {}, node.filled)
    if spec is not None and node.lists is not None:
        found.off = node.filled - node.lists.count + _elements_off(node.lists, spec)
        found.notes += _others(node, "array")
    else:
        _scalar(found, node)
    if found.spec["type"] == "json":
        _json_figures(found, node)
    _nulls(found, node, rows)
    if found.off > MISFIT * node.filled:
        found.notes.append("limits.misfit allows fewer: a switch waits for your decision")
    return found


# --- scalars ----------------------------------------------------------------------------------------------------------


def _scalar(column: Column, node: Node) -> None:
    kind, spec = scalar_type(node)
    if spec is None:
        column.spec = {"type": "json"}
        column.width = 64
        if len(node.shares()) > 1:
            column.notes.append("mixed: " + ", ".join(_counted(node, name) for name, _ in node.shares()))
        return
    column.spec = spec
    column.width = width(spec, node)
    column.off, column.form = _residues(node, kind, spec)
    column.notes += _others(node, kind, _FITTING[spec["type"]])
    odd = sum(values.odd for values in node.types.values())
    if odd >= RARE * node.filled and odd and spec["type"] in ("text", "decimal", "timestamp"):
        column.notes.append(f"{share(odd, node.filled)} that PostgreSQL does not hold: residue")
    values = node.types.get("date")
    if spec["type"] == "timestamp" and values is not None and values.midnight == values.count > 20:
        column.notes.append("no time of day: type date would do")


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


def _residues(node: Node, kind: str, spec: dict[str, Any]) -> tuple[int, int]:
    """Values that the column does not hold, and those that it holds in another form."""
    fitting = _FITTING[spec["type"]]
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


_FITTING = {
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


def _others(node: Node, kind: str, fitting: tuple[str, ...] = ()) -> list[str]:
    """What has another type than the column, with its share; what hardly any value has, together.

    Numbers that a column of numbers holds are no misfits: at the most the residue keeps their form.
    """
    others = [(name, count) for name, count in node.shares() if name != kind]
    told = [name for name, count in others if count >= RARE * node.filled]
    few = sum(count for name, count in others if name not in told)
    notes = [_counted(node, name) + ("" if name in fitting else ": residue") for name in told]
    return [*notes, *([f"{share(few, node.filled)} of other types: residue"] if few else [])]


def _counted(node: Node, name: str) -> str:
    return f"{share(dict(node.shares())[name], node.filled)} {PLURALS.get(name, name)}"


def _nulls(column: Column, node: Node, rows: int) -> None:
    """NULL stands for what is more frequent, null or nothing at all; the other of the two is residue."""
    missing = max(0, rows - node.count)
    if column.spec["type"] == "json":
        missing_or_null = 0 if not missing or not node.nulls else min(missing, node.nulls)
    else:
        missing_or_null = min(missing, node.nulls)
    if node.nulls > missing:
        column.spec["null"] = "null"
    if missing_or_null:
        named = "missing" if node.nulls > missing else "null"
        column.notes.append(f"{named} in {share(missing_or_null, rows)}: residue")
    column.form += missing_or_null


# --- json -------------------------------------------------------------------------------------------------------------


def _json_figures(column: Column, node: Node) -> None:
    disordered = min(node.filled, _disordered(node))
    column.form += disordered
    column.width = max(column.width, 64)
    nuls = min(node.filled, _nuls(node))
    column.off += nuls
    if nuls:
        column.notes.append(f"U+0000 in up to {share(nuls, node.filled)}: residue")
    if disordered:
        column.notes.append(f"keys in another order than jsonb's in up to {share(disordered, node.filled)}: residue")


def _disordered(node: Node) -> int:
    """Documents below whose fields do not stand as jsonb keeps them."""
    return sum(documents.count - documents.sorted for documents in _documents(node))


def _nuls(node: Node) -> int:
    """Texts below with U+0000, which jsonb does not hold."""
    found = node.types["string"].odd if "string" in node.types else 0
    below = [field for documents in _documents(node) for field in documents.fields.values()]
    below += [] if node.lists is None or node.lists.elements is None else [node.lists.elements]
    return found + sum(_nuls(one) for one in below if one.documents is None and one.lists is None)


def _documents(node: Node) -> Iterator[Documents]:
    if node.documents is not None:
        yield node.documents
        for below in (*node.documents.fields.values(), *filter(None, [node.documents.other])):
            yield from _documents(below)
    if node.lists is not None and node.lists.elements is not None:
        yield from _documents(node.lists.elements)


# --- arrays -----------------------------------------------------------------------------------------------------------


def _is_child(node: Node, lists: Lists, rows: int) -> bool:
    """Whether an array's elements can be rows: documents of one shape, where no rows mean one thing only."""
    elements = lists.elements
    meanings = sorted((lists.empty, max(0, rows - node.count), node.nulls))
    if sum(meanings[:2]) > (1 - MOSTLY) * rows:
        return False
    if elements is None or elements.documents is None or not is_stable(elements.documents):
        return False
    return elements.documents.count >= MOSTLY * elements.count


def _child(table: Table, path: Path, node: Node, lists: Lists) -> Table:
    elements = lists.elements
    assert elements is not None
    assert elements.documents is not None
    child = Table(path, elements.count, off=elements.count - elements.documents.count)
    fill(child, elements.documents)
    child.form += out_of_order(child.order, elements.documents.next)
    missing = max(0, table.rows - node.count)
    meanings = {"empty": lists.empty, "missing": missing, "null": node.nulls}
    child.empty = max(meanings, key=lambda name: (meanings[name], name == "empty"))
    table.off += node.filled - lists.count
    for meaning, count in meanings.items():
        if count and meaning != child.empty:
            child.notes.append(f"{meaning} in {share(count, table.rows)}: residue")
            table.form += count
    child.notes += _others(node, "array")
    return child


def _array(lists: Lists) -> dict[str, Any] | None:
    """An array of values of one type; None where only json will do."""
    elements = lists.elements
    if elements is None or not elements.filled:
        return None
    _, spec = scalar_type(elements)
    if spec is None:
        return None
    rest = {key: value for key, value in spec.items() if key != "type"}
    return {"type": "array", "items": spec["type"], **rest}


def _elements_off(lists: Lists, spec: dict[str, Any]) -> int:
    """Arrays that the column may not hold: each has an element at least that it does not."""
    assert lists.elements is not None
    kind, _ = scalar_type(lists.elements)
    off, form = _residues(lists.elements, kind, {**spec, "type": spec["items"]})
    return min(lists.count, off + form)
