"""What every target has to do: subclass the suites in a test module and give them a fixture `world` (`TargetWorld`).

The suites know no database: one class per protocol.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pyarrow as pa
import pytest

from tests.conformance.target_world import (
    CUSTOMERS,
    LANES,
    ORDERS,
    STREAMS,
    WHOLE,
    Migration,
    TargetWorld,
    aside,
    bare_order,
    batch,
    customer,
    key,
    nameless,
    object_id,
    order,
    plain,
)
from tranship.connectors.batch import Batch, Quarantined
from tranship.connectors.errors import (
    ConnectorError,
    EpochMovedError,
    MarkMovedError,
    NotOursError,
    UniqueConflictError,
)
from tranship.connectors.keys import from_typed
from tranship.connectors.protocols import (
    Aside,
    Changes,
    Chunk,
    DirtyKey,
    Key,
    LaneMark,
    Loaded,
    Mismatch,
    Position,
    Progress,
    Scope,
    Span,
)
from tranship.plans.streams import LogicalType


class Interrupted(Exception):  # noqa: N818 - not an error of the program
    """Raised by a hook or a source in the middle of a call."""


def interrupt_at(wanted: str) -> Callable[[str], None]:
    """A hook that raises at one site."""

    def hook(site: str) -> None:
        if site == wanted:
            raise Interrupted(site)

    return hook


class _Suite:
    @pytest.fixture
    def migration(self, world: TargetWorld) -> Migration:
        """A run whose tables are made and whose capture has started."""
        return Migration(world)


class BatchTargetSuite(_Suite):
    """`BatchTarget`."""

    # --- load and read

    def test_what_is_loaded_is_read_back_equal(self, migration: Migration) -> None:
        rows = [order(1), bare_order(2), order(3, items=[]), order(7), order(11)]
        loaded = migration.load(rows)
        assert loaded == Loaded(rows=5, child_rows=sum(map(_child_rows, rows)), quarantined=0)
        read = pa.Table.from_batches([found.rows for found in migration.target.read(ORDERS, WHOLE)])
        assert read.combine_chunks().to_batches() == [batch(rows).rows]

    def test_a_read_is_ordered_and_spans_tile(self, migration: Migration) -> None:
        migration.load([order(n) for n in (5, 1, 9, 3, 7)])
        assert migration.numbers() == [1, 3, 5, 7, 9]
        spans = [Span(None, key(3)), Span(key(3), key(8)), Span(key(8), None)]
        parts = [[row["number"] for row in migration.rows(span=span)] for span in spans]
        assert parts == [[1], [3, 5, 7], [9]]

    def test_an_empty_span_gives_no_rows(self, migration: Migration) -> None:
        migration.load([order(1)])
        assert migration.rows(span=Span(key(2), key(3))) == []

    def test_keys_of_another_type_bound_a_span_too(self, migration: Migration) -> None:
        migration.load([order(1)])
        assert migration.rows(span=Span(b"\x0a", b"\xf0")) == list(plain([order(1)]))
        assert migration.rows(span=Span(None, b"\x0a")) == []

    def test_many_rows_come_in_pages_without_a_gap(self, migration: Migration) -> None:
        rows = [order(n) for n in range(2500)]
        (mark,) = migration.begin()
        migration.target.load(ORDERS, [batch(rows[:1300]), batch(rows[1300:])], mark)
        assert migration.rows() == list(plain(rows))

    def test_read_keys_gives_the_rows_that_are_there(self, migration: Migration) -> None:
        migration.load([order(1), order(2), order(3)])
        found = migration.target.read_keys(ORDERS, [key(3), key(9), key(1), b"\x14"])
        assert found.rows.equals(batch([order(1), order(3)]).rows)
        assert migration.target.read_keys(ORDERS, []).rows.num_rows == 0

    def test_an_empty_chunk_is_loaded_too(self, migration: Migration) -> None:
        assert migration.load([]) == Loaded(0, 0, 0)
        (chunk,) = migration.progress.chunks(migration.scope, ORDERS)
        assert chunk.state == "loaded"

    def test_the_mark_says_what_was_loaded(self, migration: Migration) -> None:
        (mark,) = migration.begin()
        batches = [batch([order(1)]), batch([order(2)], quarantined=[aside(3)])]
        assert migration.target.load(ORDERS, batches, mark).quarantined == 1
        assert migration.progress.chunks(migration.scope, ORDERS) == [
            Chunk("orders", 0, WHOLE, "loaded", mark.attempt, rows=2, quarantined=1)
        ]
        assert migration.aside() == [aside(3)]

    def test_a_late_duplicate_of_a_load_keeps_nothing(self, migration: Migration) -> None:
        (late,) = migration.begin()
        (mark,) = migration.begin()
        with pytest.raises(MarkMovedError):
            migration.target.load(ORDERS, [batch([order(1)], quarantined=[aside(2)])], late)
        assert migration.numbers() == []
        assert migration.progress.quarantine_count(migration.scope) == {}
        migration.target.load(ORDERS, [batch([order(5)])], mark)
        with pytest.raises(MarkMovedError):
            migration.target.load(ORDERS, [batch([order(6)])], mark)
        assert migration.numbers() == [5]

    def test_an_attempt_that_meets_the_rows_of_a_later_one_is_over(self, migration: Migration) -> None:
        (late,) = migration.begin()
        migration.load([order(1)])
        with pytest.raises(MarkMovedError):
            migration.target.load(ORDERS, [batch([order(1, status="read earlier")])], late)
        assert migration.rows() == list(plain([order(1)]))

    def test_a_load_under_an_old_epoch_keeps_nothing(self, migration: Migration) -> None:
        (mark,) = migration.begin()

        def source() -> Iterator[Batch]:
            yield batch([order(1)])
            migration.world.take_over(migration.scope.run)

        # A target may also end the session of the old epoch; then its transaction is lost with it.
        with pytest.raises(ConnectorError):
            migration.target.load(ORDERS, source(), mark)
        with pytest.raises(EpochMovedError):
            migration.target.load(ORDERS, [batch([order(1)])], mark)
        assert Migration(migration.world).numbers() == []

    def test_a_load_whose_source_fails_keeps_nothing(self, migration: Migration) -> None:
        (mark,) = migration.begin()

        def source() -> Iterator[Batch]:
            yield batch([order(1)])
            raise Interrupted

        with pytest.raises(Interrupted):
            migration.target.load(ORDERS, source(), mark)
        assert migration.numbers() == []
        migration.load([order(1)])
        assert migration.numbers() == [1]

    def test_a_load_over_rows_that_are_there_keeps_nothing(self, migration: Migration) -> None:
        first, second = migration.begin([Span(None, key(5)), Span(key(5), None)])
        migration.target.load(ORDERS, [batch([order(1)])], first)
        with pytest.raises(ConnectorError):
            migration.target.load(ORDERS, [batch([order(7), order(1)])], second)
        assert migration.numbers() == [1]
        migration.target.load(ORDERS, [batch([order(7)])], second)
        assert migration.numbers() == [1, 7]

    @pytest.mark.parametrize("site", ["load.before_mark", "load.before_epoch", "load.before_commit"])
    def test_a_load_that_ends_before_its_commit_keeps_nothing(self, migration: Migration, site: str) -> None:
        (mark,) = migration.begin()
        target = migration.world.target(migration.scope, interrupt_at(site))
        with pytest.raises(Interrupted):
            target.load(ORDERS, [batch([order(1)])], mark)
        assert migration.numbers() == []

    def test_a_load_that_ends_after_its_commit_is_loaded(self, migration: Migration) -> None:
        (mark,) = migration.begin()
        target = migration.world.target(migration.scope, interrupt_at("load.after_commit"))
        with pytest.raises(Interrupted):
            target.load(ORDERS, [batch([order(1)])], mark)
        assert migration.numbers() == [1]
        (chunk,) = migration.progress.chunks(migration.scope, ORDERS)
        assert migration.progress.begin_chunk(migration.scope, chunk) is None

    # --- replace

    def test_replace_makes_the_keys_equal_to_the_batch(self, migration: Migration) -> None:
        migration.load([order(n) for n in range(1, 6)])
        changed = order(2, status="sent", items=[], notes=order(5)["notes"], total=None)
        migration.change(2, 3, 8)
        for mark, dirty in migration.take():
            new = [row for row in (changed, order(8)) if row["_key"] in {entry.key for entry in dirty}]
            assert migration.target.replace(ORDERS, dirty, batch(new), [mark]) == len(dirty)
        assert migration.rows() == list(plain([order(1), changed, order(4), order(5), order(8)]))
        assert migration.take() == []
        touched = migration.progress.touched(migration.scope, ORDERS, None, 10)
        assert {one.key for one in touched} == {key(2), key(3), key(8)}

    def test_a_key_is_deleted_and_inserted_again(self, migration: Migration) -> None:
        migration.load([order(6)])
        for rows in ([], [order(6, items=[])], [], [order(6)]):
            migration.change(6)
            mark, dirty = migration.take_one()
            migration.target.replace(ORDERS, dirty, batch(rows), [mark])
            assert migration.rows() == list(plain(rows))

    def test_a_late_duplicate_of_a_replace_keeps_nothing(self, migration: Migration) -> None:
        migration.load([order(1)])
        migration.change(1)
        mark, dirty = migration.take_one()
        migration.target.replace(ORDERS, dirty, batch([order(1, status="new")]), [mark])
        migration.change(1)
        with pytest.raises(MarkMovedError):
            migration.target.replace(ORDERS, dirty, batch([order(1, status="old")], quarantined=[aside(1)]), [mark])
        assert migration.rows() == list(plain([order(1, status="new")]))
        assert migration.progress.still_dirty(migration.scope, ORDERS, [key(1)]) == {key(1)}
        assert migration.progress.quarantine_count(migration.scope) == {}

    def test_a_key_that_changed_since_it_was_taken_stays_dirty(self, migration: Migration) -> None:
        migration.load([order(1)])
        migration.change(1)
        mark, dirty = migration.take_one()
        migration.change(1)
        assert migration.target.replace(ORDERS, dirty, batch([order(1, status="new")]), [mark]) == 0
        assert migration.rows() == list(plain([order(1, status="new")]))
        mark, again = migration.take_one()
        assert again == [DirtyKey("orders", key(1), dirty[0].generation + 1)]
        assert migration.target.replace(ORDERS, again, batch([order(1)]), [mark]) == 1
        assert migration.take() == []

    def test_a_replace_under_an_old_epoch_keeps_nothing(self, migration: Migration) -> None:
        migration.load([order(1)])
        migration.change(1)
        mark, dirty = migration.take_one()
        migration.world.take_over(migration.scope.run)
        with pytest.raises(EpochMovedError):
            migration.target.replace(ORDERS, dirty, batch([]), [mark])
        assert Migration(migration.world).numbers() == [1]

    @pytest.mark.parametrize(
        "site", ["replace.before_delete", "replace.before_mark", "replace.before_epoch", "replace.before_commit"]
    )
    def test_a_replace_that_ends_before_its_commit_keeps_nothing(self, migration: Migration, site: str) -> None:
        migration.load([order(1)])
        migration.change(1)
        taken = migration.take()
        target = migration.world.target(migration.scope, interrupt_at(site))
        ((mark, dirty),) = taken
        with pytest.raises(Interrupted):
            target.replace(ORDERS, dirty, batch([]), [mark])
        assert migration.numbers() == [1]
        assert migration.take() == taken

    def test_a_replace_that_ends_after_its_commit_is_applied(self, migration: Migration) -> None:
        migration.load([order(1)])
        migration.change(1)
        mark, dirty = migration.take_one()
        target = migration.world.target(migration.scope, interrupt_at("replace.after_commit"))
        with pytest.raises(Interrupted):
            target.replace(ORDERS, dirty, batch([]), [mark])
        assert migration.numbers() == []
        assert migration.take() == []

    def test_keys_move_into_quarantine_and_out_of_it(self, migration: Migration) -> None:
        migration.load([order(1)])
        for rows, kept in (([], [aside(1)]), ([], [aside(1, "odder")]), ([order(1)], [])):
            migration.change(1)
            mark, dirty = migration.take_one()
            migration.target.replace(ORDERS, dirty, batch(rows, quarantined=kept), [mark])
            assert migration.rows() == list(plain(rows))
            assert migration.aside() == kept
            assert migration.progress.quarantine_count(migration.scope) == ({"orders": 1} if kept else {})

    # --- what is kept aside

    def test_entries_are_read_back_with_their_span(self, migration: Migration) -> None:
        entries = [aside(9), aside(2), nameless(b"\1"), aside(4, "other")]
        migration.load([order(1), order(3)], quarantined=entries)
        ordered = sorted(entries, key=lambda entry: entry.key)
        assert migration.aside() == ordered
        assert ordered[-1] == nameless(b"\1")
        spans = [Span(None, key(2)), Span(key(2), key(4)), Span(key(4), None)]
        assert [migration.aside(span=span) for span in spans] == [[], ordered[:1], ordered[1:]]
        assert [len(migration.rows(span=span)) for span in spans] == [1, 1, 0]
        assert migration.aside(CUSTOMERS) == []

    def test_entries_come_no_later_than_a_row_behind_them(self, migration: Migration) -> None:
        """So what has been read up to a row is all that there is up to its key."""
        numbers, kept = range(0, 3000, 3), range(1, 3000, 3)
        migration.load([order(n) for n in numbers], quarantined=[aside(n) for n in kept])
        seen: list[Key] = []
        for found in migration.target.read(ORDERS, WHOLE):
            seen += [entry.key for entry in found.quarantined]
            for last in found.keys[-1:]:
                assert {key(n) for n in kept if key(n) < last} <= set(seen)
        assert seen == [key(n) for n in kept]

    def test_entries_are_read_back_by_key(self, migration: Migration) -> None:
        migration.load([order(1)], quarantined=[aside(2), aside(4), nameless(b"\1")])
        found = migration.target.read_keys(ORDERS, [nameless(b"\1").key, key(4), key(1), key(4), key(7)])
        assert (found.keys, found.quarantined) == ([key(1)], (aside(4), nameless(b"\1")))
        assert migration.target.read_keys(ORDERS, [key(3)]).quarantined == ()
        assert migration.target.read_keys(CUSTOMERS, [key(2)]).quarantined == ()

    def test_many_entries_come_in_pages_without_a_gap(self, migration: Migration) -> None:
        """Some with keys that are equal for longer than an index holds."""
        keys = [from_typed(LogicalType.TEXT, "k" * 300 + f"{n:05}") for n in range(40)]
        long = [Quarantined(one, "_id", "long", b"\0") for one in keys]
        short = [aside(n) for n in range(300)]
        migration.load([order(1)], quarantined=[*short, *long])
        ordered = sorted([*short, *long], key=lambda entry: entry.key)
        assert migration.aside() == ordered
        middle = Span(long[7].key, long[31].key)
        assert migration.aside(span=middle) == long[7:31]

    def test_entries_of_another_round_are_another_ones(self, migration: Migration) -> None:
        migration.load([], quarantined=[aside(2)])
        later = replace(migration.scope, round=1)
        other = migration.world.target(later)
        assert [found.quarantined for found in other.read(ORDERS, WHOLE)] == []
        assert other.read_keys(ORDERS, [key(2)]).quarantined == ()
        assert migration.progress.quarantine(later, ORDERS, None, 10) == []
        assert migration.progress.quarantined(later, ORDERS, key(2)) is None

    def test_the_exclusive_lane_moves_every_mark(self, migration: Migration) -> None:
        migration.load([order(n) for n in range(20)])
        migration.change(*range(20))
        everything = [entry for _, dirty in migration.take() for entry in dirty]
        marks = migration.progress.lane_marks(migration.scope)
        assert migration.target.replace(ORDERS, everything, batch([order(0)]), marks) == 20
        assert len(marks) == LANES
        for mark in marks:
            with pytest.raises(MarkMovedError):
                migration.target.replace(ORDERS, everything, batch([order(1)]), [mark])
        assert migration.numbers() == [0]

    def test_a_unique_value_that_moved_names_its_owner(self, migration: Migration) -> None:
        migration.load([order(1, number=100), order(2, number=200), order(3, number=None)])
        migration.schema.create_constraints(migration.scope, STREAMS)
        migration.change(2, 3)
        taken = {entry.key: (mark, [entry]) for mark, dirty in migration.take() for entry in dirty}
        mark, dirty = taken[key(2)]
        with pytest.raises(UniqueConflictError) as caught:
            migration.target.replace(ORDERS, dirty, batch([order(2, number=100)]), [mark])
        assert (caught.value.claimants, caught.value.owners) == ((key(2),), (key(1),))
        assert (caught.value.stream, caught.value.constraint) == ("orders", "orders_number_key")
        assert [row["number"] for row in migration.rows()] == [100, 200, None]

        migration.change(1)
        both = [DirtyKey("orders", key(1), 1), dirty[0]]
        rows = batch([order(1, number=200), order(2, number=100)])
        marks = migration.progress.lane_marks(migration.scope)
        assert migration.target.replace(ORDERS, both, rows, marks) == 2
        assert [row["number"] for row in migration.rows()] == [200, 100, None]

    def test_capture_and_appliers_do_not_deadlock(self, migration: Migration) -> None:
        numbers = range(200)
        migration.load([order(n) for n in numbers])
        stop = threading.Event()
        failures: list[Exception] = []

        def capture() -> None:
            backwards = tuple(("orders", key(n)) for n in reversed(numbers))
            while not stop.is_set():
                migration.progress.keep(migration.scope, Changes(backwards, Position(b"more")))

        def apply(lane: int) -> None:
            target = migration.world.target(migration.scope)
            for _ in range(5):
                mark, dirty = migration.progress.take(migration.scope, lane, 1000)
                rows = [order(n) for n in numbers if key(n) in {entry.key for entry in dirty}]
                target.replace(ORDERS, dirty, batch(rows), [mark])

        def guarded(work: Callable[..., None], *arguments: Any) -> None:
            try:
                work(*arguments)
            except Exception as failure:  # noqa: BLE001 - reported below, in the test's own thread
                failures.append(failure)

        capturing = threading.Thread(target=guarded, args=(capture,))
        appliers = [threading.Thread(target=guarded, args=(apply, lane)) for lane in range(LANES)]
        for thread in (capturing, *appliers):
            thread.start()
        for thread in appliers:
            thread.join()
        stop.set()
        capturing.join()
        assert failures == []
        assert migration.numbers() == list(numbers)


class ProgressSuite(_Suite):
    """`Progress`."""

    # --- capture

    def test_the_first_position_stays(self, world: TargetWorld) -> None:
        progress = world.progress()
        scope = Scope("shop-1", 0, world.take_over("shop-1"))
        assert progress.position(scope) is None
        assert progress.start_capture(scope, Position(b"first"), LANES) == Position(b"first")
        assert progress.start_capture(scope, Position(b"second"), LANES + 1) == Position(b"first")
        assert progress.position(scope) == Position(b"first")
        assert progress.lane_marks(scope) == [LaneMark(scope, lane, 0) for lane in range(LANES)]

    def test_keep_moves_the_position_and_notes_markers(self, migration: Migration) -> None:
        progress, scope = migration.progress, migration.scope
        progress.keep(scope, Changes((), Position(b"idle")))
        assert progress.position(scope) == Position(b"idle")
        assert not progress.marker_seen(scope, "drain")
        progress.keep(scope, Changes((), Position(b"marked"), markers=("drain", "other")))
        progress.keep(scope, Changes((), Position(b"again"), markers=("drain",)))
        assert progress.marker_seen(scope, "drain")
        assert progress.position(scope) == Position(b"again")

    def test_a_lost_position_is_replaced_on_request(self, migration: Migration) -> None:
        migration.progress.restart_capture(migration.scope, Position(b"anew"))
        assert migration.progress.position(migration.scope) == Position(b"anew")

    @pytest.mark.parametrize("site", ["keep.before_position", "keep.before_commit"])
    def test_a_keep_that_ends_before_its_commit_keeps_nothing(self, migration: Migration, site: str) -> None:
        progress = migration.world.progress(interrupt_at(site))
        with pytest.raises(Interrupted):
            progress.keep(migration.scope, Changes((("orders", key(1)),), Position(b"x"), markers=("m",)))
        assert progress.position(migration.scope) == Position(b"first")
        assert not progress.marker_seen(migration.scope, "m")
        assert progress.backlog(migration.scope).dirty == 0

    def test_nothing_is_kept_before_capture_starts_or_after_it_stops(self, migration: Migration) -> None:
        progress, scope = migration.progress, migration.scope
        migration.change(1, 2)
        progress.stop_capture(scope)
        progress.stop_capture(scope)
        assert progress.position(scope) is None
        assert progress.lane_marks(scope) == []
        assert progress.still_dirty(scope, ORDERS, [key(1)]) == set()
        with pytest.raises(ConnectorError):
            migration.change(1)

    def test_backlog_counts_dirty_keys(self, migration: Migration) -> None:
        before = migration.progress.backlog(migration.scope)
        assert (before.dirty, before.oldest_s) == (0, 0.0)
        migration.change(1, 2, 3)
        migration.change(1)
        after = migration.progress.backlog(migration.scope)
        assert after.dirty == 3
        assert 0.0 <= after.capture_age_s <= after.oldest_s
        assert after.quiet_s <= after.oldest_s

    # --- chunks

    def test_chunks_are_planned_once(self, migration: Migration) -> None:
        progress, scope = migration.progress, migration.scope
        assert progress.chunks(scope, ORDERS) == []
        spans = [Span(None, key(5)), Span(key(5), None)]
        progress.plan_chunks(scope, ORDERS, spans)
        progress.plan_chunks(scope, ORDERS, [WHOLE])
        assert [(c.number, c.span, c.state) for c in progress.chunks(scope, ORDERS)] == [
            (0, spans[0], "planned"),
            (1, spans[1], "planned"),
        ]
        assert progress.chunks(scope, CUSTOMERS) == []

    def test_each_attempt_has_a_number_of_its_own(self, migration: Migration) -> None:
        first, second = migration.begin(), migration.begin()
        assert first[0].attempt < second[0].attempt
        (chunk,) = migration.progress.chunks(migration.scope, ORDERS)
        assert (chunk.state, chunk.attempt) == ("pending", second[0].attempt)

    def test_forgotten_attempts_never_commit(self, migration: Migration) -> None:
        progress, scope = migration.progress, migration.scope
        (loaded,) = migration.begin()
        migration.target.load(ORDERS, [batch([order(1)], quarantined=[aside(2)])], loaded)
        (stale,) = progress.chunks(scope, ORDERS)
        progress.forget_chunks(scope, [ORDERS])
        progress.forget_chunks(scope, [ORDERS])
        assert migration.numbers() == []
        assert progress.chunks(scope, ORDERS) == []
        assert progress.quarantine_count(scope) == {}
        with pytest.raises(MarkMovedError):
            progress.begin_chunk(scope, stale)
        with pytest.raises(MarkMovedError):
            migration.target.load(ORDERS, [batch([order(1)])], loaded)
        (again,) = migration.begin()
        assert again.attempt > loaded.attempt
        with pytest.raises(MarkMovedError):
            migration.target.load(ORDERS, [batch([order(1)])], loaded)
        assert migration.target.load(ORDERS, [batch([order(3)])], again).rows == 1
        assert migration.numbers() == [3]

    def test_forgetting_chunks_ends_batches_that_were_taken(self, migration: Migration) -> None:
        migration.load([order(1)])
        migration.change(1)
        mark, dirty = migration.take_one()
        migration.progress.forget_chunks(migration.scope, [ORDERS])
        with pytest.raises(MarkMovedError):
            migration.target.replace(ORDERS, dirty, batch([order(1)]), [mark])
        migration.load([order(1, status="read later")])
        with pytest.raises(MarkMovedError):
            migration.target.replace(ORDERS, dirty, batch([order(1, status="read earlier")]), [mark])
        assert migration.rows() == list(plain([order(1, status="read later")]))

    def test_a_chunk_that_was_planned_anew_is_another_one(self, migration: Migration) -> None:
        migration.begin()
        (stale,) = migration.progress.chunks(migration.scope, ORDERS)
        migration.progress.forget_chunks(migration.scope, [ORDERS])
        migration.begin([Span(None, key(1)), Span(key(1), None)])
        with pytest.raises(MarkMovedError):
            migration.progress.begin_chunk(migration.scope, stale)

    # --- quarantine

    def test_quarantine_is_told_page_by_page(self, migration: Migration) -> None:
        entries = [aside(3), aside(1, "odder"), nameless(b"\1"), nameless(b"abc"), aside(2)]
        migration.load([order(7)], quarantined=entries)
        expected = sorted(Aside(q.key, q.path, q.reason, len(q.document)) for q in entries)
        told: list[Aside] = []
        while page := migration.progress.quarantine(migration.scope, ORDERS, told[-1].key if told else None, 2):
            told += page
        assert told == expected
        assert migration.progress.quarantine(migration.scope, CUSTOMERS, None, 10) == []
        assert migration.progress.quarantine_count(migration.scope) == {"orders": 5}

    def test_an_entry_has_its_document(self, migration: Migration) -> None:
        migration.load([order(7)], quarantined=[aside(1), nameless(b"\1")])
        assert migration.progress.quarantined(migration.scope, ORDERS, key(1)) == aside(1)
        assert migration.progress.quarantined(migration.scope, ORDERS, nameless(b"\1").key) == nameless(b"\1")
        assert migration.progress.quarantined(migration.scope, ORDERS, key(7)) is None
        assert migration.progress.quarantined(migration.scope, CUSTOMERS, key(1)) is None

    # --- dirty keys

    def test_every_key_has_one_lane(self, migration: Migration) -> None:
        migration.load([])
        migration.change(*range(100))
        migration.change(*range(50))
        taken = migration.take()
        assert sorted(e.key for _, dirty in taken for e in dirty) == sorted(key(n) for n in range(100))
        generations = {e.key: e.generation for _, dirty in taken for e in dirty}
        assert {generations[key(n)] for n in range(50)} == {2}
        assert {generations[key(n)] for n in range(50, 100)} == {1}

    def test_the_oldest_come_first_and_of_one_stream(self, migration: Migration) -> None:
        migration.load([])
        migration.load([], CUSTOMERS)
        for number in range(40):
            migration.change(number, stream=CUSTOMERS if number % 2 else ORDERS)
        for lane in range(LANES):
            _, few = migration.progress.take(migration.scope, lane, 3)
            _, many = migration.progress.take(migration.scope, lane, 1000)
            assert len({entry.stream for entry in many}) <= 1
            assert few == many[:3]
            keys = [entry.key for entry in many]
            assert keys == sorted(keys)  # kept in this order, and all of one stream

    def test_a_key_waits_until_its_chunk_is_loaded(self, migration: Migration) -> None:
        migration.change(1, 5, 9)
        assert migration.take() == []
        marks = migration.begin([Span(None, key(3)), Span(key(3), key(7)), Span(key(7), None)])
        assert migration.take() == []
        seen = []
        for number in (1, 2, 0):
            migration.target.load(ORDERS, [], marks[number])
            seen.append({entry.key for _, dirty in migration.take() for entry in dirty})
        assert seen == [{key(5)}, {key(5), key(9)}, {key(1), key(5), key(9)}]

    def test_repair_makes_keys_dirty(self, migration: Migration) -> None:
        migration.load([])
        migration.progress.mark_dirty(migration.scope, [("orders", key(1)), ("orders", key(2)), ("orders", key(1))])
        asked = [key(1), key(2), key(3)]
        assert migration.progress.still_dirty(migration.scope, ORDERS, asked) == {key(1), key(2)}
        assert migration.progress.still_dirty(migration.scope, ORDERS, []) == set()
        assert migration.progress.still_dirty(migration.scope, CUSTOMERS, asked) == set()

    def test_touched_keys_come_page_by_page(self, migration: Migration) -> None:
        progress, scope = migration.progress, migration.scope
        migration.load([])
        migration.change(*range(10))
        for mark, dirty in migration.take():
            migration.target.replace(ORDERS, dirty, batch([]), [mark])
        pages: list[list[bytes]] = []
        while page := progress.touched(scope, ORDERS, pages[-1][-1] if pages else None, 4):
            pages.append([one.key for one in page])
        assert [len(page) for page in pages] == [4, 4, 2]
        assert sorted(entry for page in pages for entry in page) == [key(n) for n in range(10)]
        assert progress.touched(scope, CUSTOMERS, None, 4) == []
        progress.forget_touched(scope)
        assert progress.touched(scope, ORDERS, None, 4) == []

    def test_touched_keys_are_forgotten_unless_they_were_applied_again(self, migration: Migration) -> None:
        progress, scope = migration.progress, migration.scope

        def apply(*numbers: int) -> None:
            migration.change(*numbers)
            for mark, dirty in migration.take():
                migration.target.replace(ORDERS, dirty, batch([order(n) for n in numbers]), [mark])

        migration.load([])
        apply(1)
        apply(2)
        apply(3)
        noted = progress.touched(scope, ORDERS, None, 9)
        apply(2)
        assert progress.forget_equal(scope, CUSTOMERS, noted) == 0
        assert progress.forget_equal(scope, ORDERS, noted) == 2
        assert [one.key for one in progress.touched(scope, ORDERS, None, 9)] == [key(2)]
        apply(1)
        assert progress.forget_equal(scope, ORDERS, noted) == 0, "the same call once more, landing late"
        assert {one.key for one in progress.touched(scope, ORDERS, None, 9)} == {key(1), key(2)}
        assert progress.forget_equal(scope, ORDERS, []) == 0

    def test_long_keys_are_kept_too(self, migration: Migration) -> None:
        long = b"<" + bytes(range(1, 256)) * 40
        migration.load([])
        migration.progress.mark_dirty(migration.scope, [("orders", long)])
        assert [entry.key for _, dirty in migration.take() for entry in dirty] == [long]

    # --- what reconcile found

    def test_divergences_are_replaced(self, migration: Migration) -> None:
        progress, scope = migration.progress, migration.scope
        first = [Mismatch("orders", key(1), "different", ("status", "total")), Mismatch("orders", key(2), "missing")]
        progress.keep_divergences(scope, first)
        assert sorted(progress.divergences(scope), key=lambda found: found.key) == first
        progress.keep_divergences(scope, [Mismatch("customers", key(3), "extra")])
        assert progress.divergences(scope) == [Mismatch("customers", key(3), "extra")]
        progress.keep_divergences(scope, [])
        assert progress.divergences(scope) == []

    # --- scopes

    def test_rounds_have_progress_of_their_own(self, migration: Migration) -> None:
        migration.begin()
        migration.change(1)
        later = Scope(migration.scope.run, 1, migration.scope.epoch)
        assert migration.progress.position(later) is None
        assert migration.progress.chunks(later, ORDERS) == []
        assert migration.progress.backlog(later).dirty == 0
        migration.progress.stop_capture(later)
        assert migration.progress.position(migration.scope) == Position(b"later")

    @pytest.mark.parametrize("call", range(11))
    def test_no_call_writes_under_an_old_epoch(self, migration: Migration, call: int) -> None:
        scope = migration.scope
        migration.begin()
        (chunk,) = migration.progress.chunks(scope, ORDERS)
        migration.world.take_over(scope.run)
        # Other sessions than the ones that takeover may have ended.
        progress = migration.world.progress()
        with pytest.raises(EpochMovedError):
            _writing_calls(progress, scope, chunk)[call]()
        assert progress.position(scope) == Position(b"first")
        assert progress.chunks(scope, ORDERS) == [chunk]
        assert progress.backlog(scope).dirty == 0


class TargetSchemaSuite(_Suite):
    """`TargetSchema`."""

    def test_the_identity_stays(self, world: TargetWorld) -> None:
        assert world.schema().identity() == world.schema().identity() != ""

    def test_an_empty_target_has_no_error(self, world: TargetWorld) -> None:
        assert [f for f in world.schema().findings(STREAMS, "shop-1") if f.severity == "error"] == []

    def test_tables_are_made_once_and_dropped(self, world: TargetWorld) -> None:
        schema = world.schema()
        scope = Scope("shop-1", 0, world.take_over("shop-1"))
        assert len(schema.table_differences(STREAMS)) >= 2
        made = schema.create_tables(scope, STREAMS)
        assert len(made) >= 5
        assert schema.create_tables(scope, STREAMS) == []
        assert schema.table_differences(STREAMS) == []
        assert [f for f in schema.findings(STREAMS, "shop-1") if f.severity == "error"] == []
        assert sorted(schema.drop_tables(scope, STREAMS)) == sorted(made)
        assert schema.drop_tables(scope, STREAMS) == []
        assert len(schema.table_differences(STREAMS)) >= 2

    def test_what_another_run_made_is_left_alone(self, migration: Migration) -> None:
        migration.load([order(1)])
        other = Scope("shop-2", 0, migration.world.take_over("shop-2"))
        schema = migration.world.schema()
        findings = [f for f in schema.findings(STREAMS, other.run) if f.severity == "error"]
        assert any("orders" in finding.message for finding in findings)
        with pytest.raises(NotOursError, match="shop-1"):
            schema.create_tables(other, STREAMS)
        assert schema.drop_tables(other, STREAMS) == []
        migration.world.progress().forget_chunks(other, STREAMS)
        assert migration.numbers() == [1]

    def test_indexes_come_and_go(self, migration: Migration) -> None:
        schema, scope = migration.schema, migration.scope
        assert len(schema.index_differences(STREAMS)) == 1
        for _ in range(2):
            schema.create_indexes(scope, STREAMS)
            assert schema.index_differences(STREAMS) == []
        for _ in range(2):
            schema.drop_indexes(scope, STREAMS)
            assert len(schema.index_differences(STREAMS)) == 1

    def test_constraints_come_and_go(self, migration: Migration) -> None:
        schema, scope = migration.schema, migration.scope
        migration.load([order(1), order(2, number=None), order(3, number=None)])
        assert len(schema.constraint_differences(STREAMS)) == 2
        for _ in range(2):
            schema.create_constraints(scope, STREAMS)
            assert schema.constraint_differences(STREAMS) == []
        for _ in range(2):
            schema.drop_constraints(scope, STREAMS)
            assert len(schema.constraint_differences(STREAMS)) == 2

    def test_nothing_is_made_under_an_old_epoch(self, migration: Migration) -> None:
        migration.world.take_over(migration.scope.run)
        schema = migration.world.schema()
        calls: list[Callable[[], object]] = [
            lambda: schema.create_indexes(migration.scope, STREAMS),
            lambda: schema.create_constraints(migration.scope, STREAMS),
            lambda: schema.drop_tables(migration.scope, STREAMS),
        ]
        for call in calls:
            with pytest.raises(EpochMovedError):
                call()
        assert schema.table_differences(STREAMS) == []
        assert len(schema.index_differences(STREAMS)) == 1
        assert len(schema.constraint_differences(STREAMS)) == 2

    def test_dangling_references_are_counted(self, migration: Migration) -> None:
        migration.load([customer(1, "a"), customer(2, None)], CUSTOMERS)
        nobody = object_id(77)
        migration.load([order(1), order(2), order(3, customer=nobody), order(4, customer=None), order(5)])
        assert migration.schema.dangling(ORDERS) == {"customer": 2}
        assert migration.schema.dangling(CUSTOMERS) == {}
        assert migration.schema.count(ORDERS) == 5
        assert migration.schema.count(CUSTOMERS) == 2


def _child_rows(row: dict[str, Any]) -> int:
    return len(row["items"]) + len(row["notes"]) + sum(len(item["parts"]) for item in row["items"])


def _writing_calls(progress: Progress, scope: Scope, chunk: Chunk) -> list[Callable[[], object]]:
    return [
        lambda: progress.start_capture(scope, Position(b"x"), LANES),
        lambda: progress.restart_capture(scope, Position(b"x")),
        lambda: progress.keep(scope, Changes((("orders", key(1)),), Position(b"x"))),
        lambda: progress.stop_capture(scope),
        lambda: progress.plan_chunks(scope, CUSTOMERS, [WHOLE]),
        lambda: progress.begin_chunk(scope, chunk),
        lambda: progress.forget_chunks(scope, [ORDERS]),
        lambda: progress.mark_dirty(scope, [("orders", key(1))]),
        lambda: progress.forget_touched(scope),
        lambda: progress.forget_equal(scope, ORDERS, []),
        lambda: progress.keep_divergences(scope, []),
        lambda: progress.keep(scope, Changes((), Position(b"x"))),
    ]
