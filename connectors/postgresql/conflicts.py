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
from tranship.connectors.postgresql.layout import Layout, names, quote
from tranship.connectors.postgresql.statements import Wanted, unique
from tranship.connectors.protocols import Key

_MOST_VALUES = 100


def unique_conflict(
    session: DataSession, keys: KeySpace, error: DuplicateError, wanted: Sequence[Key], batch: Batch
) -> ConnectorError:
    """The error to raise for a batch that a unique index refused, after its transaction was rolled back.

    The owners are looked up anew: between the roll-back and this look they may have changed, or even gone; then the
    caller, which reads all of them anew anyway, finds fewer of them and tries again.
    """
    index = _refusing(keys, error)
    if index is None:
        return ConnectorError(
            f"stream {keys.stream.name}: table {error.table} refuses a row ({error.constraint}), and this is not a "
            "unique constraint of the plan. Nothing of the batch was kept. Who made it, or wrote into the table?"
        )
    inside = set(wanted)
    with session.read():
        held = _holders(session, keys, index, batch)
        doubled = _doubled(session, index, batch)
    owners = {owner for _, owner in held} - inside
    claimants = {claimant for claimant, owner in held if owner not in inside} | doubled
    return UniqueConflictError(
        f"stream {keys.stream.name}: another row of table {index.table.table} holds a value that {error.constraint} "
        "allows once",
        stream=keys.stream.name,
        constraint=error.constraint,
        columns=index.index.columns,
        claimants=tuple(sorted(claimants)),
        owners=tuple(sorted(owners)),
    )


def duplicates(session: DataSession, keys: KeySpace, index: Wanted) -> tuple[Key, ...]:
    """Keys of documents whose rows hold what another row holds, too: a part of them where they are many."""
    found = f"SELECT {names(keys.root.key)} FROM {index.table.name} AS held WHERE ({index.column_list}) IN "
    found += f"({index.twice} LIMIT {_MOST_VALUES})" + (f" AND {index.condition()}" if index.index.where else "")
    with session.read():
        return tuple(sorted(set(_canonical(keys, session.run(found)))))


def _canonical(keys: KeySpace, found: pa.Table) -> list[Key]:
    """Canonical keys of documents, from the key columns of their rows."""
    root = keys.root
    return keys.canonical(Rows(Layout(root.schema, root.table, root.key, (), (), ()), found).key_columns())


def _refusing(keys: KeySpace, error: DuplicateError) -> Wanted | None:
    """The index that the error is about; not looked up, because it may be gone already."""
    wanted = unique([keys.stream], keys.root.schema)
    return next((one for one in wanted if (one.table.table, one.name) == (error.table, error.constraint)), None)


def _holders(session: DataSession, keys: KeySpace, index: Wanted, batch: Batch) -> list[tuple[Key, Key]]:
    """(row of the batch, row of the table) for each row of the batch whose values the table holds."""
    owner = ", ".join(f"held.{quote(field.name)}" for field in keys.root.key)
    same = " AND ".join(f"held.{quote(name)} = given.{quote(name)}" for name in index.index.columns)
    there = f" AND {index.condition('held')}" if index.index.where else ""
    found = session.run(
        f"SELECT given._number, {owner} FROM {_given(index)} JOIN {index.table.name} AS held ON {same}{there}",
        _values(index, batch),
    )
    owners = _canonical(keys, found.drop_columns(["_number"]))
    claimants = batch.keys
    return [(claimants[number - 1], owner) for number, owner in zip(_numbers(found), owners, strict=True)]


def _doubled(session: DataSession, index: Wanted, batch: Batch) -> set[Key]:
    """Rows of the batch that hold the same values: they were read at different moments, or the source has them twice.

    PostgreSQL compares, as its index did: to it all NaN are equal, and so are the json numbers 1 and 1.0.
    """
    held = ", ".join(f"given.{quote(name)}" for name in index.index.columns)
    found = session.run(
        f"SELECT _number FROM (SELECT _number, count(*) OVER (PARTITION BY {held}) AS same FROM {_given(index)} "
        f"WHERE num_nulls({held}) = 0) AS counted WHERE same > 1",
        _values(index, batch),
    )
    claimants = batch.keys
    return {claimants[number - 1] for number in _numbers(found)}


def _given(index: Wanted) -> str:
    """The batch's rows that belong into the index, as the table `given`: their values, and their `_number` from 1."""
    read = index.index.read
    values = ", ".join(
        f"{expression(index.table.field(name), f'v{number}')} AS {quote(name)}" for number, name in enumerate(read)
    )
    texts_of = ", ".join(f"${number}::text[]" for number in range(1, len(read) + 1))
    listed = ", ".join(f"v{number}" for number in range(len(read)))
    rows = f"SELECT n AS _number, {values} FROM unnest({texts_of}) WITH ORDINALITY AS t({listed}, n)"
    where = f" WHERE {index.condition('every')}" if index.index.where else ""
    return f"(SELECT * FROM ({rows}) AS every{where}) AS given"


def _values(index: Wanted, batch: Batch) -> list[pa.Array]:
    return [texts(index.table.field(name), batch.rows.column(name)) for name in index.index.read]


def _numbers(found: pa.Table) -> list[int]:
    return list(found.column("_number").to_pylist())
