"""`tranship schema ddl` and `schema diff`: for every example and plan that `init` has made, on two PostgreSQLs."""

from __future__ import annotations

import secrets
import tempfile
from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path
from urllib.parse import urlsplit

import psycopg
import pytest
from typer.testing import CliRunner

from tests.installed import executables, installed_postgresql
from tranship.orchestrator.cli.main import app
from tranship.orchestrator.sandbox import Servers

EXAMPLES = sorted(Path(str(files("tranship.plans").joinpath("examples"))).glob("*.yaml"))
MADE = sorted((Path(__file__).parent / "golden" / "init").glob("*.yaml"))

EVERYTHING = """\
version: 1
plan: every
source: {mongodb: "${env:SOURCE_URI}", database: shop}
target: {postgresql: "${env:TARGET_URI}", schema: 'it''s "every" -- one'}
streams:
  "odd; drop\\nschema":
    table: odd
    key: {id: {path: _id, type: text, long: true, comment: "of any length"}}
    comment: "It's 100 % odd"
    columns:
      a: {type: text, values: ["it's", "50 %", 'back\\slash', ""], unique: true}
      b: {type: bool, comment: "yes or no"}
      i: {type: int32, values: [-1, 2147483647]}
      l: int64
      f: float64
      d: {type: decimal, precision: 20, scale: 2}
      u: uuid
      o: objectid
      ts: timestamp
      da: date
      j: json
    children:
      lines: {columns: {kind: {type: text, values: [x, y]}, at: timestamp}}
    indexes:
      - {columns: [{a: desc}, l], where: {j: present, b: {eq: true}}}
      - {columns: [l], where: {l: {in: [-9007199254740993, 5]}, f: {gt: -1.5e+300, lte: 0.1}}}
      - {columns: [d, i], unique: true, where: {d: {gte: "-99999999999999999.99", lt: 12}}}
      - {columns: [u, {o: desc}], unique: true}
      - columns: [ts]
        where:
          ts: {gt: "0001-01-01T00:00:00.123456Z", lt: "2024-01-31T12:00:00+05:30"}
          da: {gt: "1969-12-31"}
          a: {in: ["it's", 'back\\slash']}
      - {columns: [o], where: {u: {eq: 00112233-4455-6677-8899-AABBCCDDEEFF}, o: {eq: 507f1f77bcf86cd799439011}}}
"""


@pytest.fixture(scope="module", params=["the sandbox's", "the machine's"])
def server(request: pytest.FixtureRequest) -> Iterator[str]:
    """The URI of a PostgreSQL."""
    if request.param == "the sandbox's":
        servers: Servers = request.getfixturevalue("servers")
        yield servers.target_uri
        return
    folder = executables()
    if folder is None:
        pytest.skip("the machine has no PostgreSQL of its own (14 or newer)")
    with (
        tempfile.TemporaryDirectory(prefix="tranship-installed-") as place,
        installed_postgresql(folder, Path(place)) as uri,
    ):
        yield uri


@pytest.fixture
def database(server: str) -> Iterator[str]:
    name = f"ddl_{secrets.token_hex(4)}"
    with psycopg.connect(server, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}".encode())
        yield urlsplit(server)._replace(path=f"/{name}").geturl()
        connection.execute(f"DROP DATABASE {name} WITH (FORCE)".encode())


def command(database: str, *words: object) -> tuple[int, str]:
    environment = {"SOURCE_URI": "mongodb://127.0.0.1:1/", "TARGET_URI": database}
    result = CliRunner(env=environment).invoke(app, ["schema", *map(str, words)])
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result.exit_code, result.stdout


def script(plan: Path, *options: str) -> bytes:
    """Without anything in the environment."""
    result = CliRunner(env={"SOURCE_URI": None, "TARGET_URI": None}).invoke(app, ["schema", "ddl", str(plan), *options])
    assert result.exit_code == 0, result.output
    return result.stdout.encode()


def _schemas(session: psycopg.Connection) -> list[tuple[object, ...]]:
    query = "SELECT nspname FROM pg_namespace WHERE nspname !~ '^pg_(temp|toast)' ORDER BY 1"
    return session.execute(query).fetchall()


@pytest.mark.parametrize("plan", [*EXAMPLES, *MADE], ids=lambda path: path.stem)
def test_the_script_runs_and_nothing_differs_then(plan: Path, database: str) -> None:
    with psycopg.connect(database, autocommit=True) as session:
        before = _schemas(session)
        code, said = command(database, "diff", plan)
        assert (code, said != "") == (1, True)
        session.execute(script(plan))
        assert command(database, "diff", plan) == (0, "")
        session.execute(script(plan, "--rollback"))
        assert _schemas(session) == before


def test_a_plan_with_everything(tmp_path: Path, database: str) -> None:
    plan = tmp_path / "every.yaml"
    plan.write_text(EVERYTHING, encoding="utf-8")
    schema = '"it\'s ""every"" -- one"'
    with psycopg.connect(database, autocommit=True) as session:
        session.execute("SET DateStyle = 'SQL, DMY'; SET TimeZone = 'Asia/Kolkata'")
        session.execute(script(plan))
        assert command(database, "diff", plan) == (0, "")
        insert = f"INSERT INTO {schema}.odd (id, a, i, d) VALUES (%s, %s, %s, %s)"
        session.execute(insert.encode(), ["x" * 9000, "back\\slash", 2**31 - 1, 5])
        for values in (
            ["y", "other", -1, 7],
            ["y", "it's", 0, 7],
            ["y", "back\\slash", -1, 7],
            ["y", "", 2**31 - 1, 5],
        ):
            with pytest.raises(psycopg.IntegrityError):
                session.execute(insert.encode(), values)
        session.execute(insert.encode(), ["y", "", 2**31 - 1, 12])

        session.execute(f"ALTER TABLE {schema}.odd DROP COLUMN l, ADD extra int, ALTER i TYPE bigint".encode())
        session.execute(f"ALTER TABLE {schema}.lines DROP CONSTRAINT lines__kind__check".encode())
        session.execute(f"ALTER TABLE {schema}.lines DROP CONSTRAINT lines__fkey".encode())
        code, said = command(database, "diff", plan)
        assert code == 1
        for part in (
            "column l is missing",
            "column extra is not in the plan",
            "column i is bigint",
            "lines__kind__check",
            "its foreign key to odd is missing",
        ):
            assert part in said
        assert {line.split(":")[0] for line in said.splitlines()} == {"expand", "index", "constrain"}
        session.execute(script(plan, "--rollback"))


def test_a_target_that_does_not_answer() -> None:
    code, said = command("postgresql://127.0.0.1:1/nowhere", "diff", EXAMPLES[0])
    assert (code, said) == (3, "")
