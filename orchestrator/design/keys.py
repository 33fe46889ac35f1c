"""From the figures of `_id` to the key of a stream: typed where every document fits, else canonical."""

from __future__ import annotations

from tranship.connectors.profile import Documents, Node
from tranship.orchestrator.design.orders import out_of_order, usual_order
from tranship.orchestrator.design.proposals import Column, share
from tranship.orchestrator.design.scalars import PLURALS
from tranship.plans.targetprofile import POSTGRESQL

_TYPES = {"objectid": "objectid", "string": "text", "int64": "int64", "uuid": "uuid", "date": "timestamp"}
_LIKELY_LONG = 250
"""Bytes of a sampled key from which on others may be too long for an index."""

ID = "_id"


def key_of(documents: Documents, *, whole: bool) -> list[Column]:
    """The key's columns. A document whose `_id` does not fit them would be kept aside, so all have to."""
    node = documents.fields.get(ID)
    if node is None or not node.count:
        return [Column((ID,), {"type": "objectid"})]
    parts = _composite(node)
    if parts:
        return parts
    kinds = {kind for kind, _ in node.shares()} | ({"null"} if node.nulls else set())
    if kinds <= {"int32", "int64"}:
        return [_whole(node)]
    spec = _single(node, whole=whole) if len(kinds) == 1 else None
    if spec is not None:
        return [Column((ID,), spec, node.count)]
    mixed = ", ".join(f"{share(count, node.count)} {PLURALS.get(kind, kind)}" for kind, count in node.shares())
    return [Column((ID,), {"type": "canonical"}, node.count, notes=[mixed])]


def _whole(node: Node) -> Column:
    """Whole numbers: the wide column takes both sizes, and names the usual one."""
    shares = dict(node.shares())
    small, large = shares.get("int32", 0), shares.get("int64", 0)
    column = Column((ID,), {"type": "int64"} | ({"bson": "int32"} if small > large else {}), node.count)
    column.form = min(small, large)
    if column.form:
        names = f"{share(small, node.count)} {PLURALS['int32']}, {share(large, node.count)} {PLURALS['int64']}"
        column.notes.append(f"{names}: the fewer have a residue")
    return column


def _single(node: Node, *, whole: bool) -> dict[str, object] | None:
    kind, _ = node.shares()[0]
    if kind not in _TYPES or node.types[kind].odd:
        return None
    longest = node.types[kind].longest
    is_long = kind == "string" and (longest > POSTGRESQL.long_key_bytes or (not whole and longest > _LIKELY_LONG))
    return {"type": _TYPES[kind]} | ({"long": True} if is_long else {})


def _composite(node: Node) -> list[Column]:
    """The parts of an `_id` that is a document, when all have the same fields of the same types in the same order."""
    documents = node.documents
    if documents is None or documents.count != node.count or documents.other is not None:
        return []
    if any(field.count != documents.count or field.nulls for field in documents.fields.values()):
        return []
    order = usual_order(documents.fields, documents.next)
    if not order or out_of_order(order, documents.next):
        return []
    found = []
    for name in order:
        field = documents.fields[name]
        if len(field.shares()) != 1:
            return []
        kind = field.shares()[0][0]
        spec = {"type": "int32"} if kind == "int32" else _single(field, whole=True)
        if spec is None:
            return []
        found.append(Column((ID, name), dict(spec), field.count))
    return found
