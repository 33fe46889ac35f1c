"""The sandbox on real processes: what it starts answers, and nothing stays behind however its user ends."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import psycopg
import pymongo
import pytest

from tranship.orchestrator.sandbox import Kind, SandboxError, Servers, sandbox
from tranship.orchestrator.sandbox.databases import SourceDatabase, fresh_source, fresh_target
from tranship.orchestrator.sandbox.readiness import mongodb_answers, postgresql_answers, wait_until

pytestmark = pytest.mark.usefixtures("servers")

HOLD = """
import pathlib, sys
from tranship.orchestrator.sandbox import sandbox
with sandbox(pathlib.Path(sys.argv[1])) as servers:
    print(servers.source_uri, servers.target_uri, flush=True)
    sys.stdin.read()
"""

COMMAND = [sys.executable, "-P", "-c", "from tranship.orchestrator.sandbox.cli import app; app()"]


@pytest.fixture(autouse=True)
def _embedded(monkeypatch: pytest.MonkeyPatch) -> None:
    """These tests are about embedded servers; `servers` skips them where there are none."""
    for name in ("SOURCE_URI", "TARGET_URI", "SANDBOX"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def folder() -> Iterator[Path]:
    """The folder of a sandbox; why not `tmp_path`: see the fixture `servers`."""
    with tempfile.TemporaryDirectory(prefix="tranship-tests-") as base:
        yield Path(base) / "servers"


@pytest.fixture
def holder(folder: Path) -> Iterator[subprocess.Popen[str]]:
    """Another process, inside `with sandbox(…)`; its servers' URIs are its first line."""
    process = subprocess.Popen(
        [sys.executable, "-P", "-c", HOLD, str(folder)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    with process:
        yield process
        assert process.stdin is not None
        process.stdin.close()  # it leaves `with`: killed, it would be followed by its servers some time later only


def test_both_servers_take_writes(servers: Servers, source_db: SourceDatabase, target_db: str) -> None:
    with pymongo.MongoClient[dict[str, object]](source_db.uri) as client:
        client[source_db.name].things.insert_one({"_id": 1})
        assert client[source_db.name].things.count_documents({}) == 1
        assert client.admin.command("hello")["setName"], "change streams need a replica set"
    with psycopg.connect(target_db) as connection:
        connection.execute("create table things (id int)")
        if servers.kind is not Kind.EXTERNAL:  # the sandbox's own setting; tranship needs it of no target
            assert connection.execute("show wal_level").fetchone() == ("logical",)


def test_databases_are_separate_and_dropped(servers: Servers) -> None:
    with fresh_source(servers) as source, fresh_target(servers) as target:
        with pymongo.MongoClient[dict[str, object]](source.uri) as client:
            client[source.name].things.insert_one({})
        # Somebody who is still connected does not keep the database from being dropped.
        left_open = psycopg.connect(target)
    with pymongo.MongoClient[dict[str, object]](source.uri) as client:
        assert source.name not in client.list_database_names()
    with pytest.raises(psycopg.OperationalError):
        psycopg.connect(target)
    left_open.close()


def test_servers_end_with_the_block_and_keep_their_data(folder: Path) -> None:
    with sandbox(folder) as first, psycopg.connect(first.target_uri) as connection:
        connection.execute("create table kept (id int)")
    _assert_gone(first.source_uri, first.target_uri)
    with sandbox(folder) as second, psycopg.connect(second.target_uri) as connection:
        assert connection.execute("select count(*) from kept").fetchone() == (0,)


def test_servers_end_when_the_block_raises(folder: Path) -> None:
    started: list[Servers] = []

    def fail_inside() -> None:
        with sandbox(folder) as servers:
            started.append(servers)
            raise RuntimeError("on purpose")

    with pytest.raises(RuntimeError, match="on purpose"):
        fail_inside()
    _assert_gone(started[0].source_uri, started[0].target_uri)


def test_a_path_too_long_for_a_socket_is_no_obstacle(folder: Path) -> None:
    with sandbox(folder / ("x" * 100)) as servers:
        assert postgresql_answers(servers.target_uri)
    [socket_folder] = parse_qs(urlsplit(servers.target_uri).query)["host"]
    assert not Path(socket_folder).exists()


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGKILL])
def test_servers_end_when_their_user_is_killed(holder: subprocess.Popen[str], how: signal.Signals) -> None:
    assert holder.stdout is not None
    uris = holder.stdout.readline().split()
    assert mongodb_answers(uris[0])
    holder.send_signal(how)
    holder.wait()
    wait_until("the servers to end", lambda: not mongodb_answers(uris[0]) and not postgresql_answers(uris[1]), 20)


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux ends a process with its parent")
def test_servers_end_when_their_keeper_is_killed(holder: subprocess.Popen[str], folder: Path) -> None:
    assert holder.stdout is not None
    uris = holder.stdout.readline().split()
    keeper = _keeper(folder)
    os.kill(keeper, signal.SIGKILL)
    wait_until("the servers to end", lambda: not mongodb_answers(uris[0]) and not postgresql_answers(uris[1]), 20)


