"""What every progress store has to do: marks, lanes, dirty keys, chunks, quarantine.

The suite knows no database. Subclass it in a test module and give it a fixture `world` (`TargetWorld`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from tests.conformance.migration_suite import Interrupted, MigrationSuite, interrupt_at
from tests.conformance.target_world import (
    CUSTOMERS,
    LANES,
    ORDERS,
    WHOLE,
    Migration,
    TargetWorld,
    aside,
    batch,
    key,
    nameless,
    order,
    plain,
)
from tranship.connectors.errors import (
    ConnectorError,
    EpochMovedError,
    MarkMovedError,
    UnsettledError,
)
from tranship.connectors.protocols import (
    Aside,
    Changes,
    Chunk,
    Feed,
    LaneMark,
    Mismatch,
    Position,
    Progress,
    Scope,
    Span,
    Tally,
    Totals,
)


class ProgressSuite(MigrationSuite):
    """`Progress`."""

    # --- capture

    def test_the_first_position_stays(self, world: TargetWorld) -> None:
        progress = world.progress()
        scope = Scope("shop-1", Feed.FORWARD, world.take_over("shop-1"))
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

    def test_totals_say_how_far_a_backfill_is(self, migration: Migration) -> None:
        assert migration.progress.totals(migration.scope) == {}
        bounds = [key(3), key(6)]
        spans = [Span(lower, upper) for lower, upper in zip([None, *bounds], [*bounds, None], strict=True)]
        migration.progress.plan_chunks(migration.scope, ORDERS, spans)
        assert migration.progress.totals(migration.scope) == {"orders": Totals(3, 0, 0)}
        first = migration.progress.chunks(migration.scope, ORDERS)[0]
        mark = migration.progress.begin_chunk(migration.scope, first)
        assert mark is not None
        migration.target.load(ORDERS, [batch([order(1), order(2)])], mark)
        assert migration.progress.totals(migration.scope) == {"orders": Totals(3, 1, 2)}

    def test_only_keys_of_loaded_chunks_are_taken(self, migration: Migration) -> None:
        spans = [Span(None, key(3)), Span(key(3), key(6)), Span(key(6), None)]
        migration.progress.plan_chunks(migration.scope, ORDERS, spans)
        migration.change(1, 4, 7)
        for loaded, numbers in ((1, {4}), (0, {1, 4}), (2, {1, 4, 7})):
            mark = migration.progress.begin_chunk(
                migration.scope, migration.progress.chunks(migration.scope, ORDERS)[loaded]
            )
            assert mark is not None
            migration.target.load(ORDERS, [], mark)
            taken = {entry.key for _, dirty in migration.take() for entry in dirty}
            assert taken == {key(number) for number in numbers}

    def test_backlog_counts_dirty_keys(self, migration: Migration) -> None:
        before = migration.progress.backlog(migration.scope)
        assert (before.dirty, before.oldest_s) == (0, 0.0)
        migration.change(1, 2, 3)
        migration.change(1)
        after = migration.progress.backlog(migration.scope)
        assert after.dirty == 3
        assert 0.0 <= after.capture_age_s <= after.oldest_s
        assert after.quiet_s <= after.oldest_s

    def test_what_is_dirty_is_named_oldest_first(self, migration: Migration) -> None:
        migration.change(2)
        migration.change(1, 3)
        found = migration.progress.unapplied(migration.scope, 10)
        assert found[0].key == key(2)
        assert {(one.stream, one.key) for one in found} == {("orders", key(number)) for number in (1, 2, 3)}
        assert [one.since for one in found] == sorted(one.since for one in found)
        assert migration.progress.unapplied(migration.scope, 1) == found[:1]

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

    def test_what_differs_leaves_the_record_only_by_a_look_that_found_it_equal(self, migration: Migration) -> None:
        progress, scope = migration.progress, migration.scope
        first = [Mismatch("orders", key(1), "different", ("status", "total")), Mismatch("orders", key(2), "missing")]
        progress.note_divergences(scope, first, ())
        seen = progress.divergences(scope)
        assert seen == first
        progress.note_divergences(scope, [Mismatch("customers", key(3), "extra")], ())
        assert progress.divergences(scope) == [Mismatch("customers", key(3), "extra"), *first]
        again = Mismatch("orders", key(2), "different", ("status",))
        progress.note_divergences(scope, [again], ())
        progress.note_divergences(scope, (), seen)
        assert progress.divergences(scope) == [Mismatch("customers", key(3), "extra"), again], "noted again since"
        progress.note_divergences(scope, (), progress.divergences(scope))
        assert progress.divergences(scope) == []
        progress.note_divergences(scope, (), seen)
        assert progress.divergences(scope) == []

    def test_the_newest_comparison_is_on_record_with_its_time(self, migration: Migration) -> None:
        progress, scope = migration.progress, migration.scope
        assert progress.comparison(scope) is None
        progress.note_comparison(scope, {"orders": Tally(5, 4, 1)}, 2, {})
        first = progress.comparison(scope)
        assert first is not None
        assert (first.streams, first.moving) == ({"orders": Tally(5, 4, 1)}, 2)
        progress.note_comparison(scope, {"orders": Tally(7, 7, 0), "customers": Tally()}, 0, {})
        second = progress.comparison(scope)
        assert second is not None
        assert (second.streams, second.moving) == ({"orders": Tally(7, 7, 0), "customers": Tally()}, 0)
        assert second.at >= first.at
        assert 0 <= second.age_s < 60
        progress.stop_capture(scope)
        assert progress.comparison(scope) is not None, "it stays for who asks after a rollback"

    # --- the seal

    def test_behind_the_seal_nothing_is_applied(self, migration: Migration) -> None:
        """Neither what was taken before, nor what came since (`rules.md` I5)."""
        migration.load([order(1)])
        migration.change(1)
        mark, dirty = migration.take_one()
        migration.target.replace(ORDERS, dirty, batch([order(1)]), [mark])
        migration.progress.forget_touched(migration.scope)
        late = replace(mark, seq=mark.seq + 1)
        for _ in range(2):
            migration.progress.seal(migration.scope, 0)
        migration.change(1)
        assert migration.take() == []
        for seq in range(mark.seq, mark.seq + 4):
            with pytest.raises(MarkMovedError):
                migration.target.replace(ORDERS, dirty, batch([]), [replace(mark, seq=seq)])
        every = migration.progress.lane_marks(migration.scope)
        with pytest.raises(MarkMovedError):
            migration.target.replace(ORDERS, dirty, batch([]), every)
        assert migration.numbers() == [1]
        for _ in range(2):
            migration.progress.unseal(migration.scope)
        with pytest.raises(MarkMovedError):
            migration.target.replace(ORDERS, dirty, batch([]), [late])
        with pytest.raises(MarkMovedError):
            migration.target.replace(ORDERS, dirty, batch([]), every)
        mark, dirty = migration.take_one()
        assert migration.target.replace(ORDERS, dirty, batch([]), [mark]) == 1
        assert migration.numbers() == []

    def test_nothing_is_sealed_over_what_is_left(self, migration: Migration) -> None:
        migration.load([order(1), order(2)])
        progress, scope = migration.progress, migration.scope
        migration.change(1)
        with pytest.raises(UnsettledError, match="1 changed keys are not applied"):
            progress.seal(scope, 0)
        mark, dirty = migration.take_one()
        migration.target.replace(ORDERS, dirty, batch([order(1)]), [mark])
        with pytest.raises(UnsettledError, match="1 that were applied are not compared"):
            progress.seal(scope, 0)
        progress.note_divergences(scope, [Mismatch("orders", key(1), "different", ("status",))], ())
        with pytest.raises(UnsettledError, match="1 are known to differ, of which 0 may"):
            progress.seal(scope, 0)
        progress.note_divergences(scope, [Mismatch("orders", key(2), "missing")], ())
        with pytest.raises(UnsettledError, match="2 are known to differ, of which 1 may"):
            progress.seal(scope, 1)
        progress.seal(scope, 2)
        assert migration.progress.lane_marks(scope) != [mark], "others than before"

    def test_a_seal_that_is_refused_leaves_the_lanes_as_they_are(self, migration: Migration) -> None:
        migration.load([order(1)])
        migration.change(1)
        with pytest.raises(UnsettledError):
            migration.progress.seal(migration.scope, 0)
        mark, dirty = migration.take_one()
        assert migration.target.replace(ORDERS, dirty, batch([order(1)]), [mark]) == 1

    @pytest.mark.parametrize("site", ["seal.before_commit", "seal.after_commit"])
    def test_a_seal_that_is_cut_off_is_repeated(self, migration: Migration, site: str) -> None:
        migration.load([order(1)])
        with pytest.raises(Interrupted):
            migration.world.progress(hook=interrupt_at(site)).seal(migration.scope, 0)
        migration.world.progress().seal(migration.scope, 0)
        migration.change(1)
        assert migration.take() == []

    # --- scopes

    def test_feeds_have_progress_of_their_own(self, migration: Migration) -> None:
        migration.begin()
        migration.change(1)
        later = Scope(migration.scope.run, Feed.REVERSE, migration.scope.epoch)
        assert migration.progress.position(later) is None
        assert migration.progress.chunks(later, ORDERS) == []
        assert migration.progress.backlog(later).dirty == 0
        migration.progress.stop_capture(later)
        assert migration.progress.position(migration.scope) == Position(b"later")

    @pytest.mark.parametrize("call", range(15))
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
        lambda: progress.note_divergences(scope, (), ()),
        lambda: progress.note_comparison(scope, {}, 0, {}),
        lambda: progress.keep(scope, Changes((), Position(b"x"))),
        lambda: progress.seal(scope, 0),
        lambda: progress.unseal(scope),
    ]
