"""What every batch target has to count of the rows that it holds: notes, and filled columns.

The suite knows no database. Subclass it in a test module and give it a fixture `world` (`TargetWorld`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import pairwise

import pytest

from tests.conformance.migration_suite import Interrupted, MigrationSuite, interrupt_at
from tests.conformance.target_world import ORDERS, REORDERED, Migration, Row, bare_order, batch, key, odd, order
from tranship.connectors.batch import RESIDUE, Batch
from tranship.connectors.errors import MarkMovedError
from tranship.connectors.fit import Cell, Effect, Fit, Kind, Note, Notes
from tranship.connectors.protocols import Feed, Key, Scope, Span

ORDER = Note("status", "order", Effect.SHAPE, "status")
MISFIT = Note("items.price", "type string", Effect.MISFIT, "items.price")
SECRET = Note("by.4711", "unmapped", Effect.UNNAMED, "by")


def noted(rows: Sequence[Row], notes: Mapping[int, Sequence[Note]]) -> Batch:
    """Rows with the notes of some, by number."""
    return replace(batch(rows), notes={key(number): found for number, found in notes.items()})


def counts(migration: Migration) -> dict[Kind, int]:
    return dict(migration.progress.fit(migration.scope).get("orders", Fit()).notes)


class FitSuite(MigrationSuite):
    """Counts of `BatchTarget` and `Progress.fit`."""

    def test_what_is_loaded_is_counted(self, migration: Migration) -> None:
        assert migration.progress.fit(migration.scope) == {}
        first, second = migration.begin([Span(None, key(3)), Span(key(3), None)])
        rows = [order(1), order(2)]
        migration.target.load(ORDERS, [noted(rows, {1: [ORDER, SECRET], 2: [ORDER]})], first)
        assert counts(migration) == {ORDER.kind: 2, Kind("by", "unmapped", Effect.UNNAMED): 1}, "and no name of theirs"
        migration.target.load(ORDERS, [noted([order(3)], {3: [MISFIT, MISFIT]}), noted([bare_order(4)], {})], second)
        assert counts(migration) == {ORDER.kind: 2, SECRET.kind: 1, MISFIT.kind: 2}
        found = migration.progress.fit(migration.scope)["orders"]
        assert found.filled_at is None
        assert {cell: found.filled[cell] for cell in (Cell("orders"), Cell("orders", "status"), Cell("items"))} == {
            Cell("orders"): 4,
            Cell("orders", "status"): 3,
            Cell("items"): 1 + 2 + 3,
        }
        assert found.filled[Cell("parts", "part")] == 0 + (0 + 1) + (0 + 1 + 2), "children of children"

    def test_a_field_of_any_name_can_be_counted(self, migration: Migration) -> None:
        """Longer than what an index entry holds, and of characters of several bytes that compress badly."""
        name = "".join(chr(0x4E00 + 37 * n % 20_000) for n in range(5_000))
        (mark,) = migration.begin()
        note = Note(name, "type string", Effect.MISFIT, name)
        migration.target.load(ORDERS, [noted([order(1)], {1: [note]})], mark)
        assert counts(migration) == {note.kind: 1}

    def test_many_chunks_are_counted_together(self, migration: Migration) -> None:
        bounds = [None, *(key(number) for number in range(1, 150)), None]
        marks = migration.begin([Span(lower, upper) for lower, upper in pairwise(bounds)])
        for number, mark in enumerate(marks[1:], 1):
            migration.target.load(ORDERS, [noted([order(number)], {number: [ORDER]})], mark)
        assert counts(migration) == {ORDER.kind: 149}
        assert migration.progress.fit(migration.scope)["orders"].filled[Cell("orders", "status")] == 149

    def test_a_column_that_nothing_fills_counts_as_none(self, migration: Migration) -> None:
        migration.load([bare_order(1), bare_order(2)])
        found = migration.progress.fit(migration.scope)["orders"].filled
        assert (found[Cell("orders")], found[Cell("orders", "status")], found[Cell("items")]) == (2, 0, 0)

    @pytest.mark.parametrize("site", ["load.before_mark", "load.before_epoch", "load.before_commit"])
    def test_an_interrupted_load_counts_nothing(self, migration: Migration, site: str) -> None:
        (mark,) = migration.begin()
        target = migration.world.target(migration.scope, interrupt_at(site))
        with pytest.raises(Interrupted):
            target.load(ORDERS, [noted([order(1)], {1: [ORDER]})], mark)
        assert migration.progress.fit(migration.scope) == {}

    def test_an_attempt_that_is_over_counts_nothing(self, migration: Migration) -> None:
        (old,) = migration.begin()
        (new,) = migration.begin()
        migration.target.load(ORDERS, [noted([order(1)], {1: [ORDER]})], new)
        with pytest.raises(MarkMovedError):
            migration.target.load(ORDERS, [noted([order(2)], {2: [ORDER]})], old)
        assert counts(migration) == {ORDER.kind: 1}

    def test_replace_adds_what_came_and_takes_off_what_was_there(self, migration: Migration) -> None:
        (mark,) = migration.begin()
        migration.target.load(ORDERS, [noted([order(1), order(2)], {1: [ORDER], 2: [ORDER]})], mark)
        _replace(migration, [1], noted([order(1)], {1: [MISFIT]}), {key(1): [ORDER]})
        assert counts(migration) == {ORDER.kind: 1, MISFIT.kind: 1}
        _replace(migration, [2], noted([], {}), {key(2): [ORDER]})
        assert counts(migration) == {MISFIT.kind: 1}
        _replace(migration, [1], noted([order(1)], {1: [MISFIT]}), {key(1): [MISFIT]})
        assert counts(migration) == {MISFIT.kind: 1}
        _replace(migration, [9], noted([order(9)], {9: [SECRET]}), {})
        assert counts(migration) == {MISFIT.kind: 1, SECRET.kind: 1}

    @pytest.mark.parametrize("site", ["replace.before_mark", "replace.before_epoch", "replace.before_commit"])
    def test_an_interrupted_replace_counts_nothing(self, migration: Migration, site: str) -> None:
        migration.load([order(1)])
        migration.change(1)
        ((mark, dirty),) = migration.take()
        target = migration.world.target(migration.scope, interrupt_at(site))
        with pytest.raises(Interrupted):
            target.replace(ORDERS, dirty, noted([order(1)], {1: [ORDER]}), [mark], {})
        assert counts(migration) == {}

    def test_emptied_tables_have_no_counts(self, migration: Migration) -> None:
        (mark,) = migration.begin()
        migration.target.load(ORDERS, [noted([order(1)], {1: [ORDER]})], mark)
        _replace(migration, [1], noted([order(1)], {1: [MISFIT]}), {key(1): [ORDER]})
        migration.progress.forget_chunks(migration.scope, [ORDERS])
        assert migration.progress.fit(migration.scope) == {}
        (mark,) = migration.begin()
        migration.target.load(ORDERS, [noted([order(1)], {1: [SECRET]})], mark)
        assert counts(migration) == {SECRET.kind: 1}

    def test_a_comparison_recounts_what_is_filled(self, migration: Migration) -> None:
        migration.load([order(1)])
        filled = {Cell("orders"): 7, Cell("orders", "status"): 5}
        migration.progress.note_comparison(migration.scope, {}, 0, {"orders": filled})
        found = migration.progress.fit(migration.scope)["orders"]
        compared = migration.progress.comparison(migration.scope)
        assert compared is not None
        assert (found.filled, found.filled_at) == (filled, compared.at)

    def test_feeds_are_counted_apart(self, migration: Migration) -> None:
        migration.load([order(1)])
        assert migration.progress.fit(Scope(migration.scope.run, Feed.REVERSE, migration.scope.epoch)) == {}

    def test_rows_with_residue_are_found_by_their_own_and_their_children(self, migration: Migration) -> None:
        deep = [{"sku": "s", "price": None, "parts": [{"part": 1, RESIDUE: odd("part")}], RESIDUE: None}]
        plain: Row = {"notes": [], RESIDUE: None}
        rows = [
            order(1, **plain),
            order(2, **{**plain, RESIDUE: REORDERED}),
            order(3, notes=[{"note": None, RESIDUE: odd()}], **{RESIDUE: None}),
            order(4, **{**plain, "items": deep}),
        ]
        migration.load(rows)
        wanted: list[Key] = [key(4), key(1), key(2), key(8), key(3)]
        found = migration.target.with_residue(ORDERS, wanted)
        assert found.equals(batch(rows[1:]).rows)
        assert migration.target.with_residue(ORDERS, wanted[:2]).equals(batch(rows[3:]).rows)
        assert migration.target.with_residue(ORDERS, []).num_rows == 0
        assert migration.target.some_with_residue(ORDERS, 10).equals(batch(rows[1:]).rows)
        assert migration.target.some_with_residue(ORDERS, 2).num_rows == 2


def _replace(migration: Migration, numbers: Sequence[int], rows: Batch, before: Notes) -> None:
    migration.change(*numbers)
    mark, dirty = migration.take_one()
    assert migration.target.replace(ORDERS, dirty, rows, [mark], before) == len(numbers)
