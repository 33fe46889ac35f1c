"""Planting divergences in the demo's target behind the migration's back, and naming them as a run names them."""

from __future__ import annotations

import random
from base64 import b64decode
from collections.abc import Callable, Collection, Iterable, Mapping
from itertools import islice
from typing import Any, NamedTuple

import bson
import psycopg
from psycopg import sql


class Row(NamedTuple):
    """A root row of the shop, by stream and key."""

    stream: str
    key: str


Plant = Callable[[psycopg.Connection[Any], sql.Identifier, sql.Identifier, Any], None]


def _change(connection: psycopg.Connection[Any], orders: sql.Identifier, _items: sql.Identifier, key: Any) -> None:
    """One column of a row gets another value."""
    connection.execute(sql.SQL("update {} set status = status || '?' where _id = %s").format(orders), (key,))


def _drop_child(connection: psycopg.Connection[Any], _orders: sql.Identifier, items: sql.Identifier, key: Any) -> None:
    """An array loses its last element."""
    last = sql.SQL(
        "delete from {0} where _root_id = %s and _ordinal = (select max(_ordinal) from {0} where _root_id = %s)"
    )
    connection.execute(last.format(items), (key, key))


def _drop(connection: psycopg.Connection[Any], orders: sql.Identifier, _items: sql.Identifier, key: Any) -> None:
    """A row is lost, with its children."""
    connection.execute(sql.SQL("delete from {} where _id = %s").format(orders), (key,))


def _spoil(connection: psycopg.Connection[Any], orders: sql.Identifier, _items: sql.Identifier, key: Any) -> None:
    """An amount becomes what no document of the shop has, and what the data driver cannot read."""
    connection.execute(sql.SQL("update {} set total = 'NaN' where _id = %s").format(orders), (key,))


PLANTS: tuple[Plant, ...] = (_change, _drop_child, _drop, _spoil)


def is_guarded(uri: str, schema: str) -> bool:
    """Whether the tables refuse a write of somebody who just writes."""
    orders = sql.Identifier(schema, "orders")
    with psycopg.connect(uri) as connection:
        try:
            connection.execute(sql.SQL("update {} set status = status || '?'").format(orders))
        except psycopg.errors.ObjectNotInPrerequisiteState:
            return True
        finally:
            connection.rollback()
    return False


def plant(uri: str, tables: tuple[str, str], count: int, rng: random.Random, moving: Collection[Row]) -> set[Row]:
    """Corrupt `count` orders: changed, an element lost, lost, spoiled, and one never sent. Returns which.

    `tables`: their schema, and the run that they are of, whose guard is deceived: a bug of the applier would not meet
    it either. `moving` rows are left alone: a write that is on its way to them would make them equal again.
    """
    schema, run = tables
    orders, items = sql.Identifier(schema, "orders"), sql.Identifier(schema, "order_items")
    with_items = sql.SQL(
        "select _id from {0} o where status is not null "
        "and exists (select from {1} i where i._root_id = o._id) order by _id"
    )
    with psycopg.connect(uri) as connection:
        connection.execute("select set_config('tranship.applies', %s, true)", (run,))
        keys = [row[0] for row in connection.execute(with_items.format(orders, items))]
        chosen = rng.sample([key for key in keys if Row("orders", key) not in moving], count - 1)
        for number, key in enumerate(chosen):
            PLANTS[number % len(PLANTS)](connection, orders, items, key)
        ghost = f"{rng.getrandbits(96):024x}"
        connection.execute(sql.SQL("insert into {} (_id, status) values (%s, 'ghost')").format(orders), (ghost,))
    return {Row("orders", key) for key in [*chosen, ghost]}


class Finding(NamedTuple):
    """What a comparison named of what was planted."""

    missed: frozenset[Row]
    strange: frozenset[Row]
    """Named, but never planted."""

    @property
    def broken(self) -> str | None:
        """What is wrong, with the rows, or None."""
        if not self.missed and not self.strange:
            return None
        return f"planted {_rows(self.missed)} not found, {_rows(self.strange)} named wrongly"


def judge(planted: Collection[Row], written: Collection[Row], found: Collection[Row]) -> Finding:
    """Compare the rows planted with those that the run named.

    A planted row that the shop wrote later may be named or not: named if the comparison looked before the write
    arrived, equal again if it looked behind it. A row that was never planted may not be named, written or not.
    """
    return Finding(frozenset(planted) - set(written) - set(found), frozenset(found) - set(planted))


def _rows(rows: Collection[Row]) -> str:
    return ", ".join(f"{row.stream} {row.key}" for row in sorted(rows)) or "nothing"


def named(divergence: dict[str, Any]) -> Row:
    """A divergence of `tranship status`, in the same form."""
    return Row(divergence["stream"], str(divergence["key"]["_id"]))


def keys_written(records: Iterable[Mapping[str, Any]], skip: int) -> set[Row]:
    """Rows that the shop tried to write after the first `skip` records of the ledger."""
    tried = (record for record in islice(records, skip, None) if "try" in record)
    return {Row(record["in"], str(bson.decode(b64decode(record["key"]))["_id"])) for record in tried}
