"""The demo's first act: a plan that nobody wrote, made by `init`, rehearsed, and carried out up to its cutover."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import psycopg
import pymongo
import yaml

from tranship.orchestrator.demo.scene import Scene, SceneError, run_name, state_now, status_now, wait_until
from tranship.orchestrator.engine.session import Session
from tranship.orchestrator.journal.state import RunStatus
from tranship.plans.strategies import Group

SCHEMA = "shop_designed"
PHASE_LIMIT_S = 240.0
_ROWS = (
    "SELECT c.relname FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace "
    "WHERE n.nspname = %s AND c.relkind = 'r'"
)


@dataclass(frozen=True)
class Designed:
    """What came of it: documents of the source and rows of root tables as both servers count them, rows of all tables
    with a residue, and how many were found to differ."""

    documents: int
    rows: int
    all_rows: int
    residues: int
    divergences: int
    code: int

    @property
    def share(self) -> float:
        """Of all rows, how many have a residue."""
        return self.residues / max(1, self.all_rows)


def act(stage: Scene) -> Designed:
    """Let `init` write a plan for the shop, check and rehearse it, run it by the report until it asks for the cutover,
    and take it back: the five commands of the README, `sandbox up` being the demo's own."""
    plan = stage.folder / "designed.yaml"
    _carried_out(stage, "init", "--full", "--database", stage.source.name, "-o", str(plan))
    _in_schema(plan)
    report = stage.folder / "rehearsed.json"
    _carried_out(stage, "check", str(plan))
    _carried_out(stage, "dry-run", str(plan), "-o", str(report))
    with stage.session(plan) as session:
        child = stage.run(plan, f"run --dry-run-report {report}")
        wait_until(lambda: _asks(session), PHASE_LIMIT_S, "the designed plan asked for its cutover", child)
        divergences = len(status_now(session).divergences)
        documents, rows = _documents(stage), _root_rows(stage, plan)
        all_rows, residues = _counted(stage)
        back = stage.run(plan, "rollback --yes --wait")
        code = back.wait(PHASE_LIMIT_S)
        child.wait(PHASE_LIMIT_S)
        if session.state(run_name(session)).status is not RunStatus.ROLLED_BACK:
            raise SceneError("the designed plan's run was not taken back")
    return Designed(documents, rows, all_rows, residues, divergences, code)


def _carried_out(stage: Scene, command: str, *arguments: str) -> None:
    child = stage.command(command, *arguments)
    code = child.wait(PHASE_LIMIT_S)
    if code != 0:
        raise SceneError(f"tranship {command} ended with exit code {code}")


def _in_schema(plan: Path) -> None:
    """Give the plan a schema of this act; all else stays as it was made."""
    declared = yaml.safe_load(plan.read_text(encoding="utf-8"))
    declared["target"]["schema"] = SCHEMA
    plan.write_text(yaml.safe_dump(declared, sort_keys=False), encoding="utf-8")


def _asks(session: Session) -> bool:
    state = state_now(session)
    return state is not None and state.asked is Group.CUTOVER


def _documents(stage: Scene) -> int:
    with pymongo.MongoClient[dict[str, object]](stage.source.uri) as client:
        database = client[stage.source.name]
        names = [name for name in database.list_collection_names() if not name.startswith("tranship_")]
        return sum(database[name].count_documents({}) for name in names)


def _root_rows(stage: Scene, plan: Path) -> int:
    streams = yaml.safe_load(plan.read_text(encoding="utf-8"))["streams"]
    with psycopg.connect(stage.target_uri) as connection:
        return sum(_count(connection, stream.get("table", name), "*") for name, stream in streams.items())


def _counted(stage: Scene) -> tuple[int, int]:
    """Rows of all tables, and those of them that have a residue."""
    with psycopg.connect(stage.target_uri) as connection:
        tables = [row[0] for row in connection.execute(_ROWS, [SCHEMA])]
        return (
            sum(_count(connection, table, "*") for table in tables),
            sum(_count(connection, table, "_residue") for table in tables),
        )


def _count(connection: psycopg.Connection[tuple[object, ...]], table: str, what: str) -> int:
    found = connection.execute(f'SELECT count({what}) FROM "{SCHEMA}"."{table}"'.encode()).fetchone()
    assert found is not None
    return int(str(found[0]))
