"""What a run has made in the target. Only what is noted here is ever emptied, changed or dropped.

Things are known by the number that PostgreSQL gave them (OID), not by their names: somebody may have renamed one and
put another in its place (`rules.md` C8).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal, TypeAlias

from sqlalchemy import Connection, delete, text
from sqlalchemy.dialects.postgresql import insert

from tranship.connectors.postgresql.statetables import StateTables, in_text

Kind: TypeAlias = Literal["schema", "table", "index"]
"""A constraint is known by its index."""

_RESOLVE = {"schema": "to_regnamespace", "table": "to_regclass", "index": "to_regclass"}

_MADE = """
SELECT o.run, o.name, coalesce(c.oid, s.oid) AS oid,
       CASE WHEN s.oid IS NULL THEN format('%I.%I', n.nspname, c.relname) ELSE quote_ident(s.nspname) END AS now
FROM {owned} AS o
LEFT JOIN pg_class AS c ON o.kind <> 'schema' AND c.oid = coalesce(o.oid, to_regclass(o.name)::oid)
LEFT JOIN pg_index AS i ON i.indexrelid = c.oid
LEFT JOIN pg_namespace AS n ON n.oid = c.relnamespace
LEFT JOIN pg_namespace AS s ON o.kind = 'schema' AND s.oid = o.oid
WHERE o.kind = :kind AND coalesce(c.oid, s.oid) IS NOT NULL
AND (o.oid IS NOT NULL
     OR EXISTS (SELECT FROM {owned} AS t WHERE t.run = o.run AND t.kind = 'table' AND t.oid = i.indrelid))
"""
"""What is there, and its present name. An index that is built concurrently is noted before it has a number: until then
it is the one of its name on a table of the run."""


def made(connection: Connection, tables: StateTables, run: str, kind: Kind) -> dict[str, str]:
    """The run's things of one kind that are still there: the name they were noted by, quoted and with the schema where
    they lie in one, and their present name."""
    statement = text(f"{_MADE.format(owned=in_text(tables.owned))} AND o.run = :run")
    return {row.name: row.now for row in connection.execute(statement, {"kind": kind, "run": run})}


def maker(connection: Connection, tables: StateTables, kind: Kind, name: str) -> str | None:
    """The run that made what has this quoted name now, or None."""
    statement = text(
        f"{_MADE.format(owned=in_text(tables.owned))} AND coalesce(c.oid, s.oid) = {_RESOLVE[kind]}(:name)"
    )
    row = connection.execute(statement, {"kind": kind, "name": name}).first()
    return None if row is None else str(row.run)


def note(connection: Connection, tables: StateTables, run: str, kind: Kind, name: str) -> None:
    """Note that the run made a thing; in the transaction that makes it, or before it where there can be none, and then
    once more.

    Its name was free, so what an earlier run made under it is gone or has another; that run's note goes.
    """
    owned = tables.owned
    connection.execute(delete(owned).where(owned.c.run != run, owned.c.kind == kind, owned.c.name == name))
    oid = connection.execute(text(f"SELECT {_RESOLVE[kind]}(:name)::oid"), {"name": name}).scalar()
    noted = insert(owned).values(run=run, kind=kind, name=name, oid=oid)
    connection.execute(noted.on_conflict_do_update(index_elements=["run", "kind", "name"], set_={"oid": oid}))


def forget(connection: Connection, tables: StateTables, run: str, kind: Kind, names: Iterable[str]) -> None:
    """The things are gone."""
    owned = tables.owned
    mine = (owned.c.run == run) & (owned.c.kind == kind)
    connection.execute(delete(owned).where(mine, owned.c.name.in_(list(names))))
