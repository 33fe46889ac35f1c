"""Counts of notes and of filled columns, summed up for whoever asks. Who writes them is `fitcounts`."""

from __future__ import annotations

from sqlalchemy import Connection, func, select

from tranship.connectors.fit import Cell, Effect, Fit, Kind
from tranship.connectors.postgresql.comparisons import Comparisons
from tranship.connectors.postgresql.statetables import StateTables
from tranship.connectors.protocols import Scope

FILLED = "filled"
"""In the place of a note's effect, where values of a column are counted."""


def fit_of(connection: Connection, tables: StateTables, scope: Scope) -> dict[str, Fit]:
    """All counts of a feed by stream, in the caller's transaction."""
    table = tables.fit
    what = (table.c.stream, table.c.effect, table.c.place, table.c.reason)
    mine = (table.c.run == scope.run) & (table.c.feed == scope.feed)
    notes: dict[str, dict[Kind, int]] = {}
    filled: dict[str, dict[Cell, int]] = {}
    for row in connection.execute(select(*what, func.sum(table.c.count).label("total")).where(mine).group_by(*what)):
        if row.effect == FILLED:
            filled.setdefault(row.stream, {})[Cell(row.place, row.reason)] = int(row.total)
        elif row.total:
            notes.setdefault(row.stream, {})[Kind(row.place, row.reason, Effect(row.effect))] = int(row.total)
    comparisons = Comparisons(connection, tables, scope)
    compared, recounted = comparisons.newest(), comparisons.filled()
    found = {name: Fit(notes.get(name, {}), cells) for name, cells in filled.items()}
    for name, cells in recounted.items():
        if name in found and compared is not None:
            found[name] = Fit(found[name].notes, cells, compared.at)
    return found
