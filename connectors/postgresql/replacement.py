"""Making the rows of some keys equal to a batch, in place (`rules.md` C4).

Other people's foreign keys, triggers and views hang on rows, so a row that stays is never deleted: the batch goes into
temporary tables, from which rows are updated where they are, or inserted. A row is left as it is only if it holds the
same bytes; SQL's equality does not tell -0 from 0, nor the json numbers 1.0 and 1.

The order:
1. Keys that have no row any more: the root is locked, then children go, the deepest first, then the root. So two
   writers cannot mix rows, whether or not the tables have their foreign keys yet.
2. Unique values that change are freed, then the root rows are written: values may pass between rows in any way.
3. Child rows that the batch does not have go, the deepest first; then those it has are written, parents first.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

import pyarrow as pa
import pyarrow.compute as pc

from tranship.connectors.batch import KEY
from tranship.connectors.postgresql.datasessions import DataSession
from tranship.connectors.postgresql.errors import DuplicateError, ReferredError, RowError
from tranship.connectors.postgresql.frames import frames
from tranship.connectors.postgresql.keyspace import KeySpace
from tranship.connectors.postgresql.layout import Layout, names, quote
from tranship.connectors.protocols import Key


def replace_rows(session: DataSession, keys: KeySpace, wanted: Sequence[Key], rows: pa.RecordBatch) -> None:
    """Make the rows of the wanted keys the given ones, in the caller's transaction.

    Raises `ReferredError` when somebody else's foreign key holds one that has to go, `DuplicateError` when a row
    that is not among them holds a unique value.
    """
    there = rows.column(KEY).to_pylist()
    gone = set(wanted).difference(there)
    if gone:
        _remove(session, keys, sorted(gone))
    if there:
        _write(session, keys, there, _stage(session, keys.root, rows))


def replace_free_rows(
    session: DataSession, keys: KeySpace, wanted: Sequence[Key], rows: pa.RecordBatch
) -> dict[Key, str]:
    """The same after a foreign key has refused it: keys whose rows it holds stay as they are.

    Returns these with the name of the table that refers to them.
    """
    _prepare(session, keys.root)  # before anything that is rolled back
    session.run("SET CONSTRAINTS ALL IMMEDIATE")  # deferred ones would speak at COMMIT, of no key
    found = _singled_out(session, keys, sorted(wanted), rows, ReferredError)
    held = {key: f"{error.schema}.{error.table}" for key, error in found.items()}
    free = [key for key in wanted if key not in held]
    replace_rows(session, keys, free, _only(rows, free))
    return held


def refused_rows(session: DataSession, keys: KeySpace, rows: pa.RecordBatch) -> dict[Key, str]:
    """Keys of rows that do not fit, and why, in the caller's transaction, in which nothing of them is left."""
    _prepare(session, keys.root)
    found = _singled_out(session, keys, sorted(rows.column(KEY).to_pylist()), rows, RowError)
    return {key: str(error) for key, error in found.items()}


Wrong = TypeVar("Wrong", ReferredError, RowError)


def _singled_out(
    session: DataSession, keys: KeySpace, wanted: Sequence[Key], rows: pa.RecordBatch, kind: type[Wrong]
) -> dict[Key, Wrong]:
    """Which of the keys are refused with an error of this kind: tried together, then in halves."""
    if not wanted:
        return {}
    try:
        with session.trial():
            replace_rows(session, keys, wanted, _only(rows, wanted))
    except kind as error:
        if len(wanted) == 1:
            return {wanted[0]: error}
    except (DuplicateError, ReferredError, RowError):
        # Of another kind; or the other owner of a unique value is in another part.
        if len(wanted) == 1:
            return {}
    else:
        return {}
    middle = len(wanted) // 2
    first = _singled_out(session, keys, wanted[:middle], rows, kind)
    return first | _singled_out(session, keys, wanted[middle:], rows, kind)


def _only(rows: pa.RecordBatch, wanted: Sequence[Key]) -> pa.RecordBatch:
    return rows.filter(pc.is_in(rows.column(KEY), value_set=pa.array(wanted, pa.binary())))


def _prepare(session: DataSession, root: Layout) -> None:
    for table, _ in root.walk():
        session.once(table.name, _staging(table))


