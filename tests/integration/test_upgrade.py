"""A run that the version before has begun is carried on by this one, up to its end.

What that version kept is made from what this one keeps: its tables as it made them (`golden/state/version-4.sql`), its
journal of version 2 with the cutover as one phase.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import psycopg
import pytest

from tests.integration.route import STATE, THINGS, Child, Route, wait_until
from tranship.connectors.postgresql.state import STATE_VERSION
from tranship.orchestrator.journal.earlier import LAST
from tranship.orchestrator.journal.records import Entry, Head, Kind, Record, sealed
from tranship.orchestrator.journal.state import RunStatus
from tranship.plans.strategies import GROUPS, Group, PhaseName

GOLDEN = Path(__file__).parent / "golden" / "state" / "version-4.sql"
FINISHED, REFUSED = 0, 3
CONTROL = ("run", "journal", "request", "lease")
"""Tables that are as they were."""

SEALED = (
    Record(Kind.APPROVAL_ASKED, Group.CUTOVER),
    Record(Kind.APPROVED, Group.CUTOVER, {"by": "ann"}),
    Record(Kind.INTENT, Group.CUTOVER),
    Record(Kind.SEALED, Group.CUTOVER),
)
SWITCHED = (
    *SEALED,
    Record(Kind.CLAIMED, data={"epoch": 0, "same_process": True}),
    Record(Kind.INTENT, Group.CUTOVER),
    Record(Kind.OBSERVED, Group.CUTOVER, {"compared": 0, "divergences": 0}),
    Record(Kind.SWITCHED, Group.CUTOVER, {"fence": "external"}),
)


def as_before(route: Route, entries: Sequence[Entry], more: Sequence[Record] = ()) -> None:
    """Make the state schema what the version before would have left of the newest run."""
    with psycopg.connect(route.target_uri, autocommit=True) as connection:
        (run,) = connection.execute(f"SELECT run FROM {STATE}.run ORDER BY number DESC LIMIT 1").fetchone() or ("",)
        connection.execute(f"ALTER SCHEMA {STATE} RENAME TO present".encode())
        connection.execute(GOLDEN.read_bytes())
        for table in CONTROL:
            connection.execute(f"ALTER TABLE present.{table} SET SCHEMA {STATE}".encode())
        for (table,) in connection.execute(
            "SELECT relname FROM pg_class WHERE relnamespace = %s::regnamespace AND relkind = 'r'", [STATE]
        ).fetchall():
            if table not in CONTROL:
                _copy(connection, table)
        connection.execute(f"UPDATE {STATE}.version SET number = 4".encode())
        connection.execute(f"UPDATE {STATE}.lease SET expires_at = now()".encode())
        connection.execute(b"DROP SCHEMA present CASCADE")
        _rewrite(connection, run, entries, more)


def _copy(connection: psycopg.Connection[Any], table: str) -> None:
    found = connection.execute(
        "SELECT column_name FROM information_schema.columns WHERE table_schema = %s AND table_name = %s", [STATE, table]
    ).fetchall()
    names = [name for (name,) in found if name != "round"]
    feed = ("round, ", "1, ") if len(names) < len(found) else ("", "")
    columns = ", ".join(f'"{name}"' for name in names)
    statement = f"INSERT INTO {STATE}.{table} ({feed[0]}{columns}) SELECT {feed[1]}{columns} FROM present.{table}"
    connection.execute(statement.encode())


def _rewrite(connection: psycopg.Connection[Any], run: str, entries: Sequence[Entry], more: Sequence[Record]) -> None:
    """The journal in the words of version 2, with a chain of its own."""
    head, epoch = Head(), entries[-1].epoch
    connection.execute(f"DELETE FROM {STATE}.journal WHERE run = %s".encode(), [run])
    for entry in [*entries, *(replace(entries[-1], record=record) for record in more)]:
        made = sealed(run, head, entry.epoch, entry.at, _record(entry.record, epoch), version=LAST)
        head = Head(made.seq, made.hash)
        row = (run, made.seq, made.epoch, made.at, made.record.kind.value, made.record.phase)
        rest = (json.dumps(dict(made.record.data)), made.previous, made.hash, made.version)
        connection.execute(f"INSERT INTO {STATE}.journal VALUES ({', '.join(['%s'] * 10)})".encode(), [*row, *rest])
    kept = [LAST, head.seq, head.hash, run]
    connection.execute(f"UPDATE {STATE}.run SET version = %s, head = %s, head_hash = %s WHERE run = %s".encode(), kept)


def _record(record: Record, epoch: int) -> Record:
    data = {name: value for name, value in record.data.items() if name != "version"}
    if record.kind is Kind.CREATED:
        members = GROUPS[Group.CUTOVER]
        data["phases"] = [name for name in data["phases"] if name not in members] + [Group.CUTOVER.value]
    if record.kind is Kind.CLAIMED:
        data["epoch"] = data["epoch"] or epoch
    return replace(record, data=data)


@pytest.fixture
def plan(route: Route) -> Path:
    route.documents("things").insert_many({"_id": f"t{n:04}", "name": f"name {n}", "number": n} for n in range(300))
    return route.plan(THINGS)


def entries_of(route: Route, plan: Path) -> list[Entry]:
    with route.session(plan) as session:
        return session.control.journal(session.latest() or "")


def killed_while_it_waits(route: Route, plan: Path) -> list[Entry]:
    run = route.run_to_approval(plan)
    run.kill()
    return entries_of(route, plan)


def run_to_approval(route: Route, plan: Path) -> Child:
    """Go on; nobody can look before the state schema is up to date."""
    run = route.start("run", plan)
    wait_until(lambda: route.query(f"SELECT number FROM {STATE}.version") == [(STATE_VERSION,)], run, "the upgrade")
    route.await_status(plan, lambda status: status.waiting_for_approval == Group.CUTOVER, run)
    return run


def journal_is_whole(route: Route, plan: Path) -> None:
    assert [entry.version for entry in entries_of(route, plan)] == sorted(e.version for e in entries_of(route, plan))
    assert route.query(f"SELECT number FROM {STATE}.version") == [(STATE_VERSION,)]


def test_one_that_waits_is_carried_on_to_its_end(route: Route, plan: Path) -> None:
    as_before(route, killed_while_it_waits(route, plan))
    route.documents("things").update_one({"_id": "t0007"}, {"$set": {"name": "changed meanwhile"}})
    code, said = route.tranship("status", plan)
    assert code == REFUSED, said
    assert "an earlier tranship" in said, said
    run = run_to_approval(route, plan)
    route.documents("things").delete_one({"_id": "t0008"})
    assert route.tranship("approve", plan)[0] == FINISHED
    assert run.wait() == FINISHED, run.output
    names = dict(route.rows("things", "_id", "name"))
    assert (len(names), names["t0007"]) == (299, "changed meanwhile")
    journal_is_whole(route, plan)


@pytest.mark.parametrize("more", [(), SEALED], ids=["waiting", "sealed"])
def test_one_that_is_rolled_back_goes_on_to_its_end(route: Route, plan: Path, more: Sequence[Record]) -> None:
    entries = killed_while_it_waits(route, plan)
    as_before(route, entries, (*more, Record(Kind.ROLLBACK, data={"reason": "asked by ann"})))
    assert route.tranship("rollback", plan)[0] == FINISHED
    with route.session(plan) as session:
        assert session.state(session.latest() or "").status is RunStatus.ROLLED_BACK
    assert not [found for found in route.target() if str(found).startswith("moved")]
    assert route.documents("things").count_documents({}) == 300
    journal_is_whole(route, plan)


def test_one_that_died_behind_its_seal_asks_anew(route: Route, plan: Path) -> None:
    as_before(route, killed_while_it_waits(route, plan), SEALED)
    run = run_to_approval(route, plan)
    assert not route.status(plan).switched
    route.documents("things").insert_one({"_id": "new", "name": "new", "number": 1})
    assert route.tranship("approve", plan)[0] == FINISHED
    assert run.wait() == FINISHED, run.output
    assert len(route.rows("things", "_id")) == 301


def test_one_that_died_behind_its_switch_ends(route: Route, plan: Path) -> None:
    as_before(route, killed_while_it_waits(route, plan), SWITCHED)
    run = route.start("run", plan)
    assert run.wait() == FINISHED, run.output
    kinds = [(e.record.kind, e.record.phase) for e in entries_of(route, plan)][-4:]
    open_ = PhaseName.OPEN
    assert kinds == [(Kind.CLAIMED, None), (Kind.DONE, open_), (Kind.VERIFIED, open_), (Kind.FINISHED, None)]


def test_nothing_is_brought_up_to_date_beside_one_that_works(route: Route, plan: Path) -> None:
    as_before(route, killed_while_it_waits(route, plan))
    route.query(f"INSERT INTO {STATE}.lease VALUES ('another-1', 'somebody', now() + interval '1 hour') RETURNING 1")
    code, said = route.tranship("run", plan)
    assert "works on run another-1" in said, said
    assert code != FINISHED
    assert route.query(f"SELECT number FROM {STATE}.version") == [(4,)]
