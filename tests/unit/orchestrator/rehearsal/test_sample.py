"""Samples: which spans are chosen, and what of a source is left of it then."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any, cast

import pytest

from tranship.connectors.protocols import Changes, Position, Span, Watch
from tranship.connectors.registry import Source
from tranship.connectors.watches import GeneratedWatch
from tranship.orchestrator.rehearsal.sample import CHOSEN, SMALLEST, Part, SampledSource, choose
from tranship.plans.streams import Column, LogicalType, Stream

STREAM = Stream("things", "things", "things", (Column("_id", ("_id",), LogicalType.TEXT, "string"),), ())


class Tiled:
    """A source of so many bytes, cut as it is asked to be; each span is named by its number."""

    def __init__(self, size: int, changed: Sequence[bytes] = ()) -> None:
        self.size = size
        self.changed = changed
        self.asked: list[int] = []

    def estimate(self, _stream: Stream) -> tuple[int, int]:
        return self.size // 100, self.size

    def spans(self, _stream: Stream, chunk_bytes: int) -> list[Span]:
        self.asked.append(chunk_bytes)
        count = max(1, self.size // chunk_bytes)
        bounds = [None, *(number.to_bytes(4) for number in range(1, count)), None]
        return [Span(lower, upper) for lower, upper in pairwise(bounds)]

    def changes(self, _streams: Sequence[Stream], since: Position) -> Watch:
        changes = Changes(tuple(("things", key) for key in self.changed), since, ("marker",), 0.5)
        return GeneratedWatch(lambda _: iter([changes]))

    def identity(self) -> str:
        return "tiled"


def chosen(size: int, share: float, seed: int = 0, most: int = 4 << 20) -> Part:
    return choose(cast(Source, Tiled(size)), [STREAM], share, seed, most)["things"]


def test_a_share_of_the_spans_and_ten_at_least() -> None:
    part = chosen(100 << 20, 0.1)
    assert part.of == 100
    assert len(part.spans) == CHOSEN
    assert part.share == pytest.approx(0.1)
    assert list(part.spans) == sorted(part.spans, key=lambda span: span.lower or b"")
    large = chosen(40 << 30, 0.05)
    assert len(large.spans) == pytest.approx(large.of * 0.05, abs=1)
    assert large.of == (40 << 30) // (4 << 20), "no span is larger than a run's chunk"


def test_a_small_collection_is_looked_at_whole() -> None:
    for size in (0, 1000, CHOSEN * SMALLEST):
        assert chosen(size, 0.05).whole
    assert not chosen(4 * CHOSEN * SMALLEST, 0.05).whole


def test_all_of_it_is_cut_as_a_run_cuts_it() -> None:
    source = Tiled(64 << 20)
    part = choose(cast(Source, source), [STREAM], 1.0, 0, 4 << 20)["things"]
    assert (part.whole, source.asked) == (True, [4 << 20])


def test_a_seed_chooses_and_the_same_one_chooses_the_same() -> None:
    assert chosen(100 << 20, 0.1, seed=1) == chosen(100 << 20, 0.1, seed=1)
    assert chosen(100 << 20, 0.1, seed=1) != chosen(100 << 20, 0.1, seed=2)
    everywhere = {span for seed in range(80) for span in chosen(100 << 20, 0.1, seed).spans}
    assert len(everywhere) > 95, "no place is never chosen"


def test_only_keys_inside_are_changed() -> None:
    """Lower bounds are inside, upper ones are not; where the first or last span is chosen there is no bound."""
    keys = [bytes([number]) for number in range(8)]
    spans = (Span(None, b"\1"), Span(b"\3", b"\4"), Span(b"\4", b"\5"), Span(b"\6", None))
    source = SampledSource(cast(Source, Tiled(1, keys)), {"things": Part(spans, 7, 1, 1)})
    (changes,) = source.changes([STREAM], Position(b"here"))
    assert [key for _, key in changes.keys] == [b"\0", b"\3", b"\4", b"\6", b"\7"]
    assert (changes.position, changes.markers, changes.behind_s) == (Position(b"here"), ("marker",), 0.5)


def test_a_first_span_that_is_not_chosen_has_nothing_below() -> None:
    spans = (Span(b"\3", b"\4"),)
    source = SampledSource(cast(Source, Tiled(1, [b"\0", b"\3\xff", b"\4"])), {"things": Part(spans, 3, 1, 1)})
    (changes,) = source.changes([STREAM], Position(b""))
    assert [key for _, key in changes.keys] == [b"\3\xff"]


def test_all_else_is_the_sources() -> None:
    source: Any = SampledSource(cast(Source, Tiled(1)), {"things": Part((Span(None, None),), 1, 1, 1)})
    assert source.identity() == "tiled"
    assert source.spans(STREAM, 17) == [Span(None, None)]
    with pytest.raises(AttributeError):
        source.nothing_of_the_kind()
