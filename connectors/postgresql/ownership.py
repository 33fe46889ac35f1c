"""What a run has made in the target. Only what is noted here is ever emptied, changed or dropped."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal, TypeAlias

from sqlalchemy import Connection, delete, select
from sqlalchemy.dialects.postgresql import insert

from tranship.connectors.postgresql.statetables import StateTables

Kind: TypeAlias = Literal["schema", "table", "index", "constraint"]


def owned_names(connection: Connection, tables: StateTables, run: str, kind: Kind) -> set[str]:
    """Names of the run's things of one kind: quoted, and with their schema where they lie in one."""
    owned = tables.owned
    return set(connection.execute(select(owned.c.name).where(owned.c.run == run, owned.c.kind == kind)).scalars())


def owner(connection: Connection, tables: StateTables, kind: Kind, name: str) -> str | None:
    """The run that made a thing, or None."""
    owned = tables.owned
    found = select(owned.c.run).where(owned.c.kind == kind, owned.c.name == name)
    run: str | None = connection.execute(found).scalar()
    return run


def note(connection: Connection, tables: StateTables, run: str, kind: Kind, name: str) -> None:
    """Note that the run makes a thing; in the transaction that makes it, or before it where there can be none.

    Its name was free, so what an earlier run made under it is gone, dropped by a person; that run's note goes too.
    """
    owned = tables.owned
    connection.execute(delete(owned).where(owned.c.run != run, owned.c.kind == kind, owned.c.name == name))
    connection.execute(insert(owned).values(run=run, kind=kind, name=name).on_conflict_do_nothing())


def forget(connection: Connection, tables: StateTables, run: str, kind: Kind, names: Iterable[str]) -> None:
    """The things are gone."""
    owned = tables.owned
    mine = (owned.c.run == run) & (owned.c.kind == kind)
    connection.execute(delete(owned).where(mine, owned.c.name.in_(list(names))))
