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

from tranship.connectors.profile import Documents, Lists, Node
from tranship.orchestrator.design.orders import out_of_order, usual_order
from tranship.orchestrator.design.proposals import Column, Path, Table, share
from tranship.orchestrator.design.scalars import (
    FITTING,
    MOSTLY,
    RARE,
    counted,
    others_of,
    residues,
    scalar_type,
    width,
)

FIELDS = 190
"""So many fields can be columns of a table; where there are more, the rare ones are left to the rest."""

MOST_COLUMNS = 1000
"""Of a table, those of documents within documents too: less than the 1,500 that a plan allows."""

COMMON = 0.05
"""A field that so many documents have is a part of their shape; others may be names that are data."""

MISFIT = 0.008
"""Where more values do not fit, they may be too many for `limits.misfit`, which is 1 %."""


def fill(table: Table, documents: Documents, at: Path = (), only: frozenset[str] | None = None) -> None:
    """Propose columns and child tables for the fields of documents at a path within the table's."""
    names = [name for name in documents.fields if only is None or name in only]
    unheld = [name for name in names if _is_unheld((*at, name), documents.fields[name], table.rows)]
    names = [name for name in names if name not in unheld]
    for name in unheld:
        table.off += documents.fields[name].filled
        table.form += documents.fields[name].nulls
        table.rare.append(".".join((*at, name)))
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


def _is_unheld(path: Path, node: Node, rows: int) -> bool:
    """Whether PostgreSQL holds none of a field's values: a column of theirs would stay empty, and keep a switch from
    happening. Of documents, and arrays of them, their fields are asked."""
    below = node.documents is not None or (node.lists is not None and _has_documents(node.lists))
    return not below and node.filled > 0 and _column(path, node, rows).off >= node.filled


def _has_documents(lists: Lists) -> bool:
    return lists.elements is not None and lists.elements.documents is not None


def _field(table: Table, path: Path, node: Node) -> None:
    if not node.filled:
        note = f"null in {share(node.nulls, table.rows)}, never anything else"
        table.columns.append(Column(path, {"type": "json", "null": "null", "filled": "optional"}, notes=[note]))
        return
    kind, count = node.shares()[0]
    mostly = count >= MOSTLY * node.filled
    if mostly and kind == "object" and node.documents is not None and _has_room(table, node.documents):
        # What is beside the documents has no column: null, another type, and documents without any field.
        table.off += node.filled - count
        table.form += node.nulls + node.documents.empty
        fill(table, node.documents, path)
    elif mostly and kind == "array" and node.lists is not None and _is_child(node, node.lists, table.rows):
        table.children.append(_child(table, path, node, node.lists))
    else:
        table.columns.append(_column(path, node, table.rows))


def _has_room(table: Table, documents: Documents) -> bool:
    """Whether the fields of a document can be columns of the table that it is in."""
    return is_stable(documents) and len(table.columns) + len(documents.fields) <= MOST_COLUMNS


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
        off, found.form = _elements(node.lists, spec)
        found.off = node.filled - node.lists.count + off
        found.notes += others_of(node, "array")
    else:
        _scalar(found, node)
    if found.spec["type"] == "json":
        _json_figures(found, node)
    _nulls(found, node, rows)
    if found.off > MISFIT * node.filled:
        found.notes.append("limits.misfit allows fewer: a switch waits for your decision")
    return found


def _scalar(column: Column, node: Node) -> None:
    kind, spec = scalar_type(node)
    if spec is None:
        column.spec = {"type": "json"}
        column.width = 64
        if len(node.shares()) > 1:
            column.notes.append("mixed: " + ", ".join(counted(node, name) for name, _ in node.shares()))
        return
    column.spec = spec
    column.width = width(spec, node)
    column.off, column.form = residues(node, kind, spec)
    column.notes += others_of(node, kind, FITTING[spec["type"]])
    odd = sum(values.odd for values in node.types.values())
    if odd >= RARE * node.filled and odd and spec["type"] in ("text", "decimal", "timestamp"):
        column.notes.append(f"{share(odd, node.filled)} that PostgreSQL does not hold: residue")
    values = node.types.get("date")
    if spec["type"] == "timestamp" and values is not None and values.midnight == values.count > 20:
        column.notes.append("no time of day: type date would do")


def _nulls(column: Column, node: Node, rows: int) -> None:
    """NULL stands for what is more frequent, null or nothing at all; the other of the two is residue."""
    missing = max(0, rows - node.count)
    if node.nulls > missing:
        column.spec["null"] = "null"
    fewer = min(missing, node.nulls)
    if fewer:
        named = "missing" if node.nulls > missing else "null"
        column.notes.append(f"{named} in {share(fewer, rows)}: residue")
    column.form += fewer


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
    child.notes += others_of(node, "array")
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


def _elements(lists: Lists, spec: dict[str, Any]) -> tuple[int, int]:
    """Arrays, at the most, that the column does not hold, and those that it holds in another form: each has an element
    at least that it does not."""
    assert lists.elements is not None
    kind, _ = scalar_type(lists.elements)
    off, form = residues(lists.elements, kind, {**spec, "type": spec["items"]})
    return min(lists.count, off), min(lists.count, form)
