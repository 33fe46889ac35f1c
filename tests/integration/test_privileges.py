"""The rights that `docs/privileges.md` lists are enough for everything, and one less is named before anything is made.

Statements and codes are those of the page, so that it says what is tested.
"""

from __future__ import annotations

import json
import re
import secrets
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import psycopg
import pymongo
import pytest
from psycopg.errors import InsufficientPrivilege
from pymongo.errors import OperationFailure

from tests.cutover import play
from tests.integration.private import LAX, lax, private_mongo
from tests.integration.route import Route, wait_until
from tests.unit.test_docs import PAGES, section, table
from tranship.connectors.mongodb import connect
from tranship.connectors.mongodb.rights import NEEDED
from tranship.orchestrator.engine.session import open_session
from tranship.orchestrator.journal.state import RunStatus
from tranship.orchestrator.reports.findings import FINDINGS
from tranship.orchestrator.sandbox import Servers
from tranship.orchestrator.sandbox.databases import SourceDatabase, fresh_target
from tranship.plans import load
from tranship.plans.streams import Endpoint
from tranship.router.sides import MongoSide, PostgresSide

FINISHED, REFUSED, ROLLED_BACK = 0, 3, 4

PAGE = PAGES["docs/privileges.md"]
MONGODB, POSTGRESQL, APPLICATION = (
    section(PAGE, heading)
    for heading in ("tranship on MongoDB", "tranship on PostgreSQL", "The application, for its router")
)

PASSWORD = "open-sesame"
OWN = {"db": "shop", "collection": "things"}


OPLOG = "`local.oplog.rs`"


# --- the page -----------------------------------------------------------------------------------------------------


