"""Samples of a source: some of its spans stand for all, and nothing else of it is read or followed."""

from __future__ import annotations

import hashlib
from bisect import bisect_right
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from math import ceil
from typing import Any, cast

from tranship.connectors.protocols import Changes, Key, Position, Span, Watch
from tranship.connectors.registry import Source
from tranship.connectors.watches import GeneratedWatch
from tranship.orchestrator.dataplane.run import Connect
from tranship.plans.streams import Stream

CHOSEN = 10
"""So many spans of a collection are chosen at least, however small the share: one alone may not be like the others."""

SMALLEST = 256 * 1024
"""Bytes of a span at least. Smaller ones would measure the work on a chunk, not that on its documents."""


@dataclass(frozen=True)
class Part:
    """What of a stream is looked at: so many spans of all, in key order. `documents`, `bytes`: of the whole collection,
    by the source's statistics."""

    spans: tuple[Span, ...]
    of: int
    documents: int
    bytes: int

    @property
    def whole(self) -> bool:
        """Whether it is all of it."""
        return len(self.spans) == self.of

    @property
    def share(self) -> float:
        """How much of the stream it is, by the number of spans: about, for they are not of one size."""
        return len(self.spans) / self.of


def choose(source: Source, streams: Sequence[Stream], share: float, seed: int, most_bytes: int) -> dict[str, Part]:
    """By stream, a share of its spans (1: all of them, of `most_bytes` each). Which ones, the seed says."""
    return {stream.name: _choose(source, stream, share, seed, most_bytes) for stream in streams}


def _choose(source: Source, stream: Stream, share: float, seed: int, most_bytes: int) -> Part:
    documents, size = source.estimate(stream)
    wanted = most_bytes if share >= 1 else min(max(int(size * share / CHOSEN), SMALLEST), most_bytes)
    spans = source.spans(stream, wanted)
    count = min(len(spans), max(ceil(share * len(spans)), CHOSEN))
    numbers = sorted(range(len(spans)), key=lambda number: _hash(seed, stream.name, number))[:count]
    return Part(tuple(spans[number] for number in sorted(numbers)), len(spans), documents, size)


def _hash(seed: int, stream: str, number: int) -> bytes:
    return hashlib.sha256(f"{seed}/{stream}/{number}".encode()).digest()


class SampledSource:
    """A source of which only the chosen spans are there: for whoever tiles it, and for whoever follows it. Keys that
    are asked for by name are looked up in all of it."""

    def __init__(self, source: Source, parts: Mapping[str, Part]) -> None:
        self._source = source
        self._parts = parts

    def __getattr__(self, name: str) -> Any:
        return getattr(self._source, name)

    def spans(self, stream: Stream, chunk_bytes: int) -> list[Span]:  # noqa: ARG002
        """Those that were chosen, of the size that they have."""
        return list(self._parts[stream.name].spans)

    def changes(self, streams: Sequence[Stream], since: Position) -> Watch:
        """The changes of the keys inside."""
        watch = self._source.changes(streams, since)
        return GeneratedWatch(lambda _: self._inside(watch), wake=watch.close, confirm=watch.confirm)

    def _inside(self, watch: Watch) -> Iterator[Changes]:
        lowers = {name: [span.lower or b"" for span in part.spans] for name, part in self._parts.items()}
        for changes in watch:
            inside = tuple((name, key) for name, key in changes.keys if self._has(name, lowers[name], key))
            yield replace(changes, keys=inside)

    def _has(self, stream: str, lowers: Sequence[Key], key: Key) -> bool:
        at = bisect_right(lowers, key)
        if not at:
            return False
        upper = self._parts[stream].spans[at - 1].upper
        return upper is None or key < upper


def sampled(connect: Connect, parts: Mapping[str, Part]) -> Connect:
    """The same connections, with a source of which only these parts are there."""
    # A connector has more methods than matter here, and a protocol knows no "all but these".
    return replace(connect, source=lambda: cast(Source, SampledSource(connect.source(), parts)))