def test_two_sandboxes_in_one_folder_are_refused(holder: subprocess.Popen[str], folder: Path) -> None:
    assert holder.stdout is not None
    holder.stdout.readline()
    with pytest.raises(SandboxError, match="another sandbox is running"), sandbox(folder):
        pytest.fail("two sandboxes in one folder")


def test_up_status_down_and_purge(folder: Path) -> None:
    assert _run("status", folder).returncode == 1
    up = _run("up", folder)
    assert up.returncode == 0, up.stderr
    source_uri, target_uri = _exported(up.stdout)
    assert mongodb_answers(source_uri)
    assert postgresql_answers(target_uri)
    assert (_run("up", folder).stdout, _run("status", folder).stdout) == (up.stdout, up.stdout)
    assert _run("down", folder).returncode == 0
    _assert_gone(source_uri, target_uri)
    assert folder.exists()
    assert _run("down", folder, "--purge").returncode == 0
    assert not folder.exists()


def test_a_folder_that_is_no_sandbox_is_not_deleted(tmp_path: Path) -> None:
    (tmp_path / "precious").write_text("hi")
    refused = _run("down", tmp_path, "--purge")
    assert (refused.returncode, "Nothing was deleted" in refused.stderr) == (2, True), refused.stderr
    assert (tmp_path / "precious").read_text() == "hi"


def test_a_stale_state_file_is_repaired(folder: Path) -> None:
    up = _run("up", folder)
    assert up.returncode == 0, up.stderr
    first = _exported(up.stdout)
    os.kill(_keeper(folder), signal.SIGKILL)
    assert (folder / "servers.json").exists()
    wait_until("the servers to end", lambda: not mongodb_answers(first[0]) and not postgresql_answers(first[1]), 20)
    assert _run("status", folder).returncode == 1
    assert not (folder / "servers.json").exists()
    second = _exported(_run("up", folder).stdout)
    assert mongodb_answers(second[0])
    assert _run("down", folder).returncode == 0


@pytest.mark.skipif(sys.platform != "linux", reason="finds the servers' processes as Linux shows them")
def test_a_sandbox_whose_server_died_says_so_and_its_own_uris_are_no_other_servers(folder: Path) -> None:
    up = _run("up", folder)
    assert up.returncode == 0, up.stderr
    evaluated = dict(zip(("SOURCE_URI", "TARGET_URI"), _exported(up.stdout), strict=True))
    assert _run("status", folder, **evaluated).stdout == up.stdout
    for process in _children(_keeper(folder)):
        if "postgres" not in Path(f"/proc/{process}/cmdline").read_text():
            os.kill(process, signal.SIGKILL)
    wait_until("MongoDB to end", lambda: not mongodb_answers(evaluated["SOURCE_URI"]), 20)
    for environment in ({}, evaluated):
        dead = _run("status", folder, **environment)
        assert (dead.returncode, dead.stdout) == (1, "")
        assert "MongoDB does not answer" in dead.stderr
        again = _run("up", folder, **environment)
        assert (again.returncode, "MongoDB does not answer" in again.stderr) == (2, True)
    assert _run("down", folder, **evaluated).returncode == 0
    gone = _run("status", folder, **evaluated)
    assert (gone.returncode, "no sandbox is running" in gone.stderr) == (1, True), gone.stderr
    mended = _run("up", folder, **evaluated)
    assert mended.returncode == 0, mended.stderr
    assert all((mongodb_answers(_exported(mended.stdout)[0]), postgresql_answers(_exported(mended.stdout)[1])))
    assert _run("down", folder).returncode == 0


def test_other_servers_that_do_not_answer_are_no_sandbox(folder: Path) -> None:
    nowhere = {"SOURCE_URI": "mongodb://me:hunter2@127.0.0.1:1", "TARGET_URI": "postgresql://me:hunter2@127.0.0.1:1/x"}
    for verb, code in (("up", 2), ("status", 1)):
        done = _run(verb, folder, **nowhere)
        assert (done.returncode, done.stdout) == (code, "")
        assert "MongoDB and PostgreSQL: no answer" in done.stderr
        assert "hunter2" not in done.stderr


def _children(process: int) -> list[int]:
    return [int(one) for one in Path(f"/proc/{process}/task/{process}/children").read_text().split()]


def _run(verb: str, folder: Path, *options: str, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [*COMMAND, verb, "--folder", str(folder), *options]
    given = {**os.environ, **environment}
    return subprocess.run(command, check=False, capture_output=True, text=True, timeout=120, env=given)


def _exported(output: str) -> tuple[str, str]:
    source, target = (line.split("=", 1)[1].strip("'") for line in output.splitlines())
    return source, target


def _keeper(folder: Path) -> int:
    record = json.loads((folder / "servers.json").read_text())
    keeper: int = record["keeper"]
    return keeper


def _assert_gone(source_uri: str, target_uri: str) -> None:
    assert not mongodb_answers(source_uri)
    assert not postgresql_answers(target_uri)
