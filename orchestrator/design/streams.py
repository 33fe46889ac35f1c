"""From the profile of a collection to its streams."""

from __future__ import annotations

from collections import Counter

from tranship.connectors.profile import START, CollectionProfile, Documents
from tranship.orchestrator.design import columns
from tranship.orchestrator.design.declared import declare
from tranship.orchestrator.design.keys import ID, key_of
from tranship.orchestrator.design.orders import out_of_order, usual_order
from tranship.orchestrator.design.proposals import Column, Stream, Table
from tranship.orchestrator.journal.sentences import count as counted
from tranship.plans.names import free_identifier

RARE = 0.005
"""Of a collection with many fields, those that fewer documents have are left to the rest."""

MANY = 100


def streams_of(profile: CollectionProfile) -> list[Stream]:
    """The streams of a collection: one, or one for each kind of its documents and one for kinds that come later."""
    if not profile.split:
        return [_stream(profile, profile.name, profile.root)]
    kinds = sorted((str(kind), documents) for kind, documents in profile.kinds.items())
    found = [_stream(profile, f"{profile.name}_{kind}", documents, {profile.split: kind}) for kind, documents in kinds]
    others: dict[str, object] = {profile.split: {"$nin": [kind for kind, _ in kinds]}}
    found.append(_others(profile, others))
    return found


def _stream(
    profile: CollectionProfile, name: str, documents: Documents, where: dict[str, object] | None = None
) -> Stream:
    key = key_of(documents, whole=profile.whole)
    table = Table((), documents.count)
    likely = round(profile.documents * documents.count / max(1, profile.read - profile.unread))
    stream = Stream(name, profile.name, table, key, likely, documents.count, where)
    common = _common(documents)
    columns.fill(table, _without_id(documents), only=common)
    declare(table, profile.declared)
    names = {ID, *(column.path[0] for column in table.columns), *(child.path[0] for child in table.children)}
    table.order = usual_order(names, documents.next)
    left = [name for name, node in documents.fields.items() if name not in {*names, *table.rare} and node.count]
    if left or documents.other is not None:
        stream.rest = _rest_name(table)
        count = len(documents.names) - len(names) if documents.names is not None else None
        stream.notes.append(
            f"{'very many fields' if count is None else counted(count, 'rare field')} in the json column {stream.rest}"
        )
    table.form += _disordered(documents, stream)
    if not table.columns and not table.children and not stream.rest:
        stream.rest = "document"
        stream.notes.append("no field was seen beside _id: whatever comes is in the json column")
    if where is None:
        _undecodable(stream, profile)
    stream.notes += profile.notes
    return stream


def _undecodable(stream: Stream, profile: CollectionProfile) -> None:
    if profile.unread:
        stream.aside = profile.unread
        stream.notes.append(f"{counted(profile.unread, 'document')} could not be decoded: to be quarantined")


def _disordered(documents: Documents, stream: Stream) -> int:
    """Documents whose fields stand in another order; all, where there were too many names to know."""
    if documents.next is None:
        return documents.count
    return out_of_order(stream.table.order, documents.next, rest=bool(stream.rest))


def _without_id(documents: Documents) -> Documents:
    """The other fields; what comes behind `_id` begins."""
    fields = {name: node for name, node in documents.fields.items() if name != ID}
    following: Counter[tuple[str, str]] | None = None
    if documents.next is not None:
        following = Counter()
        for (first, second), times in documents.next.items():
            following[START if first == ID else first, second] += times
    return Documents(documents.count, 0, 0, fields, None, None, following)


def _common(documents: Documents) -> frozenset[str]:
    """The fields that become columns: all, or of very many those that are not rare."""
    names = [name for name in documents.fields if name != ID]
    if len(names) <= MANY and documents.other is None:
        return frozenset(names)
    least = RARE * documents.count if documents.other is None else columns.COMMON * documents.count
    counts = {name: documents.fields[name].count for name in names}
    frequent = sorted((name for name in names if counts[name] >= least), key=lambda name: (-counts[name], name))
    return frozenset(frequent[: columns.FIELDS])


def _rest_name(table: Table) -> str:
    paths = [column.path for column in table.columns] + [child.path for child in table.children]
    taken = {"_".join(path).casefold() for path in paths}
    return free_identifier(("rest",), taken)


def _others(profile: CollectionProfile, where: dict[str, object]) -> Stream:
    """Documents of kinds that nobody has seen yet."""
    split = profile.split
    table = Table((), 0, [Column((split,), {"type": "text", "filled": "optional"})])
    stream = Stream(
        f"{profile.name}_other", profile.name, table, key_of(profile.root, whole=profile.whole), 0, 0, where
    )
    stream.rest = "document"
    table.order = [ID, split]
    stream.notes.append(f"for kinds that were not seen: without it, documents of a new {split} would be left behind")
    _undecodable(stream, profile)
    return stream
