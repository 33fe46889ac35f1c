"""PostgreSQL: indexes of every kind, lists of values and comments, by the server's own words."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal

import pytest

from tests.conformance.postgresql_world import PostgresWorld
from tests.conformance.target_world import BOOKINGS, Migration, booking, column, key
from tranship.connectors.errors import UniqueConflictError
from tranship.connectors.postgresql import indexes
from tranship.connectors.postgresql.naming import index_name
from tranship.plans.streams import Child, LogicalType


@pytest.fixture
def bookings(postgres: PostgresWorld) -> Migration:
    postgres.streams = (BOOKINGS,)
    migration = Migration(postgres)
    migration.schema.create_tables(migration.scope, [BOOKINGS])
    return migration


def test_what_two_rows_hold_already_is_named_when_its_index_is_built(
    bookings: Migration, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(indexes, "UNIQUE_WAIT_S", 0.0)
    monkeypatch.setattr(indexes, "BUILD_TRIES", 1)
    gone = datetime(2024, 2, 1, tzinfo=UTC)
    twice = [booking(n, "red", 7, price=Decimal(5), cancelled=gone) for n in (1, 2)]
    bookings.load([*twice, booking(3, "red", 9, price=Decimal(5))], BOOKINGS)
    with pytest.raises(UniqueConflictError) as caught:
        bookings.schema.create_constraints(bookings.scope, [BOOKINGS])
    assert caught.value.columns == ("price",)
    assert caught.value.claimants == (key(1, BOOKINGS), key(2, BOOKINGS))


def test_the_servers_own_words_for_the_indexes(postgres: PostgresWorld, bookings: Migration) -> None:
    """By hand: what the catalog says, whatever the program thinks of it."""
    bookings.schema.create_indexes(bookings.scope, [BOOKINGS])
    bookings.schema.create_constraints(bookings.scope, [BOOKINGS])
    postgres.sql("SET timezone = 'UTC'")
    found = postgres.sql(
        "SELECT regexp_replace(indexdef, '^CREATE (UNIQUE )?INDEX .* USING btree ', '\\1') FROM pg_indexes "
        f"WHERE tablename = 'bookings' {_here(postgres)}"
    )
    assert {row[0] for row in found} == {
        "UNIQUE (_id)",
        "UNIQUE (hall, seat) WHERE (cancelled IS NULL)",
        "UNIQUE (hall, guest)",
        "UNIQUE (price DESC) WHERE (seat = ANY (ARRAY[7, 8]))",
        "(hall, seat DESC)",
        "(hall, seat)",
        "(hall) WHERE ((cancelled IS NULL) AND (price > 1.50) AND (guest = 'a''b'::text))",
        "(seat) WHERE (cancelled >= '2024-01-31 10:00:00+00'::timestamp with time zone)",
    }
    constraints = postgres.sql(
        "SELECT contype, pg_get_constraintdef(oid) FROM pg_constraint "
        f"WHERE conrelid = '\"{postgres.endpoint.schema}\".bookings'::regclass AND contype <> 'n'"
    )
    assert set(constraints) == {
        ("p", "PRIMARY KEY (_id)"),
        ("u", "UNIQUE (hall, guest)"),
        ("c", "CHECK ((guest = ANY (ARRAY['a''b'::text, 'b%c'::text, 'é'::text])))"),
    }


@pytest.mark.parametrize(
    ("index", "other"),
    [
        (3, "(hall, seat)"),
        (3, "(hall, seat DESC NULLS LAST)"),
        (4, "(hall, seat NULLS FIRST)"),
        (4, "(hall, lower(guest), seat)"),
        (4, "(hall, seat) WHERE cancelled IS NULL"),
        (5, "(hall) WHERE cancelled IS NULL AND price > 1.49 AND guest = 'a''b'"),
        (5, "(hall) WHERE cancelled IS NULL OR price > 1.50 AND guest = 'a''b'"),
        (6, "(seat) WHERE cancelled >= '2024-01-31T12:00:00+00:00'"),
        (6, "(seat) WHERE cancelled > '2024-01-31T12:00:00+02:00'"),
        (6, "(seat)"),
    ],
)
def test_an_index_that_is_another_is_told(postgres: PostgresWorld, bookings: Migration, index: int, other: str) -> None:
    bookings.schema.create_indexes(bookings.scope, [BOOKINGS])
    name = index_name("bookings", BOOKINGS.indexes[index])
    postgres.sql(f'DROP INDEX {{shop}}."{name}"; CREATE INDEX "{name}" ON {{shop}}.bookings {other}')
    (problem,) = bookings.schema.index_differences([BOOKINGS])
    assert name in problem


@pytest.mark.parametrize(
    "change",
    [
        "DROP CONSTRAINT bookings__guest__check",
        "DROP CONSTRAINT bookings__guest__check, ADD CONSTRAINT bookings__guest__check CHECK (guest IN ('é'))",
        "DROP CONSTRAINT bookings__guest__check, ADD CONSTRAINT bookings__guest__check "
        "CHECK (guest IN ('a''b', 'b%c', 'é')) NOT VALID",
    ],
)
def test_a_list_of_values_that_is_another_is_told(postgres: PostgresWorld, bookings: Migration, change: str) -> None:
    assert bookings.schema.table_differences([BOOKINGS]) == []
    postgres.sql(f"ALTER TABLE {{shop}}.bookings {change.replace('%', '%%')}")
    (problem,) = bookings.schema.table_differences([BOOKINGS])
    assert "bookings__guest__check" in problem


def test_comments_reach_the_catalog(postgres: PostgresWorld) -> None:
    about = replace(BOOKINGS.key[0], comment="the key")
    hall = replace(BOOKINGS.columns[0], comment="a 'hall'")
    below = Child("stays", ("stays",), (replace(column("night", LogicalType.DATE), comment="its night"),), comment="s")
    stream = replace(BOOKINGS, key=(about,), columns=(hall, *BOOKINGS.columns[1:]), children=(below,))
    postgres.streams = (stream,)
    migration = Migration(postgres)
    migration.schema.create_tables(migration.scope, [stream])
    found = postgres.sql(
        "SELECT c.relname || coalesce('.' || a.attname, ''), d.description FROM pg_description d "
        "JOIN pg_class c ON c.oid = d.objoid AND d.classoid = 'pg_class'::regclass "
        "LEFT JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum = d.objsubid AND d.objsubid > 0 "
        f"WHERE c.relnamespace = '\"{postgres.endpoint.schema}\"'::regnamespace"
    )
    assert dict(found) == {
        "bookings": 'Who sits where; it\'s "theirs" — 100 %',
        "bookings._id": "the key",
        "bookings.hall": "a 'hall'",
        "stays": "s",
        "stays.night": "its night",
    }


def _here(postgres: PostgresWorld) -> str:
    return f"AND schemaname = '{postgres.endpoint.schema}'"
