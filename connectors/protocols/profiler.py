"""Profilers: what is in a source, before there is a plan."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol, runtime_checkable

from tranship.connectors.profile import CollectionProfile, Part
from tranship.connectors.protocols.forms import Span


@runtime_checkable
class Profiler(Protocol):
    """Looks at a whole database. Writes nothing. Each call may raise `RefusedError` or `TransientError`."""

    def identity(self) -> str:
        """As `BatchSource.identity`."""

    def survey(self) -> list[CollectionProfile]:
        """All collections that hold somebody's data, unread, by name: sizes, indexes, and what keeps one from being
        moved (`left_out`). One that cannot be looked at is left out with the reason and hides no other."""

    def parts(self, collection: str, part_bytes: int) -> list[Span]:
        """Spans of about so many bytes that tile the collection."""

    def look(self, collection: str, span: Span, split: str = "", kept: frozenset[str] = frozenset()) -> Part:
        """Read a span. Memory is bounded by a batch. `split`: the field by whose texts documents are told apart;
        `kept`: root fields that are told apart however many there are."""

    def sample(
        self, collection: str, documents: int, seed: int, split: str = "", kept: frozenset[str] = frozenset()
    ) -> Part:
        """Read about so many documents from all over the key space: the same ones for one seed on unchanged data."""

    def values(self, collection: str, path: str, most: int) -> list[Any]:
        """So many values of a field, from the first documents that have it, in key order."""

    def found(self, collection: str, keys: Sequence[Any]) -> int:
        """How many of these keys the collection has."""

    def close(self) -> None: ...
