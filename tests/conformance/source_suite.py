"""What every source has to do: subclass `SourceSuite` in a test module and give it a fixture `world`; or `ChangeSuite`,
where only changes come from it.

The suite knows no database. A `SourceWorld` plays the application that writes simple documents, and opens clients of
the connector under test.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Iterator
from itertools import pairwise
from typing import Protocol

import pytest

from tranship.connectors.arrowtypes import schema
from tranship.connectors.batch import KEY, Batch
from tranship.connectors.errors import PositionLostError
from tranship.connectors.keys import KeyForm
from tranship.connectors.protocols import (
    BatchSource,
    Changes,
    ChangeSource,
    Key,
    Owner,
    Position,
    Routing,
    RoutingRecord,
    Span,
)
from tranship.plans.streams import Column, LogicalType, Stream

PATIENCE_S = 30.0
"""How long a change may take to come through; only a broken source needs it."""


def _stream(name: str) -> Stream:
    return Stream(
        name=name,
        collection=name,
        table=name,
        key=(Column("id", ("_id",), LogicalType.INT64, "int32"),),
        columns=(Column("text", ("text",), LogicalType.TEXT, "string"),),
        order=("_id", "text"),
    )


THINGS = _stream("things")
OTHERS = _stream("others")


OWNER = "owner"
"""Of the markers that tests put."""


class Source(BatchSource, ChangeSource, Protocol):
    """What the suite exercises."""


class ChangeWorld(Protocol):
    """Two collections, `things` and `others`, whose documents are `{_id: number, text: text}`."""

    def connect(self) -> ChangeSource:
        """A new client of the source, closed by the world."""

    def insert(self, stream: Stream, number: int, text: str) -> None: ...

    def update(self, stream: Stream, number: int, text: str) -> None: ...

    def delete(self, stream: Stream, number: int) -> None: ...

    def lost_position(self) -> Position:
        """A position that was good once and that the source's history does not reach back to any more."""


class SourceWorld(ChangeWorld, Protocol):
    """The same where documents can be read too."""

    def connect(self) -> Source:
        """A new client of the source, closed by the world."""


