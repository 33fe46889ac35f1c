"""PostgreSQL: rows that stay are updated where they are, so that nothing of others that hangs on them is harmed."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta

import pytest

from tests.conformance.postgresql_world import PostgresWorld
from tests.conformance.target_world import (
    CUSTOMERS,
    ORDERS,
    Migration,
    Row,
    batch,
    customer,
    item,
    key,
    object_id,
    order,
    plain,
)
from tranship.connectors.postgresql import dirtykeys
from tranship.connectors.protocols import DirtyKey
from tranship.plans.streams import Stream


@pytest.fixture
def migration(postgres: PostgresWorld) -> Migration:
    return Migration(postgres)


def apply(migration: Migration, numbers: Sequence[int], rows: Sequence[Row], stream: Stream = ORDERS) -> None:
    """Change these keys on the source and apply them as one batch."""
    migration.change(*numbers, stream=stream)
    dirty = [entry for _, taken in migration.take() for entry in taken]
    marks = migration.progress.lane_marks(migration.scope)
    assert migration.target.replace(stream, dirty, batch(rows, stream), marks) == len(numbers)


@pytest.mark.parametrize("action", ["CASCADE", "SET NULL", "SET DEFAULT"])
def test_what_refers_to_a_row_that_changes_stays_as_it_is(
    postgres: PostgresWorld, migration: Migration, action: str
) -> None:
    migration.load([order(n) for n in range(1, 8)])
    referring = 'CREATE TABLE {shop}.review (id int, of char(24) COLLATE "C" REFERENCES {shop}.orders ON DELETE '
    postgres.sql(referring + action + ")")
    part = (
        'CREATE TABLE {shop}.pick (of char(24) COLLATE "C", place int, FOREIGN KEY (of, place) REFERENCES {shop}.items '
    )
    postgres.sql(part + "ON DELETE " + action + ")")
    postgres.sql("INSERT INTO {shop}.review SELECT row_number() OVER (), _id FROM {shop}.orders")
    postgres.sql("INSERT INTO {shop}.pick SELECT _root_id, _ordinal FROM {shop}.items WHERE _ordinal = 0")
    tables = [f"SELECT * FROM {{shop}}.{name} ORDER BY 1, 2" for name in ("review", "pick")]
    before = [postgres.sql(table) for table in tables]
    assert [len(rows) for rows in before] == [7, 6]
    changed = [order(n, status="changed", notes=[], items=[item(3)]) for n in (1, 2, 3, 5, 6, 7)]
    apply(migration, [1, 2, 3, 5, 6, 7], changed)
    assert migration.rows() == list(plain(sorted([*changed, order(4)], key=lambda row: row["_key"])))
    assert [postgres.sql(table) for table in tables] == before


def test_only_rows_that_go_are_deleted_and_only_rows_that_differ_are_written(
    postgres: PostgresWorld, migration: Migration
) -> None:
    migration.load([order(3), order(7), order(11)])
    postgres.sql("CREATE TABLE {shop}.log (op text, tab text, id text, place int)")
    postgres.sql(
        "CREATE FUNCTION {shop}.note() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN INSERT INTO {shop}.log SELECT "
        "left(TG_OP, 1), TG_TABLE_NAME, coalesce(r->>'_id', r->>'_root_id'), (r->>'_ordinal')::int "
        "FROM to_jsonb(coalesce(NEW, OLD)) AS r; RETURN NULL; END $$"
    )
    for table in ("orders", "items", "notes"):
        trigger = f"CREATE TRIGGER note AFTER INSERT OR UPDATE OR DELETE ON {{shop}}.{table} FOR EACH ROW"
        postgres.sql(f"{trigger} EXECUTE FUNCTION {{shop}}.note()")
    seven = order(7)
    items = [seven["items"][0], {**seven["items"][1], "sku": "other"}]  # the third goes
    apply(migration, [3, 7, 11, 12], [order(3), {**seven, "items": items}, order(12)])
    log = postgres.sql("SELECT op, tab, id, place FROM {shop}.log ORDER BY 1, 2, 3, 4")
    ids = {n: object_id(n) for n in (7, 11, 12)}
    assert [entry for entry in log if entry[0] == "U"] == [("U", "items", ids[7], 1)]
    deleted = [("items", ids[7], 2), *[("items", ids[11], n) for n in range(3)]]
    deleted += [*[("notes", ids[11], n) for n in range(2)], ("orders", ids[11], None)]
    assert [entry[1:] for entry in log if entry[0] == "D"] == deleted
    assert [entry[1:] for entry in log if entry[0] == "I"] == [("orders", ids[12], None)]


def test_unique_values_pass_between_thousands_of_rows(migration: Migration) -> None:
    """Each value belongs to another row of the batch until it is written: shifted by one in a circle."""
    count = 5000
    migration.load([customer(n, f"mail {n}") for n in range(count)], CUSTOMERS)
    migration.schema.create_constraints(migration.scope, [CUSTOMERS])
    shifted = [customer(n, f"mail {(n + 1) % count}") for n in range(count)]
    migration.change(*range(count), stream=CUSTOMERS)
    dirty = [DirtyKey("customers", row["_key"], 1) for row in shifted]
    marks = migration.progress.lane_marks(migration.scope)
    assert migration.target.replace(CUSTOMERS, dirty, batch(shifted, CUSTOMERS), marks) == count
    assert migration.rows(CUSTOMERS) == list(batch(shifted, CUSTOMERS).rows.to_pylist())


def test_a_value_passes_from_a_row_that_goes_to_one_that_stays_and_to_one_that_comes(migration: Migration) -> None:
    migration.load([customer(n, f"mail {n}") for n in range(4)], CUSTOMERS)
    migration.schema.create_constraints(migration.scope, [CUSTOMERS])
    rows = [customer(1, "mail 0"), customer(3, None), customer(9, "mail 1")]
    apply(migration, [0, 1, 3, 9], rows, CUSTOMERS)
    assert [row["email"] for row in migration.rows(CUSTOMERS)] == ["mail 0", "mail 2", None, "mail 1"]


def test_a_column_that_somebody_added_keeps_its_values(postgres: PostgresWorld, migration: Migration) -> None:
    migration.load([order(1), order(2)])
    postgres.sql("ALTER TABLE {shop}.orders ADD COLUMN more int NOT NULL DEFAULT 5")
    postgres.sql("UPDATE {shop}.orders SET more = 7")
    apply(migration, [1, 3], [order(1, status="changed"), order(3)])
    assert postgres.sql("SELECT more FROM {shop}.orders ORDER BY _id") == [(7,), (7,), (5,)]


def test_ordinals_that_somebody_changed_are_made_right(postgres: PostgresWorld, migration: Migration) -> None:
    migration.load([order(3), order(7)])
    postgres.sql("UPDATE {shop}.notes SET _ordinal = -1 WHERE _ordinal = 0")
    postgres.sql("INSERT INTO {shop}.notes (_root_id, _ordinal) SELECT _id, 9 FROM {shop}.orders")
    apply(migration, [3, 7], [order(3), order(7)])
    assert migration.rows() == list(plain([order(3), order(7)]))


@pytest.mark.parametrize("action", ["NO ACTION", "RESTRICT", "NO ACTION DEFERRABLE INITIALLY DEFERRED"])
def test_keys_whose_rows_are_held_wait_and_all_others_go_on(
    postgres: PostgresWorld, migration: Migration, monkeypatch: pytest.MonkeyPatch, action: str
) -> None:
    """One document is gone, one has lost the element that somebody refers to; the others are not held."""
    migration.load([order(n) for n in range(1, 8)])
    migration.schema.create_constraints(migration.scope, [CUSTOMERS])
    postgres.sql(f'CREATE TABLE {{shop}}.bill (of char(24) COLLATE "C" REFERENCES {{shop}}.orders ON DELETE {action})')
    part = (
        'CREATE TABLE {shop}.pick (of char(24) COLLATE "C", place int, FOREIGN KEY (of, place) REFERENCES {shop}.items '
    )
    postgres.sql(f"{part} ON DELETE {action})")
    postgres.sql(f"INSERT INTO {{shop}}.bill VALUES ('{object_id(2)}')")
    postgres.sql(f"INSERT INTO {{shop}}.pick VALUES ('{object_id(3)}', 2)")
    new = [order(3, status="new", items=[]), order(5, status="new"), order(7), order(9)]

    def step() -> int:
        dirty = [entry for _, taken in migration.take() for entry in taken]
        wanted = [row for row in new if row["_key"] in {entry.key for entry in dirty}]
        marks = migration.progress.lane_marks(migration.scope)
        return migration.target.replace(ORDERS, dirty, batch(wanted), marks)

    migration.change(2, 3, 4, 5, 7, 9)
    assert step() == 4
    held = [order(1), order(2), order(3), new[1], order(6), order(7), order(9)]
    assert migration.rows() == list(plain(held))
    shop = postgres.endpoint.schema
    assert migration.progress.parked(migration.scope) == {f"{shop}.bill": 1, f"{shop}.pick": 1}
    assert migration.progress.backlog(migration.scope).dirty == 0
    assert migration.progress.still_dirty(migration.scope, ORDERS, [key(2), key(3), key(5)]) == {key(2), key(3)}
    assert migration.take() == []

    migration.change(2)  # its next change is a new try
    assert (step(), migration.rows()) == (0, list(plain(held)))
    postgres.sql("DELETE FROM {shop}.bill; DELETE FROM {shop}.pick")
    monkeypatch.setattr(dirtykeys, "PARKED", timedelta(0))
    assert step() == 2
    assert migration.rows() == list(plain([order(1), new[0], new[1], order(6), order(7), order(9)]))
    assert migration.progress.parked(migration.scope) == {}