def _stage(session: DataSession, root: Layout, rows: pa.RecordBatch) -> set[str]:
    """Put the batch into the temporary tables; returns which of them have rows."""
    _prepare(session, root)
    filled = set()
    for table, part in frames(root, rows):
        session.append_staged(table.table, part)
        filled.add(table.name)
    return filled


def _staging(table: Layout) -> list[str]:
    """A temporary table of the same name, so that errors name the right one. It is analyzed while it is empty: then the
    planner goes by its real size, else by ten pages at least."""
    columns = ", ".join(field.definition for field in table.fields)
    return [
        f"CREATE TEMPORARY TABLE {quote(table.table)} ({columns}) ON COMMIT DELETE ROWS",
        f"ANALYZE {_staged(table)}",
    ]


def _staged(table: Layout) -> str:
    return f"pg_temp.{quote(table.table)}"


def _remove(session: DataSession, keys: KeySpace, gone: Sequence[Key]) -> None:
    """Delete the rows of keys, children first, behind the lock of their root."""
    root = keys.root
    given = keys.parameters(root, keys.decode(gone))
    lock = f"SELECT count(*) FROM (SELECT FROM {root.name} WHERE {keys.among(root)} FOR UPDATE) AS held"
    session.run(lock, given)
    for table, _ in reversed(list(root.walk())):
        session.run(f"DELETE FROM {table.name} WHERE {keys.among(table)}", given)


def _write(session: DataSession, keys: KeySpace, there: Sequence[Key], filled: set[str]) -> None:
    """Make the rows of keys what is staged."""
    root, *children = [table for table, _ in keys.root.walk()]
    _merge(session, root)
    given = keys.parameters(root, keys.decode(there))
    for table in reversed(children):
        same = " AND ".join(f"g.{quote(name)} = t.{quote(name)}" for name in table.primary)
        session.run(
            f"DELETE FROM {table.name} AS t WHERE {keys.among(table)} "
            f"AND NOT EXISTS (SELECT FROM {_staged(table)} AS g WHERE {same})",
            given,
        )
    for table in children:
        if table.name in filled:
            _merge(session, table)


def _merge(session: DataSession, table: Layout) -> None:
    """Update the staged rows that are there, insert the others."""
    if table.unique:
        session.run(_freeing(table))
    # The key columns are left out: no type of theirs has values that are equal but not the same, and naming one would
    # take a lock on the row for which every transaction that refers to it is waited for.
    written = [quote(field.name) for field in table.columns]
    session.run(
        f"INSERT INTO {table.name} AS t ({names(table.fields)}) SELECT {names(table.fields)} FROM {_staged(table)} "
        f"ON CONFLICT ({', '.join(map(quote, table.primary))}) "
        f"DO UPDATE SET {', '.join(f'{name} = excluded.{name}' for name in written)} "
        f"WHERE {_differ('t', 'excluded', written)}"
    )


def _freeing(table: Layout) -> str:
    """Set the unique values of rows that are to hold others to NULL; the rows are written next."""
    # Key columns cannot be NULL; each index has another one (P119). What a row's place in an index depends on is
    # freed with it: else a row that comes under a condition would meet one that is about to leave it.
    key = {field.name for field in table.key}
    held_in = dict.fromkeys(name for index in table.unique for name in index.columns if name not in key)
    read = dict.fromkeys(name for index in table.unique for name in index.read if name not in key)
    unique = [quote(name) for name in held_in]
    watched = [quote(name) for name in read]
    same = " AND ".join(f"g.{quote(name)} = t.{quote(name)}" for name in table.primary)
    freed = ", ".join(f"{name} = NULL" for name in unique)
    held = ", ".join(f"t.{name}" for name in unique)
    return (
        f"UPDATE {table.name} AS t SET {freed} FROM {_staged(table)} AS g "
        f"WHERE {same} AND num_nonnulls({held}) > 0 AND {_differ('t', 'g', watched)}"
    )


def _differ(left: str, right: str, columns: Sequence[str]) -> str:
    """The condition that two rows differ in a byte of these columns (cast, or each would be compared by itself)."""
    sides = [", ".join(f"{side}.{name}" for name in columns) for side in (left, right)]
    return f"CAST(ROW({sides[0]}) AS record) *<> CAST(ROW({sides[1]}) AS record)"