class ChangeSuite:
    """The protocol `ChangeSource`, sentence by sentence."""

    def test_every_change_after_a_position_is_seen(self, world: ChangeWorld) -> None:
        fill(world, [1, 2, 3])
        source = world.connect()
        since = source.position()
        world.insert(THINGS, 4, "new")
        world.update(THINGS, 1, "newer")
        world.delete(THINGS, 2)
        world.delete(THINGS, 3)
        world.insert(THINGS, 3, "back again")
        assert until_marker(source, since) >= things([1, 2, 3, 4])

    def test_each_changes_names_a_key_once(self, world: ChangeWorld) -> None:
        source = world.connect()
        since = source.position()
        fill(world, [1])
        for i in range(20):
            world.update(THINGS, 1, f"state {i}")
        for changes in collect(source, since, mark(source)):
            assert len(changes.keys) == len(set(changes.keys))

    def test_only_watched_streams_are_seen(self, world: ChangeWorld) -> None:
        source = world.connect()
        since = source.position()
        world.insert(OTHERS, 1, "unseen")
        world.insert(THINGS, 2, "seen")
        assert until_marker(source, since) == things([2])

    def test_several_streams_are_told_apart(self, world: ChangeWorld) -> None:
        source = world.connect()
        since = source.position()
        world.insert(OTHERS, 1, "other")
        world.insert(THINGS, 1, "thing")
        name = mark(source)
        seen = {key for changes in collect(source, since, name, (THINGS, OTHERS)) for key in changes.keys}
        assert seen == {("others", key_of(1)), ("things", key_of(1))}

    def test_an_idle_source_still_yields(self, world: ChangeWorld) -> None:
        source = world.connect()
        changes = source.changes([THINGS], source.position())
        for _ in range(3):
            asked = time.monotonic()
            assert next(changes).keys == ()
            assert time.monotonic() - asked < 5.0

    def test_a_position_of_idle_time_can_be_resumed(self, world: ChangeWorld) -> None:
        source = world.connect()
        changes = source.changes([THINGS], source.position())
        world.insert(OTHERS, 1, "of no concern, but history")
        idle = [next(changes) for _ in range(3)][-1]
        assert idle.keys == ()
        world.insert(THINGS, 1, "after it")
        assert until_marker(world.connect(), idle.position) == things([1])

    def test_who_has_seen_all_is_not_behind(self, world: ChangeWorld) -> None:
        source = world.connect()
        since = source.position()
        fill(world, [1])
        *_, last = collect(source, since, mark(source))
        assert last.behind_s == 0

    def test_a_marker_comes_after_every_earlier_write(self, world: ChangeWorld) -> None:
        source = world.connect()
        since = source.position()
        for turn in range(3):
            numbers = range(turn * 50, turn * 50 + 50)
            fill(world, numbers)
            got = collect(source, since, mark(source))
            assert {key for changes in got for key in changes.keys} >= things(numbers)
            since = got[-1].position

    def test_dropping_markers_is_idempotent(self, world: ChangeWorld) -> None:
        source = world.connect()
        source.drop_markers(OWNER)
        since = source.position()
        mark(source)
        source.drop_markers(OWNER)
        source.drop_markers(OWNER)
        fill(world, [1])
        assert until_marker(source, since) == things([1])

    def test_a_marker_stays_until_its_owner_drops_it(self, world: ChangeWorld) -> None:
        source = world.connect()
        mine, other, near = mark(source), mark(source, "another"), mark(source, f"{OWNER}s")
        assert world.connect().has_marker(mine)
        source.drop_markers(OWNER)
        assert [world.connect().has_marker(name) for name in (mine, other, near)] == [False, True, True]
        source.drop_markers("another")
        assert not world.connect().has_marker(other)

    def test_a_watch_that_is_closed_ends_and_loses_nothing(self, world: ChangeWorld) -> None:
        """It is without end otherwise, and waits for a second where nothing happens."""
        source = world.connect()
        since = source.position()
        watch = source.changes([THINGS], since)
        fill(world, [1])
        first = next(changes for changes in watch if changes.keys)
        watch.confirm(first.position)
        fill(world, [2])
        closer = threading.Timer(0.2, watch.close)
        closer.start()
        seen = {key for changes in watch for _, key in changes.keys}
        watch.close()
        assert list(watch) == []
        again = world.connect().changes([THINGS], first.position)
        left = set[Key]()
        while key_of(2) not in left:
            left |= {key for _, key in next(again).keys}
        assert seen <= left

    def test_a_routing_record_stays_when_the_markers_go(self, world: ChangeWorld) -> None:
        source = world.connect()
        record = RoutingRecord(Routing.HANDED_OVER, 1)
        source.records.begin(Owner("1", "shop-1", "the target", "state"), record)
        source.drop_markers("1")
        assert world.connect().records.read("1") == record
        source.records.forget("1")

    def test_resuming_from_any_position_loses_nothing(self, world: ChangeWorld) -> None:
        source = world.connect()
        since = source.position()
        flow = source.changes([THINGS], since)
        got: list[Changes] = []
        for n in range(6):
            world.insert(THINGS, n, "first")
            got.append(next(flow))
            world.update(THINGS, n, "second")
        world.delete(THINGS, 3)
        name = mark(source)
        while name not in got[-1].markers:
            got.append(next(flow))
        for i, changes in enumerate(got[:-1][:8]):
            later = {key for c in got[i + 1 :] for key in c.keys}
            resumed = collect(world.connect(), changes.position, name)
            assert {key for c in resumed for key in c.keys} >= later

    def test_a_lost_position_is_an_error_and_never_a_fresh_start(self, world: ChangeWorld) -> None:
        lost = world.lost_position()
        flow = world.connect().changes([THINGS], lost)
        with pytest.raises(PositionLostError):
            next(flow)