def mongosh(text: str) -> dict[str, Any]:
    """The arguments of each command of the text's block for mongosh, by the command's name."""
    (block,) = re.findall(r"^```js\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    block = block.replace("passwordPrompt()", json.dumps(PASSWORD))
    calls = re.findall(r"^db\.(\w+)\((.*?)\)$", block, re.MULTILINE | re.DOTALL)
    return {name: json.loads(f"[{arguments}]") for name, arguments in calls}


def sql_blocks(text: str) -> list[list[str]]:
    """The statements of each of its blocks of SQL."""
    blocks = re.findall(r"^```sql\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    return [[line for line in block.split(";\n") if line] for block in blocks]


Right = tuple[str, str]
"""An action, and what it is on, as the page's tables name it."""


def on(resource: dict[str, Any]) -> str:
    if resource.get("cluster"):
        return "the cluster"
    names = (resource["db"], resource["collection"])
    return {("shop", ""): "the database", ("local", "oplog.rs"): OPLOG}.get(names, f"`{names[1]}`")


def rights_of(role: dict[str, Any]) -> list[Right]:
    return [(action, on(one["resource"])) for one in role["privileges"] for action in one["actions"]]


def without(role: dict[str, Any], right: Right | None) -> list[dict[str, Any]]:
    """The role's privileges but for one right."""
    kept = [
        {**one, "actions": [action for action in one["actions"] if (action, on(one["resource"])) != right]}
        for one in role["privileges"]
    ]
    return [one for one in kept if one["actions"]]


def grants(statements: Sequence[str]) -> dict[Right, str]:
    """A statement for each single right that the statements grant."""
    found = {}
    for statement in statements:
        if match := re.fullmatch(r"GRANT (.*) ON (DATABASE|FUNCTION|SCHEMA) (.*) TO (\w+)", statement):
            rights, kind, places, role = match.groups()
            for place in re.split(r", (?![^(]*\))", places):
                named = {"DATABASE": "the database", "SCHEMA": f"the schema `{place}`"}.get(kind, f"`{place}`")
                for right in rights.split(", "):
                    found[right, named] = f"GRANT {right} ON {kind} {place} TO {role}"
    return found


def codes(text: str) -> dict[Right, str]:
    """What names each right, by the text's tables."""
    found = {}
    for rows in re.findall(r"^\| right .*?(?=\n\n|\Z)", text, re.MULTILINE | re.DOTALL):
        for right, place, _, named in table(rows):
            found |= {(one, place): named.split("`")[1] for one in re.findall(r"`(\w+)`", right)}
    return found


ROLE = mongosh(MONGODB)["createRole"][0]
ROUTES = mongosh(APPLICATION)["createRole"][0]
(ROLE_MADE, *WHOLE), (*SCHEMAS_MADE, SCHEMAS_GRANTED) = sql_blocks(POSTGRESQL)
(GRANTED,) = sql_blocks(APPLICATION)
CREATE = ("CREATE", "the database")


def test_each_right_is_in_the_page_with_what_names_it() -> None:
    assert set(rights_of(ROLE)) == codes(MONGODB).keys()
    assert grants(WHOLE).keys() | grants([SCHEMAS_GRANTED]).keys() == codes(POSTGRESQL).keys()


# --- the servers --------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Locked:
    """A MongoDB that asks for credentials, with the page's users."""

    uri: str

    def of(self, user: str) -> str:
        return self.uri.replace("//", f"//{user}:{PASSWORD}@")

    @contextmanager
    def lacking(self, role: dict[str, Any], right: Right | None) -> Iterator[None]:
        """A role lacks a right while the block lasts."""
        with pymongo.MongoClient[dict[str, Any]](self.of("root")) as client:
            update = {"updateRole": role["role"]}
            client.admin.command({**update, "privileges": without(role, right)})
            try:
                yield
            finally:
                client.admin.command({**update, "privileges": role["privileges"]})


@pytest.fixture(scope="module")
def locked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Locked]:
    with private_mongo(tmp_path_factory.mktemp("locked")) as server:
        with pymongo.MongoClient[dict[str, Any]](server.uri) as client:
            client.shop.things.insert_many(play.seeds())
            made = client.admin
            made.command("createUser", "root", pwd=PASSWORD, roles=["root"])
            writes = {"resource": OWN, "actions": ["find", "insert", "update", "remove"]}
            made.command("createRole", "writes_things", privileges=[writes], roles=[])
            made.command("createUser", "shop_app", pwd=PASSWORD, roles=["writes_things"])
            for role in (ROLE, ROUTES):
                made.command("createRole", role["role"], privileges=role["privileges"], roles=role["roles"])
            (user,) = mongosh(MONGODB)["createUser"]
            made.command("createUser", user["user"], pwd=user["pwd"], roles=user["roles"])
            name, roles = mongosh(APPLICATION)["grantRolesToUser"]
            made.command("grantRolesToUser", name, roles=roles)
        server.stop()
        server.start("--auth")
        yield Locked(server.uri)


@dataclass
class Place:
    """A route from that MongoDB to a database where PUBLIC may nothing; `tranship` goes as the page's users."""

    route: Route
    suffix: str

    def grant(self, *statements: str, role: str = "postgres") -> None:
        """Carry out statements of the page, whose names are others here."""
        database = urlsplit(self.route.target_uri).path[1:]
        with psycopg.connect(self.target(role), autocommit=True) as connection:
            for statement in statements:
                said = re.sub(r"\b(migrator|shop_app)\b", rf"\1{self.suffix}", statement)
                connection.execute(re.sub(r"(?<=DATABASE )app\b", database, said).encode())

    def target(self, role: str) -> str:
        return self.route.target_uri.replace("postgres@", f"{role}{'' if role == 'postgres' else self.suffix}@")

    def plan(self, **parts: Any) -> Path:
        streams, target = play.declared("shop")["streams"], {"schema": "shop"}
        return self.route.plan(streams, name="shop", target=target, reconcile={"max_divergences": 0}, **parts)

    def found(self, plan: Path) -> dict[str, str]:
        """What a run's preflight, and `tranship check`, finds: severity and text by code."""
        found: dict[str, str] = {}
        with open_session(load(plan, self.route.environment)) as session:
            for one in session.look():
                found[one.code] = found.get(one.code, "") + f"{one.severity} {one.message}. {one.hint}\n"
        return found

    def nothing_is_made(self) -> bool:
        there = self.route.query("select 1 from pg_class where relnamespace in (to_regnamespace('shop'), "
                                 "to_regnamespace('tranship')) ")  # fmt: skip
        return not there and self.left() == {"things"}

    def left(self) -> set[str]:
        return set(self.route.client.shop.list_collection_names())


@pytest.fixture
def place(servers: Servers, locked: Locked, tmp_path: Path) -> Iterator[Place]:
    suffix = f"_{secrets.token_hex(4)}"
    with (
        fresh_target(servers) as target,
        pymongo.MongoClient[dict[str, Any]](locked.of("root")) as client,
    ):
        made = Place(Route(SourceDatabase(locked.uri, "shop"), target, tmp_path, client), suffix)
        made.route.environment |= {"SOURCE_URI": locked.of("migrator"), "TARGET_URI": made.target("migrator")}
        database = urlsplit(target).path[1:]
        made.grant(
            ROLE_MADE,
            "CREATE ROLE shop_app LOGIN",
            f"REVOKE ALL ON DATABASE {database} FROM PUBLIC",
            f"GRANT CONNECT ON DATABASE {database} TO shop_app",
            "REVOKE ALL ON SCHEMA public FROM PUBLIC",
            "REVOKE EXECUTE ON FUNCTION pg_control_system(), pg_terminate_backend(integer, bigint) FROM PUBLIC",
        )
        try:
            yield made
        finally:
            made.route.close()
            for role in ("migrator", "shop_app"):
                made.grant(f"DROP OWNED BY {role} CASCADE", f"DROP ROLE {role}")
            for name in made.left() - {"things"}:  # the server is that of the other tests, too
                client.shop.drop_collection(name)


# --- enough -------------------------------------------------------------------------------------------------------


def test_a_migration_that_is_written_through(place: Place, locked: Locked) -> None:
    place.grant(*WHOLE)
    route, plan = place.route, place.plan(cutover={"fence": "router", "deadline": "10s"}, limits={"lease": "2s"})
    told = {code for code in place.found(plan) if code.startswith("source.")}
    assert told == ({"source.rights_unknown"} if lax() else set())
    code, said = route.tranship("check", plan)
    assert (code, "the plan can run" in said) == (FINISHED, True), said
    code, said = route.tranship("dry-run", plan)
    assert (code, "the run may start" in said) == (FINISHED, True), said
    run = route.run_to_approval(plan)
    beats = PostgresSide(lambda: psycopg.connect(place.target("shop_app")), "shop", "one", 1.0, "tranship")
    with pytest.raises(InsufficientPrivilege):
        beats.beat(None)
    place.grant(*GRANTED, role="migrator")
    application = play.Cutover(
        SourceDatabase(locked.of("shop_app"), "shop"), place.target("shop_app"), route.folder,
        (route.folder / "writers.log").open("ab"), plan,
    )  # fmt: skip
    newest = "select max(version) from shop.things where thread >= 0"
    with application.log, play.writers(application, 1, 2, 50.0, 20) as done:
        wait_until(lambda: '"can_cut_over": true' in route.tranship("status", plan, "--json")[1], run, "it can")
        code, said = route.tranship("approve", plan)
        assert code == FINISHED, said
        wait_until(lambda: route.state(plan).switched, run, "it has switched")
        ((before,),) = route.query(newest)
        wait_until(lambda: route.query(newest)[0][0] > before, what="a write behind the switch")
    assert run.wait() == FINISHED, run.output
    whole = play.Cutover(
        SourceDatabase(locked.of("root"), "shop"), route.target_uri, route.folder, application.log, plan
    )
    verdict = play.judge(whole, done)
    assert (verdict.failed, verdict.lost, verdict.both) == ([], [], 2)
    living = "select 1 from tranship.router where until > clock_timestamp()"
    wait_until(lambda: not route.query(living), what="the routers' leases to end")
    code, said = route.tranship("purge", plan)
    assert (code, place.left() - {"tranship_routers"}, route.has_state()) == (FINISHED, {"things"}, False), said


def test_a_migration_into_schemas_that_are_there(place: Place) -> None:
    """Taken back, and then carried out with writers that somebody has stopped."""
    place.grant(*(one for right, one in grants(WHOLE).items() if right != CREATE), *SCHEMAS_MADE, SCHEMAS_GRANTED)
    route, plan = place.route, place.plan(cutover={"fence": "external"})
    code, said = route.tranship("dry-run", plan)
    assert (code, "target.privilege" in said) == (REFUSED, True), said
    run = route.run_to_approval(plan)
    assert route.tranship("rollback", plan)[0] == FINISHED
    assert run.wait() == ROLLED_BACK, run.output
    assert place.left() == {"things"}
    assert route.query("select 1 from pg_tables where schemaname = 'shop'") == []
    run = route.run_to_approval(plan)
    assert route.tranship("approve", plan)[0] == FINISHED
    assert run.wait() == FINISHED, run.output
    assert route.status(plan).status == RunStatus.FINISHED
    code, said = route.tranship("purge", plan)
    assert (code, place.left()) == (FINISHED, {"things"}), said
    assert route.query("select 1 from pg_tables where schemaname = 'tranship'") == []


# --- and one less -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("right", [one for one in rights_of(ROLE) if one[1] != OPLOG], ids=" on ".join)
def test_a_right_on_the_source_that_is_missing_is_named(place: Place, locked: Locked, right: Right) -> None:
    named = codes(MONGODB)[right]
    if lax() and (named == "source.unwritable" or right[0] in ("changeStream", "replSetGetConfig", "shardingState")):
        pytest.skip(f"{LAX} does not judge it")
    place.grant(*WHOLE)
    with locked.lacking(ROLE, right):
        found = place.found(place.plan())
    assert named in found, found
    assert found[named].split()[0] == ("info" if "(info)" in FINDINGS[named].means else "error")
    assert right[0] in found[named]
    assert place.nothing_is_made()


def test_without_the_oplog_nobody_knows_how_far_it_reaches_back(locked: Locked) -> None:
    with closing(connect(Endpoint("mongodb", locked.of("migrator"), "shop"), [])) as source:
        position = source.position()
        assert source.history_s(position) is not None
        with locked.lacking(ROLE, ("find", OPLOG)):
            assert source.history_s(position) is None


@pytest.mark.parametrize("right", [one for one in rights_of(ROLE) if one[0] in NEEDED], ids=" on ".join)
def test_a_right_to_write_that_is_missing_is_found_by_trying(locked: Locked, right: Right) -> None:
    """As for a server that does not tell."""
    if lax():
        pytest.skip(f"{LAX} takes rights on one collection for rights on all")
    endpoint = Endpoint("mongodb", locked.of("migrator"), "shop")
    with closing(connect(endpoint, [])) as source:
        assert source.try_traces() == []
        with locked.lacking(ROLE, right):
            (found,) = source.try_traces()
    assert found.code == codes(MONGODB)[right]
    assert f"`{right[0]}` on {right[1].strip('`')}" in found.message
    with pymongo.MongoClient[dict[str, Any]](locked.of("root")) as client:
        assert client.shop.list_collection_names() == ["things"]


@pytest.mark.parametrize("right", grants(WHOLE), ids=" on ".join)
def test_a_right_on_the_target_that_is_missing_is_named(place: Place, right: Right) -> None:
    place.grant(*(statement for other, statement in grants(WHOLE).items() if other != right))
    _is_named(place, right)


@pytest.mark.parametrize("right", grants([SCHEMAS_GRANTED]), ids=" on ".join)
def test_a_right_on_a_schema_that_is_missing_is_named(place: Place, right: Right) -> None:
    rights = {**grants(WHOLE), **grants([SCHEMAS_GRANTED])}
    place.grant(*SCHEMAS_MADE, *(one for other, one in rights.items() if other not in (CREATE, right)))
    _is_named(place, right)


def _is_named(place: Place, right: Right) -> None:
    errors = {code: text for code, text in place.found(place.plan()).items() if text.startswith("error")}
    named = codes(POSTGRESQL)[right]
    assert set(errors) == {named}
    assert right[0] in errors[named]
    assert place.nothing_is_made()


@pytest.mark.parametrize("right", rights_of(ROUTES), ids=" on ".join)
def test_a_right_that_a_router_lacks_is_asked_for(locked: Locked, right: Right) -> None:
    if lax():
        pytest.skip(f"{LAX} takes rights on one collection for rights on all")
    with pymongo.MongoClient[dict[str, Any]](locked.of("shop_app")) as client:
        side = MongoSide(client.shop, "shop", secrets.token_hex(4), 1.0)

        def come_and_go() -> None:
            side.beat(None)
            side.leave()

        come_and_go()
        with locked.lacking(ROUTES, right), pytest.raises(OperationFailure, match="not authorized"):
            come_and_go()
    with pymongo.MongoClient[dict[str, Any]](locked.of("root")) as client:
        client.shop.drop_collection("tranship_routers")
