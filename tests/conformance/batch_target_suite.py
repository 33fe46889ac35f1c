"""What every batch target has to do: load, replace, read.

The suite knows no database. Subclass it in a test module and give it a fixture `world` (`TargetWorld`).
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pyarrow as pa
import pytest

from tests.conformance.migration_suite import Interrupted, MigrationSuite, interrupt_at
from tests.conformance.target_world import (
    BOOKINGS,
    CUSTOMERS,
    LANES,
    ORDERS,
    STREAMS,
    WHOLE,
    Migration,
    Row,
    aside,
    bare_order,
    batch,
    booking,
    key,
    nameless,
    order,
    plain,
)
from tranship.connectors.batch import KEY, Batch, Quarantined
from tranship.connectors.errors import (
    ConnectorError,
    EpochMovedError,
    MarkMovedError,
    UniqueConflictError,
)
from tranship.connectors.keys import from_typed
from tranship.connectors.protocols import (
    Changes,
    Chunk,
    DirtyKey,
    Feed,
    Key,
    Loaded,
    Position,
    Span,
)
from tranship.plans.streams import LogicalType

GONE = datetime(2024, 2, 1, tzinfo=UTC)


class BatchTargetSuite(MigrationSuite):
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

    def test_what_is_equal_but_not_the_same_is_written(self, migration: Migration) -> None:
        """SQL takes these for equal, and so does Python."""
        migration.load([order(1, weight=-0.0, tags="1.0", labels=["a"]), order(2, weight=0.0, tags="1")])
        migration.change(1, 2)
        changed = [order(1, weight=0.0, tags="1", labels=["a"]), order(2, weight=-0.0, tags="1.0")]
        for mark, dirty in migration.take():
            new = [row for row in changed if row["_key"] in {entry.key for entry in dirty}]
            migration.target.replace(ORDERS, dirty, batch(new), [mark])
        found = [(str(row["weight"]), row["tags"]) for row in migration.rows()]
        assert found == [("0.0", "1"), ("-0.0", "1.0")]

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

    def test_entries_of_another_feed_are_another_ones(self, migration: Migration) -> None:
        migration.load([], quarantined=[aside(2)])
        later = replace(migration.scope, feed=Feed.REVERSE)
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
        assert (caught.value.stream, caught.value.constraint) == ("orders", "orders__number__key")
        assert [row["number"] for row in migration.rows()] == [100, 200, None]

        migration.change(1)
        both = [DirtyKey("orders", key(1), 1), dirty[0]]
        rows = batch([order(1, number=200), order(2, number=100)])
        marks = migration.progress.lane_marks(migration.scope)
        assert migration.target.replace(ORDERS, both, rows, marks) == 2
        assert [row["number"] for row in migration.rows()] == [200, 100, None]

    def test_several_values_together_are_unique_and_pass_between_rows(self, migration: Migration) -> None:
        """Under a condition too: only rows that meet it are told apart."""
        rows = [booking(1, "red", 7), booking(2, "red", 7, cancelled=GONE), booking(3, "red", None)]
        self._bookings(migration, [*rows, booking(4, "red", None)])
        with pytest.raises(UniqueConflictError) as caught:
            self._replace(migration, booking(2, "red", 7))
        assert (caught.value.claimants, caught.value.owners) == ((key(2, BOOKINGS),), (key(1, BOOKINGS),))
        assert (caught.value.stream, caught.value.columns) == ("bookings", ("hall", "seat"))

        self._replace(migration, booking(1, "red", 7, cancelled=GONE), booking(2, "red", 7))
        self._replace(migration, booking(1, "red", 7), booking(2, "red", 7, cancelled=GONE))
        self._replace(migration, booking(2, "blue", 7), booking(3, "red", 8), booking(4, "blue", 8))
        self._replace(
            migration, booking(1, "blue", 8), booking(2, "red", 8), booking(3, "blue", 7), booking(4, "red", 7)
        )
        seats = [(row["hall"], row["seat"]) for row in migration.rows(BOOKINGS)]
        assert seats == [("blue", 8), ("red", 8), ("blue", 7), ("red", 7)]

    def test_two_rows_of_a_batch_that_hold_the_same_values_are_named(self, migration: Migration) -> None:
        self._bookings(migration, [booking(n, "red", n) for n in range(1, 4)])
        with pytest.raises(UniqueConflictError) as caught:
            self._replace(migration, booking(1, "red", 1, guest="é"), booking(2, "red", 2, guest="é"))
        assert (set(caught.value.claimants), caught.value.owners) == ({key(1, BOOKINGS), key(2, BOOKINGS)}, ())
        assert caught.value.columns == ("hall", "guest")
        self._replace(migration, booking(1, "red", 1, guest="é"), booking(2, "blue", 2, guest="é"))

    def _bookings(self, migration: Migration, rows: list[Row]) -> None:
        migration.schema.create_tables(migration.scope, [BOOKINGS])
        migration.load(rows, BOOKINGS)
        migration.schema.create_constraints(migration.scope, [BOOKINGS])

    def _replace(self, migration: Migration, *rows: Row) -> None:
        dirty = [DirtyKey("bookings", row[KEY], 0) for row in rows]
        marks = migration.progress.lane_marks(migration.scope)
        migration.target.replace(BOOKINGS, dirty, batch(rows, BOOKINGS), marks)

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


def _child_rows(row: dict[str, Any]) -> int:
    return len(row["items"]) + len(row["notes"]) + sum(len(item["parts"]) for item in row["items"])