class SourceSuite(ChangeSuite):
    """The protocols `BatchSource` and `ChangeSource`, sentence by sentence."""

    def test_identity_is_the_same_for_every_client(self, world: SourceWorld) -> None:
        identity = world.connect().identity()
        assert identity
        assert world.connect().identity() == identity

    def test_findings_are_no_errors_where_all_is_well(self, world: SourceWorld) -> None:
        fill(world, range(3))
        assert [f for f in world.connect().findings([THINGS]) if f.severity == "error"] == []

    def test_estimate_is_of_the_right_size(self, world: SourceWorld) -> None:
        fill(world, range(100))
        documents, size = world.connect().estimate(THINGS)
        assert 50 <= documents <= 200
        assert size > 100

    @pytest.mark.parametrize("documents", [0, 1, 200])
    @pytest.mark.parametrize("chunk_bytes", [1, 2000, 10**9])
    def test_spans_tile_the_whole_key_space(self, world: SourceWorld, documents: int, chunk_bytes: int) -> None:
        fill(world, range(documents))
        check_tiles(world.connect().spans(THINGS, chunk_bytes))

    def test_spans_are_many_where_documents_are(self, world: SourceWorld) -> None:
        fill(world, range(200))
        source = world.connect()
        _, size = source.estimate(THINGS)
        assert len(source.spans(THINGS, max(1, size // 10))) > 2

    def test_spans_together_hold_each_document_once_in_key_order(self, world: SourceWorld) -> None:
        numbers = [*range(-50, 50), -(2**31), 2**31 - 1]
        fill(world, numbers)
        source = world.connect()
        after = source.position()
        found: list[Key] = []
        for span in source.spans(THINGS, 500):
            keys = [key for batch in source.read(THINGS, span, after) for key in batch.keys]
            assert all(inside(span, key) for key in keys)
            found += keys
        assert found == [key_of(n) for n in sorted(numbers)]

    def test_a_span_without_documents_reads_as_nothing(self, world: SourceWorld) -> None:
        fill(world, [1, 9])
        source = world.connect()
        assert rows(source.read(THINGS, Span(key_of(2), key_of(9)), source.position())) == {}

    def test_span_bounds_need_not_be_documents(self, world: SourceWorld) -> None:
        fill(world, [0, 10, 20])
        source = world.connect()
        found = rows(source.read(THINGS, Span(key_of(5), key_of(15)), source.position()))
        assert list(found) == [key_of(10)]

    def test_read_gives_the_canonical_rows(self, world: SourceWorld) -> None:
        world.insert(THINGS, 7, "sieben")
        source = world.connect()
        (batch,) = source.read(THINGS, Span(None, None), source.position())
        assert batch.rows.schema.equals(schema(THINGS))
        assert batch.rows.to_pylist() == [{KEY: key_of(7), "id": 7, "text": "sieben", "_residue": None}]
        assert batch.quarantined == ()

    def test_any_bytes_are_shown_to_people(self, world: SourceWorld) -> None:
        source = world.connect()
        for document in (b"", b"\x05\0\0\0\0", b"\xff" * 9, b"\x1b[2J\0"):
            shown = source.readable(document)
            assert all(one.isprintable() or one == "\n" for one in shown)

    def test_read_is_as_new_as_the_position(self, world: SourceWorld) -> None:
        world.insert(THINGS, 1, "old")
        reader, watcher = world.connect(), world.connect()
        world.update(THINGS, 1, "new")
        after = watcher.position()
        assert rows(reader.read(THINGS, Span(None, None), after)) == {key_of(1): "new"}
        assert rows([reader.read_keys(THINGS, [key_of(1)], after)]) == {key_of(1): "new"}

    def test_read_keys_leaves_deleted_keys_out(self, world: SourceWorld) -> None:
        fill(world, [1, 2, 3])
        world.delete(THINGS, 2)
        source = world.connect()
        batch = source.read_keys(THINGS, [key_of(n) for n in (3, 2, 1, 99)], source.position())
        assert rows([batch]) == {key_of(1): "text 1", key_of(3): "text 3"}

    def test_read_keys_of_many_keys(self, world: SourceWorld) -> None:
        fill(world, range(0, 600, 2))
        source = world.connect()
        batch = source.read_keys(THINGS, [key_of(n) for n in range(600)], source.position())
        assert sorted(batch.keys) == [key_of(n) for n in range(0, 600, 2)]

    def test_read_keys_of_none(self, world: SourceWorld) -> None:
        fill(world, [1])
        source = world.connect()
        batch = source.read_keys(THINGS, [], source.position())
        assert batch.rows.num_rows == 0
        assert batch.rows.schema.equals(schema(THINGS))

    def test_streams_are_read_apart(self, world: SourceWorld) -> None:
        world.insert(THINGS, 1, "thing")
        world.insert(OTHERS, 1, "other")
        source = world.connect()
        assert rows(source.read(OTHERS, Span(None, None), source.position())) == {key_of(1): "other"}

    def test_a_change_during_a_read_is_seen_after_the_position_before_it(self, world: SourceWorld) -> None:
        fill(world, range(20))
        source = world.connect()
        since = source.position()
        for _ in source.read(THINGS, Span(None, None), since):
            world.update(THINGS, 5, "changed while it was read")
            world.delete(THINGS, 6)
        assert until_marker(source, since) >= things([5, 6])

    def test_a_collection_keeps_its_id(self, world: SourceWorld) -> None:
        fill(world, [1])
        before = world.connect().collections([THINGS])
        fill(world, [2])
        assert world.connect().collections([THINGS]) == before
        assert list(before) == [THINGS.name]


# --- helpers


def key_of(number: int) -> Key:
    """The canonical key of a document of the suite."""
    return KeyForm(THINGS.key).encode((number,))


def things(numbers: Iterable[int]) -> set[tuple[str, Key]]:
    """Changed keys of `things`."""
    return {(THINGS.name, key_of(n)) for n in numbers}


def fill(world: ChangeWorld, numbers: Iterable[int]) -> None:
    """Insert one document per number."""
    for n in numbers:
        world.insert(THINGS, n, f"text {n}")


def rows(batches: Iterable[Batch]) -> dict[Key, str]:
    """Texts by key, in the order of the batches."""
    return {row[KEY]: row["text"] for batch in batches for row in batch.rows.to_pylist()}


def inside(span: Span, key: Key) -> bool:
    """Whether a key lies in a span."""
    return (span.lower is None or span.lower <= key) and (span.upper is None or key < span.upper)


def check_tiles(spans: list[Span]) -> None:
    """Spans without gap or overlap, open at both ends."""
    assert spans
    assert spans[0].lower is None
    assert spans[-1].upper is None
    cuts = [span.upper for span in spans[:-1]]
    assert cuts == [span.lower for span in spans[1:]]
    inner = [cut for cut in cuts if cut is not None]
    assert len(inner) == len(cuts), "an inner bound is open"
    assert all(lower < upper for lower, upper in pairwise(inner))


_names: Callable[[], str] = (f"suite.{n}" for n in range(10**9)).__next__


def mark(source: ChangeSource, owner: str = OWNER) -> str:
    """Put a marker with a fresh name."""
    name = f"{owner}.{_names()}.{time.monotonic_ns()}"
    source.put_marker(name)
    return name


def collect(
    source: ChangeSource, since: Position, marker: str, streams: tuple[Stream, ...] = (THINGS,)
) -> list[Changes]:
    """All changes since a position up to and including those that hold the marker."""
    flow: Iterator[Changes] = source.changes(streams, since)
    deadline = time.monotonic() + PATIENCE_S
    got: list[Changes] = []
    for changes in flow:
        got.append(changes)
        if marker in changes.markers:
            return got
        assert time.monotonic() < deadline, "the marker did not come"
    raise AssertionError("changes ended by themselves")


def until_marker(source: ChangeSource, since: Position) -> set[tuple[str, Key]]:
    """The changed keys since a position, up to a marker that is put now."""
    name = mark(source)
    return {key for changes in collect(source, since, name) for key in changes.keys}
