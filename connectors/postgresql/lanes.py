"""The lanes' marks, inside of the caller's transaction. A batch's swap of them is in `marks`."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import Connection, insert, select, update
from sqlalchemy.dialects.postgresql import insert as upsert

from tranship.connectors.errors import ConnectorError
from tranship.connectors.postgresql.statetables import StateTables, of, place
from tranship.connectors.protocols import LaneMark, Scope


class Lanes:
    """The lanes of one feed."""

    def __init__(self, connection: Connection, tables: StateTables, scope: Scope) -> None:
        self._connection = connection
        self._lane = tables.lane
        self._scope = scope

    def make(self, lanes: int) -> None:
        """Make so many, if there is none."""
        known = select(self._lane.c.lane).where(of(self._lane, self._scope)).limit(1)
        if self._connection.execute(known).first() is None:
            rows = [{**place(self._scope), "lane": number, "seq": 0} for number in range(lanes)]
            self._connection.execute(insert(self._lane), rows)

    def marks(self) -> list[LaneMark]:
        """All lanes' marks."""
        query = select(self._lane).where(of(self._lane, self._scope)).order_by(self._lane.c.lane)
        return [LaneMark(self._scope, row.lane, row.seq) for row in self._connection.execute(query)]

    def mark(self, lane: int) -> tuple[LaneMark, bool]:
        """A lane's mark, and whether it is sealed."""
        mine = select(self._lane.c.seq, self._lane.c.sealed).where(of(self._lane, self._scope))
        found = self._connection.execute(mine.where(self._lane.c.lane == lane)).first()
        if found is None:
            raise ConnectorError(f"run {self._scope.run}: there is no lane {lane}")
        return LaneMark(self._scope, lane, found.seq), found.sealed

    def catch_up(self, marks: Sequence[LaneMark]) -> None:
        """Let no lane be behind these marks; those that are not there are made."""
        if not marks:
            return
        rows = [{**place(self._scope), "lane": mark.lane, "seq": mark.seq} for mark in marks]
        given = upsert(self._lane)
        behind = given.on_conflict_do_update(
            index_elements=["run", "feed", "lane"],
            set_={"seq": given.excluded.seq},
            where=self._lane.c.seq < given.excluded.seq,
        )
        # One by one and in their order, as every batch locks them.
        for row in sorted(rows, key=lambda row: row["lane"]):
            self._connection.execute(behind, row)

    def move(self) -> None:
        """No batch that was taken before can be applied any more."""
        self._connection.execute(update(self._lane).where(of(self._lane, self._scope)).values(seq=self._lane.c.seq + 1))

    def seal(self) -> None:
        """No batch can be applied, also none that was sent before. Waits for what is about to commit."""
        self._turn(sealed=True)

    def unseal(self) -> None:
        """Batches can be applied again, with other marks."""
        self._turn(sealed=False)

    def _turn(self, *, sealed: bool) -> None:
        others = self._lane.c.sealed.is_(not sealed)
        turned = update(self._lane).where(of(self._lane, self._scope), others)
        self._connection.execute(turned.values(seq=self._lane.c.seq + 1, sealed=sealed))
