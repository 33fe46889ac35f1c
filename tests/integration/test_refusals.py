"""What bad input and bad times get: one clear message, the exit code that is documented, and nothing changed."""

from __future__ import annotations

import re
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import psycopg
import pymongo
import pytest
from psycopg import sql

from tests.integration.private import private_mongo
from tests.integration.route import SCHEMA, STATE, THINGS, Route, things

BAD_PLAN, REFUSED = 2, 3


@pytest.fixture
def plan(route: Route) -> Path:
    route.documents().insert_many(things(3))
    return route.plan(THINGS)


def refused(route: Route, code: int, *arguments: str | Path, **environment: str) -> str:
    """What the command says when it refuses; asserts that nothing was changed and that it does not look like a bug."""
    before = route.target()
    collections = sorted(route.client[route.source.name].list_collection_names())
    state = route.has_state()
    found, said = route.tranship(*arguments, **environment)
    assert (found, "Traceback" in said) == (code, False), said
    assert route.target() == before
    assert route.has_state() == state
    assert sorted(route.client[route.source.name].list_collection_names()) == collections
    return said


def with_credentials(uri: str, user: str, password: str) -> str:
    address = urlsplit(uri)
    return address._replace(netloc=f"{user}:{password}@{address.netloc.rpartition('@')[2]}").geturl()


# --- plans -------------------------------------------------------------------------------------------------------


def test_a_bad_plan(route: Route, plan: Path) -> None:
    text = plan.read_text().replace("number:", "nmuber:").replace("bson: int32", "bson: text")
    plan.write_text(text)
    said = refused(route, BAD_PLAN, "run", plan)
    assert f"{plan}:" in said
    assert "bson" in said


def test_a_plan_that_is_not_there(route: Route, tmp_path: Path) -> None:
    assert "cannot be read" in refused(route, BAD_PLAN, "run", tmp_path / "missing.yaml")


def test_a_variable_that_is_not_set(route: Route, plan: Path) -> None:
    assert "SOURCE_URI is not set" in refused(route, BAD_PLAN, "run", plan, SOURCE_URI="")


# --- servers -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("command", ["run", "check", "status", "approve", "reconcile"])
def test_postgresql_is_not_there(route: Route, plan: Path, command: str) -> None:
    said = refused(route, REFUSED, command, plan, TARGET_URI="postgresql://127.0.0.1:1/nobody")
    assert re.search(r"PostgreSQL at \S+:\d+ cannot be reached", said), said


def test_mongodb_is_not_there(route: Route, plan: Path) -> None:
    said = refused(route, REFUSED, "run", plan, SOURCE_URI="mongodb://127.0.0.1:1/?directConnection=true")
    assert "no suitable MongoDB server answered" in said


def test_a_role_that_postgresql_does_not_know(route: Route, plan: Path) -> None:
    uri = with_credentials(route.target_uri, "nobody_knows", "sesame-street")
    said = refused(route, REFUSED, "run", plan, TARGET_URI=uri)
    assert re.search(r"PostgreSQL at \S+ refused the connection", said), said
    assert "sesame" not in said


@pytest.fixture
def role(route: Route) -> Iterator[tuple[str, str]]:
    """A role without any privilege, and its password."""
    name, password = f"tranship_{secrets.token_hex(6)}", secrets.token_hex(8)
    create = sql.SQL("create role {} login password {}").format(sql.Identifier(name), sql.Literal(password))
    with psycopg.connect(route.target_uri, autocommit=True) as connection:
        connection.execute(create)
        yield name, password
        connection.execute(sql.SQL("drop owned by {0}; drop role {0}").format(sql.Identifier(name)))


def test_a_role_that_may_not_create(route: Route, plan: Path, role: tuple[str, str]) -> None:
    said = refused(route, REFUSED, "run", plan, TARGET_URI=with_credentials(route.target_uri, *role))
    assert f"may not create the schema {SCHEMA}" in said
    assert f"may not create the schema {STATE}" in said
    assert "GRANT CREATE" in said


def test_a_standalone_mongodb(route: Route, plan: Path, tmp_path: Path) -> None:
    with private_mongo(tmp_path, "--standalone") as server:
        said = refused(route, REFUSED, "run", plan, SOURCE_URI=server.uri)
    assert "standalone" in said
    assert "rs.initiate" in said


@contextmanager
def locked(folder: Path) -> Iterator[str]:
    """The URI of a MongoDB that asks for credentials; user `mover` with the password `open-sesame` may read."""
    with private_mongo(folder) as server:
        with pymongo.MongoClient[dict[str, Any]](server.uri) as client:
            client.shop.things.insert_one({"_id": "a"})
            role = {"role": "readWrite", "db": "shop"}
            client.admin.command("createUser", "mover", pwd="open-sesame", roles=[role])
        server.stop()
        server.start("--auth")
        yield server.uri


@pytest.mark.parametrize(("user", "password"), [("mover", "wrong-word"), ("stranger", "open-sesame")])
def test_credentials_that_mongodb_refuses(route: Route, tmp_path: Path, user: str, password: str) -> None:
    plan = route.plan(THINGS, source={"database": "shop"})
    with locked(tmp_path) as uri:
        said = refused(route, REFUSED, "run", plan, SOURCE_URI=with_credentials(uri, user, password))
    assert "check the credentials" in said
    assert password not in said


# --- what is there already ---------------------------------------------------------------------------------------


def test_a_table_that_is_not_ours(route: Route, plan: Path) -> None:
    route.query(f"create schema {SCHEMA}; create table {SCHEMA}.things (precious int)")
    said = refused(route, REFUSED, "run", plan)
    assert f"{SCHEMA}.things exists" in said
    assert "not made by tranship" in said


def test_a_state_schema_with_other_tables(route: Route, plan: Path) -> None:
    route.query(
        f"create schema {STATE}; create table {STATE}.journal (mine int); insert into {STATE}.journal values (7)"
    )
    assert "Name another schema as state_schema" in refused(route, REFUSED, "run", plan)
    assert "nothing was dropped" in refused(route, REFUSED, "purge", plan, "--yes")
    assert "has no run on this target yet" in refused(route, BAD_PLAN, "status", plan)
    assert route.query(f"select mine from {STATE}.journal") == [(7,)]


def test_a_view_and_a_collection_that_is_not_there(route: Route) -> None:
    database = route.client[route.source.name]
    database.create_collection("seen", viewOn="things", pipeline=[])
    said = refused(route, REFUSED, "run", route.plan({"seen": THINGS["things"], "lost": THINGS["things"]}))
    assert "seen is a view" in said
    assert "lost does not exist" in said


# --- commands about a run that is not there ----------------------------------------------------------------------


@pytest.mark.parametrize("command", ["status", "approve", "rollback", "reconcile"])
def test_there_is_no_run_yet(route: Route, plan: Path, command: str) -> None:
    assert "has no run on this target yet" in refused(route, BAD_PLAN, command, plan)


def test_purge_of_nothing_does_nothing(route: Route, plan: Path) -> None:
    refused(route, 0, "purge", plan, "--yes")


def test_check_says_what_run_would(route: Route, plan: Path) -> None:
    assert "the plan can run" in refused(route, 0, "check", plan)
    route.query(f"create schema {SCHEMA}; create table {SCHEMA}.things (precious int)")
    assert "the plan cannot run yet" in refused(route, REFUSED, "check", plan)
