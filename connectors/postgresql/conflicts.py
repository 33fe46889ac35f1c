"""Who owns the unique values that a refused batch holds."""

from __future__ import annotations

from collections.abc import Sequence

import pyarrow as pa

from tranship.connectors.batch import Batch
from tranship.connectors.errors import ConnectorError, UniqueConflictError
from tranship.connectors.postgresql.datasessions import DataSession
from tranship.connectors.postgresql.errors import DuplicateError
from tranship.connectors.postgresql.frames import Rows
from tranship.connectors.postgresql.keyspace import KeySpace, texts
from tranship.connectors.postgresql.keyterms import expression
from tranship.connectors.postgresql.layout import Field, Layout, names, quote
from tranship.connectors.postgresql.naming import derived
from tranship.connectors.protocols import DirtyKey, Key

_MOST_VALUES = 100


def unique_conflict(
    session: DataSession, keys: KeySpace, error: DuplicateError, dirty: Sequence[DirtyKey], batch: Batch
) -> ConnectorError:
    """The error to raise for a batch that a unique index refused, after its transaction was rolled back.

    The owners are looked up anew: between the roll-back and this look they may have changed, or even gone; then the
    caller, which reads all of them anew anyway, finds fewer of them and tries again.
    """
    table, column = _place(keys.root, error)
    if table is None:
        return ConnectorError(
            f"stream {keys.stream.name}: table {error.table} refuses a row ({error.constraint}), and this is not a "
            "unique constraint of the plan. Nothing of the batch was kept. Who made it, or wrote into the table?"
        )
    inside = {entry.key for entry in dirty}
    with session.read():
        held = _holders(session, keys, table, column, batch)
        doubled = _doubled(session, table, column, batch)
    owners = {owner for _, owner in held} - inside
    claimants = {claimant for claimant, owner in held if owner not in inside} | doubled
    return UniqueConflictError(
        f"stream {keys.stream.name}: another row of table {table.table} holds a value that {error.constraint} allows "
        "once",
        stream=keys.stream.name,
        constraint=error.constraint,
        column=column if table is keys.root else f"{table.table}.{column}",
        claimants=tuple(sorted(claimants)),
        owners=tuple(sorted(owners)),
    )


def duplicates(session: DataSession, keys: KeySpace, table: Layout, column: str) -> tuple[Key, ...]:
    """Keys of documents whose rows hold a value that another row holds, too: a part of them where they are many."""
    name, value = table.name, quote(column)
    twice = f"SELECT {value} FROM {name} WHERE {value} IS NOT NULL GROUP BY 1 HAVING count(*) > 1 LIMIT {_MOST_VALUES}"
    with session.read():
        found = session.run(f"SELECT DISTINCT {names(table.key)} FROM {name} WHERE {value} IN ({twice})")
    return tuple(sorted(set(_canonical(keys, table, found))))


def _canonical(keys: KeySpace, table: Layout, found: pa.Table) -> list[Key]:
    """Canonical keys of documents, from the key columns of one of their tables."""
    return keys.canonical(Rows(Layout(table.schema, table.table, table.key, (), (), ()), found).key_columns())


def _place(root: Layout, error: DuplicateError) -> tuple[Layout | None, str]:
    """The table and unique column that the error is about; not looked up, because the index may be gone already."""
    for table, _ in root.walk():
        for column in table.unique:
            if (table.table, derived(table.table, (column,), "key")) == (error.table, error.constraint):
                return table, column
    return None, ""


def _holders(session: DataSession, keys: KeySpace, table: Layout, column: str, batch: Batch) -> list[tuple[Key, Key]]:
    """(row of the batch, row of the table) for each value of the batch that the table holds."""
    field = _field(table, column)
    owner = ", ".join(f"held.{quote(field.name)}" for field in table.key)
    found = session.run(
        f"SELECT given.number AS _number, {owner} FROM unnest($1::text[]) WITH ORDINALITY AS given(value, number) "
        f"JOIN {table.name} AS held ON held.{quote(column)} = {expression(field, 'given.value')}",
        [texts(field, batch.rows.column(column))],
    )
    owners = _canonical(keys, table, found.drop_columns(["_number"]))
    numbers = found.column("_number").to_pylist()
    claimants = batch.keys
    return [(claimants[number - 1], owner) for number, owner in zip(numbers, owners, strict=True)]


def _doubled(session: DataSession, table: Layout, column: str, batch: Batch) -> set[Key]:
    """Rows of the batch that hold the same value: they were read at different moments, or the source has it twice.

    PostgreSQL compares, as its index did: to it all NaN are equal, and so are the json numbers 1 and 1.0.
    """
    field = _field(table, column)
    found = session.run(
        f"SELECT number FROM (SELECT number, count(*) OVER (PARTITION BY {expression(field, 'given.value')}) AS same "
        "FROM unnest($1::text[]) WITH ORDINALITY AS given(value, number) WHERE given.value IS NOT NULL) AS counted "
        "WHERE same > 1",
        [texts(field, batch.rows.column(column))],
    )
    claimants = batch.keys
    return {claimants[number - 1] for number in found.column("number").to_pylist()}


def _field(table: Layout, column: str) -> Field:
    return next(field for field in table.columns if field.name == column)
