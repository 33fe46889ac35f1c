"""Collections that hold several kinds of documents: a field says the kind, and each kind has fields of its own."""

from __future__ import annotations

from collections.abc import Mapping

from tranship.connectors.profile import Documents

NAMES = frozenset(
    f"{prefix}{name}"
    for prefix in ("", "_", "__", "event", "event_", "entity", "entity_", "doc", "doc_", "record", "record_", "object_")
    for name in ("type", "kind", "t", "cls", "class", "category")
)
"""What such a field is called, in small letters."""

MOST_KINDS = 12
OWN = 0.5
"""A field is a kind's own if so many of its documents have it, and no other kind's."""

ALWAYS = 0.9
"""Where all fields but a few are in so many documents, there is one kind."""


def candidate(documents: Documents) -> str:
    """The field that may say the kind; empty when there is none. Whether it does shows a second look (`are_apart`)."""
    rare = [node for node in documents.fields.values() if node.count < ALWAYS * documents.count]
    if not rare or documents.other is not None:
        return ""
    for name, node in sorted(documents.fields.items()):
        few = node.distinct.few
        texts = node.types.get("string")
        if name.casefold() not in NAMES or texts is None or texts.count != documents.count or not few:
            continue
        if 2 <= len(few) <= MOST_KINDS and all(isinstance(value, str) and value for value in few):
            return name
    return ""


def are_apart(kinds: Mapping[str | None, Documents]) -> bool:
    """Whether each kind but one has fields of its own, so that one table for all would be mostly empty."""
    with_own = [kind for kind in kinds if _own(kind, kinds)]
    return None not in kinds and len(with_own) >= max(2, len(kinds) - 1)


def _own(kind: str | None, kinds: Mapping[str | None, Documents]) -> list[str]:
    elsewhere = {name for other, documents in kinds.items() if other != kind for name in documents.fields}
    mine = kinds[kind]
    return [n for n, node in mine.fields.items() if n not in elsewhere and node.count >= OWN * mine.count]
