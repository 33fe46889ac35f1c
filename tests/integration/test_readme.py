"""What the README tells to type, typed: in an empty folder, against a database of five collections."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import bson
import psycopg
import pymongo
import pytest
from bson import Int64, ObjectId
from psycopg.rows import dict_row

from tests.integration.route import wait_until
from tranship.orchestrator.sandbox import Servers
from tranship.orchestrator.sandbox.databases import fresh_target

README = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")
SECTION = README.partition("## Your own databases\n")[2].partition("\n## ")[0]
DATABASE = "blog"
LIMIT_S = 180.0
"""For the slowest command on a busy machine."""

WHEN = datetime(2026, 3, 1, 12, 30, 0, 125_000, UTC)
AUTHORS = [ObjectId(bytes([n]) * 12) for n in range(1, 6)]
POSTS = [ObjectId(bytes([100 + n]) * 12) for n in range(40)]

DOCUMENTS: dict[str, list[dict[str, Any]]] = {
    "authors": [
        {"_id": key, "name": f"author {n}", "email": f"a{n}@example.org", "joined_at": WHEN}
        for n, key in enumerate(AUTHORS)
    ],
    "posts": [
        {"_id": key, "title": f"post {n}", "author": AUTHORS[n % 5], "views": n, "published_at": WHEN}
        | {"tags": [f"tag {m}" for m in range(n % 3)]}
        for n, key in enumerate(POSTS)
    ],
    "comments": [{"_id": ObjectId(), "post": POSTS[n % 40], "body": f"comment — {n}", "at": WHEN} for n in range(100)],
    "settings": [{"_id": "theme", "value": {"dark": True}}, {"_id": "per page", "value": 20}],
    "visits": [{"_id": Int64(n), "page": f"/p/{n}", "seconds": n / 4} for n in range(200)],
}


def blocks(language: str) -> list[str]:
    """The fenced blocks of the section, as somebody copies them."""
    parts = re.split(r"^ *```(\w*)\n", SECTION, flags=re.MULTILINE)
    # Text, language, block, the empty language of its end, text, and so on.
    return [textwrap.dedent(block) for named, block in zip(parts[1::4], parts[2::4], strict=True) if named == language]


COMMANDS = [line for block in blocks("") for line in block.splitlines() if line.startswith("tranship ")]


class Terminal:
    """A shell in an empty folder, with what step 1 and 2 of the README put into the environment."""

    def __init__(self, folder: Path, source: str, target: str) -> None:
        self.folder = folder
        path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
        self.environment = {**os.environ, "PATH": path, "SOURCE_URI": source, "TARGET_URI": target}
        self._started: list[subprocess.Popen[str]] = []

    def start(self, line: str) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            ["bash", "-c", line],
            cwd=self.folder,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        self._started.append(process)
        return process

    def close(self) -> None:
        """End what a test that failed has left."""
        for process in self._started:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
            if process.stdout is not None and not process.stdout.closed:
                process.communicate()

    def type(self, line: str) -> str:
        """What a command says; it has to end well."""
        process = self.start(line)
        said, _ = process.communicate(timeout=LIMIT_S)
        assert process.returncode == 0, f"{line}: exit code {process.returncode}\n{said}"
        return said


@pytest.fixture
def shell(servers: Servers, tmp_path: Path) -> Iterator[Terminal]:
    """The five collections are there, and no table."""
    with pymongo.MongoClient[dict[str, Any]](servers.source_uri) as client, fresh_target(servers) as target:
        client.drop_database(DATABASE)
        for name, documents in DOCUMENTS.items():
            client[DATABASE][name].insert_many(documents)
        client[DATABASE]["authors"].create_index("email", unique=True)
        client[DATABASE]["posts"].create_index([("published_at", -1)])
        with closing(Terminal(tmp_path, servers.source_uri, target)) as made:
            yield made
        client.drop_database(DATABASE)


def assert_written(shell: Terminal) -> None:
    """A part of the plan that `init` makes the page shows."""
    made = (shell.folder / "blog.yaml").read_text(encoding="utf-8")
    (part,) = blocks("text")
    assert textwrap.indent(part, "  ") in made


def waiting(shell: Terminal) -> subprocess.Popen[str]:
    """`tranship run`, once it waits for the approval."""
    run = shell.start("tranship run blog.yaml")
    status = "tranship status blog.yaml"
    wait_until(lambda: "waits for an approval" in shell.start(status).communicate()[0], limit_s=LIMIT_S)
    return run


def test_every_command_of_the_section_is_typed_below() -> None:
    assert COMMANDS == [
        "tranship init --database blog -o blog.yaml",
        "tranship plan show blog.yaml",
        "tranship check blog.yaml",
        "tranship dry-run blog.yaml --html report.html",
        "tranship run blog.yaml",
        "tranship status blog.yaml",
        "tranship quarantine list blog.yaml",
        "tranship history blog.yaml",
        "tranship approve blog.yaml",
        "tranship rollback blog.yaml",
    ]


def test_a_stranger_rehearses_and_takes_it_back(shell: Terminal) -> None:
    assert not list(shell.folder.iterdir())
    shell.type(COMMANDS[0])
    assert_written(shell)
    assert "→ blog.posts" in shell.type(COMMANDS[1])
    assert "the plan can run" in shell.type(COMMANDS[2])
    assert "the run may start" in shell.type(COMMANDS[3])
    assert (shell.folder / "report.html").read_text(encoding="utf-8").startswith("<!doctype html>")
    run = waiting(shell)
    process = shell.start(COMMANDS[9])
    said, _ = process.communicate(timeout=LIMIT_S)
    assert (process.returncode, "--yes" in said) == (2, True), "nobody to ask, and it says so"
    shell.type(f"{COMMANDS[9]} --yes")
    said, _ = run.communicate(timeout=LIMIT_S)
    assert run.returncode == 4, said
    with psycopg.connect(shell.environment["TARGET_URI"]) as connection:
        assert connection.execute("SELECT to_regnamespace('blog')").fetchone() == (None,)
    with pymongo.MongoClient[dict[str, Any]](shell.environment["SOURCE_URI"]) as client:
        assert {name: list(client[DATABASE][name].find()) for name in DOCUMENTS} == {
            name: [bson.decode(bson.encode(document)) for document in documents]
            for name, documents in DOCUMENTS.items()
        }


# --- five commands ----------------------------------------------------------------------------------------------------

FIVE = README.partition("## From nothing to a verified copy\n")[2].partition("```console\n")[2].partition("```\n")[0]


def shown() -> dict[str, list[str]]:
    """What each of the commands says, by the page."""
    found: dict[str, list[str]] = {}
    for line in FIVE.splitlines():
        if line.startswith("$ "):
            lines = found.setdefault(line.removeprefix("$ ").partition("   # ")[0].strip(), [])
        else:
            lines.append(line)
    return found


def plain(said: str) -> list[str]:
    """The lines for people, with one digit for all figures that are another time's or another machine's. How far its
    history reaches back not every server tells."""
    lines = [line for line in said.splitlines() if line and not line.startswith(("{", "the source's history"))]
    figures = r"\b[0-9a-f]{16,}|(?<=mongodb:)\w+|\d+([.:T-]\d+)*Z?( min| s| h)*( \d+ s)?( B| KiB)?"
    return [re.sub(figures, "#", line) for line in lines]


def test_five_commands_from_nothing_to_a_verified_copy(tmp_path: Path) -> None:
    """And, while the last one waits, those that the page tells to type at another terminal."""
    expected_of = {command: plain("\n".join(lines)) for command, lines in shown().items()}
    up, init, check, dry_run, run = expected_of
    assert [init, check, run] == [COMMANDS[0], COMMANDS[2], COMMANDS[4]], "the same as of the section below"
    shell = Terminal(tmp_path, "", "")
    for name in ("SOURCE_URI", "TARGET_URI", "TRANSHIP_SOURCE_URI", "TRANSHIP_TARGET_URI"):
        shell.environment.pop(name, None)
    try:
        for line in shell.type(f"{up} 2>&1; env | grep _URI=").splitlines():
            name, _, value = line.partition("=")
            shell.environment[name] = value
        with pymongo.MongoClient[dict[str, Any]](shell.environment["SOURCE_URI"]) as client:
            for name, documents in DOCUMENTS.items():
                client[DATABASE][name].insert_many([{**document} for document in documents])
            client[DATABASE]["authors"].create_index("email", unique=True)
            client[DATABASE]["posts"].create_index([("published_at", -1)])
        for command in (init, check, dry_run):
            assert plain(shell.type(command)) == expected_of[command]
        assert_written(shell)
        process = waiting(shell)
        assert "40 documents = 40 rows + 0" in " ".join(shell.type(COMMANDS[5]).split())
        assert "0 in quarantine" in shell.type(COMMANDS[6])
        assert "approval" in shell.type(COMMANDS[7])
        shell.type(COMMANDS[8])
        said, _ = process.communicate(timeout=LIMIT_S)
        assert process.returncode == 0, said
        assert plain(said) == expected_of[run]
        assert moved(shell.environment["TARGET_URI"]) == expected()
        for code in ("0", "4", "P101", "target.privilege"):
            shell.type(f"tranship explain {code}")
    finally:
        shell.close()
        shell.type("tranship sandbox down --purge")


# --- compared by hand -------------------------------------------------------------------------------------------------


def moved(uri: str) -> dict[str, list[dict[str, Any]]]:
    """All rows, as the database gives them, by their keys."""
    with psycopg.connect(uri, row_factory=dict_row, options="-c timezone=UTC") as connection:
        found = {table: connection.execute(f"SELECT * FROM blog.{table}".encode()).fetchall() for table in DOCUMENTS}
    return {table: sorted(rows, key=lambda row: list(row.values())[:2]) for table, rows in found.items()}


def expected() -> dict[str, list[dict[str, Any]]]:
    """The rows that these documents are, written down by hand."""
    return {
        name: [
            {column: str(value) if isinstance(value, ObjectId) else value for column, value in document.items()}
            | {"_residue": None}
            for document in sorted(documents, key=lambda document: document["_id"])
        ]
        for name, documents in DOCUMENTS.items()
    }
