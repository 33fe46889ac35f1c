"""Fences that a MongoDB server keeps, on one that knows users and roles.

The judge is the server: what an application's own login may do, what `usersInfo` and `list_collections` tell.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import closing
from typing import Any

import pymongo
import pytest
from pymongo.errors import OperationFailure

from tests.conformance.answers import answering, failure
from tests.integration.locked import (
    ALL,
    BEHIND_ROLES,
    BEHIND_VALIDATORS,
    FENCES,
    ROLES,
    ROLES_FENCE,
    Locked,
    locked_mongo,
)
from tranship.connectors.errors import RefusedError, TakenOverError
from tranship.connectors.mongodb import MongoSource
from tranship.connectors.protocols import Owner, Routing, RoutingRecord
from tranship.connectors.protocols.fencing import Command, Deed, Fenced, FenceKind, Writer
from tranship.orchestrator.phases.cutover.routing import take_back
from tranship.plans.streams import Endpoint, Stream
from tranship.router.records import Record
from tranship.router.sides import MongoSide

ID = "run-1"
STREAMS = (Stream("things", "things", "things", (), ()),)


@pytest.fixture(scope="module")
def locked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Locked]:
    with locked_mongo(tmp_path_factory.mktemp("locked")) as made:
        yield made


@pytest.fixture
def source(locked: Locked) -> Iterator[MongoSource]:
    locked.root.drop_database("shop")
    locked.root.admin.command("updateUser", "app", roles=ROLES)
    for role in locked.made_roles():
        locked.root.admin.command("dropRole", role)
    locked.root.shop.things.insert_one({"_id": 1, "n": 0})
    endpoint = Endpoint("mongodb", locked.uri("tranship", "t"), database="shop")
    with closing(MongoSource(endpoint)) as made:
        yield made


def fenced(locked: Locked, *users: str) -> Fenced:
    writers = []
    for user in users or ("app",):
        login = Endpoint("mongodb", locked.uri(user, "a"), database="shop") if user == "app" else None
        writers.append(Writer(user, "admin", login))
    return Fenced(tuple(writers), STREAMS)


def begin(source: MongoSource, version: int = 1) -> None:
    """A record that is fenced by this version."""
    found = source.records.begin(Owner(ID, "r", "t", "s", "p"), RoutingRecord(Routing.PRIMARY, 0))
    assert source.records.swap(ID, found, RoutingRecord(Routing.FENCED, version))


def raised(source: MongoSource, locked: Locked, kind: FenceKind, version: int = 1) -> Command:
    begin(source, version)
    assert source.fences.objections(kind, fenced(locked)) == []
    command = source.fences.register_raise(ID, version, kind, fenced(locked))
    source.fences.send(command)
    return command


@pytest.mark.parametrize(
    ("kind", "behind"), [(FenceKind.ROLES, BEHIND_ROLES), (FenceKind.VALIDATORS, BEHIND_VALIDATORS)]
)
def test_a_fence_stops_writes_and_nothing_else_and_is_taken_away(
    locked: Locked, source: MongoSource, kind: FenceKind, behind: dict[str, bool]
) -> None:
    locked.root.shop.command("collMod", "things", validator={"n": {"$ne": -1}}, validationLevel="moderate")
    options = locked.root.shop.things.options()
    assert locked.may() == ALL
    raised(source, locked, kind)
    assert locked.may() == behind
    assert source.fences.try_writers(kind, fenced(locked)) == []
    told = source.fences.passport(ID)
    assert told is not None
    assert (told.kind, told.version, told.commands) == (kind, 1, ())
    lifted = take_back(source, ID)
    assert lifted == RoutingRecord(Routing.PRIMARY, 2)
    assert locked.may() == ALL
    assert source.fences.passport(ID) is None
    assert (locked.roles(), locked.made_roles()) == (ROLES, [])
    assert locked.root.shop.things.options() == options


def test_a_fence_that_does_not_hold_is_found_by_the_writers_own_logins(locked: Locked, source: MongoSource) -> None:
    raised(source, locked, FenceKind.ROLES)
    locked.root.admin.command("grantRolesToUser", "app", roles=[{"role": "readWrite", "db": "shop"}])
    before = list(locked.root.shop.things.find())
    assert source.fences.try_writers(FenceKind.ROLES, fenced(locked)) == [
        "user admin.app could insert in things",
        "user admin.app could delete in things",
    ]
    assert list(locked.root.shop.things.find()) == before


def test_a_transaction_from_before_is_not_committed_behind_it(locked: Locked, source: MongoSource) -> None:
    begin(source)
    with locked.app.start_session() as session:
        session.start_transaction()
        locked.app.shop.things.insert_one({"_id": "late"}, session=session)
        source.fences.send(source.fences.register_raise(ID, 1, FenceKind.ROLES, fenced(locked)))
        with pytest.raises(OperationFailure):
            session.commit_transaction()
    assert locked.root.shop.things.find_one({"_id": "late"}) is None


def test_no_fence_is_registered_for_another_record(locked: Locked, source: MongoSource) -> None:
    begin(source)
    with pytest.raises(TakenOverError):
        source.fences.register_raise(ID, 2, FenceKind.ROLES, fenced(locked))
    take_back(source, ID)
    with pytest.raises(TakenOverError):
        source.fences.register_raise(ID, 1, FenceKind.ROLES, fenced(locked))
    assert (source.fences.passport(ID), locked.made_roles(), locked.may()) == (None, [], ALL)


def test_a_command_that_comes_late_does_nothing(locked: Locked, source: MongoSource) -> None:
    """The one who was to raise the fence is stopped behind its registration, another one lifts, and then it goes on."""
    begin(source)
    late = source.fences.register_raise(ID, 1, FenceKind.ROLES, fenced(locked))
    (passport,) = (locked.root.shop.tranship_switches.find_one({"_id": ID}) or {})["passport"]["saved"]["users"]
    assert take_back(source, ID) == RoutingRecord(Routing.PRIMARY, 2)
    with pytest.raises(TakenOverError):
        source.fences.send(late)
    # What it would have sent, had it looked before: the server itself refuses it.
    made = {"role": f"tranship_{late.token}_0", "db": "admin"}
    with pytest.raises(OperationFailure) as refused:
        locked.root.admin.command("updateUser", "app", roles=[*passport["kept"], made])
    assert refused.value.code == 31
    assert (locked.may(), locked.made_roles()) == (ALL, [])


def test_a_lowering_that_comes_late_does_not_lower_the_next_fence(locked: Locked, source: MongoSource) -> None:
    raised(source, locked, FenceKind.ROLES)
    assert source.records.swap(ID, RoutingRecord(Routing.FENCED, 1), RoutingRecord(Routing.LIFTING, 2))
    late = source.fences.register_lower(ID, 2)
    assert take_back(source, ID) == RoutingRecord(Routing.PRIMARY, 2)
    assert source.records.swap(ID, RoutingRecord(Routing.PRIMARY, 2), RoutingRecord(Routing.FENCED, 3))
    source.fences.send(source.fences.register_raise(ID, 3, FenceKind.ROLES, fenced(locked)))
    with pytest.raises(TakenOverError):
        source.fences.send(late)
    made = {"role": f"tranship_{late.token}_0", "db": "admin"}
    with pytest.raises(OperationFailure) as refused:
        locked.root.admin.command("updateUser", "app", roles=[*ROLES, made])
    assert refused.value.code == 31
    assert locked.may() == BEHIND_ROLES


def test_a_command_without_an_answer_blocks_the_next_fence_and_no_lift(locked: Locked, source: MongoSource) -> None:
    """Of a validator's command nobody can prove that it is not on its way any more."""
    begin(source)
    silent = source.fences.register_raise(ID, 1, FenceKind.VALIDATORS, fenced(locked))
    assert take_back(source, ID) == RoutingRecord(Routing.PRIMARY, 2)
    assert locked.may() == ALL
    told = source.fences.passport(ID)
    assert told is not None
    assert told.commands == (silent,)
    before = RoutingRecord(Routing.PRIMARY, 2)
    assert not source.records.swap(ID, before, RoutingRecord(Routing.FENCED, 3))
    assert silent.deed is Deed.RAISE


def test_nothing_is_handed_over_while_a_command_is_open(locked: Locked, source: MongoSource) -> None:
    begin(source)
    command = source.fences.register_raise(ID, 1, FenceKind.ROLES, fenced(locked))
    before, after = RoutingRecord(Routing.FENCED, 1), RoutingRecord(Routing.HANDED_OVER, 1)
    assert not source.records.swap(ID, before, after)
    source.fences.send(command)
    assert source.records.swap(ID, before, after)
    with pytest.raises(RefusedError):
        source.records.forget(ID)
    assert locked.may() == BEHIND_ROLES


class WriteBlocked:
    """Two ways to the server, which answer as one that has a write block would, by MongoDB's documentation: ours, which
    may bypass it, and the applications'. No server that the tests can start has one."""

    on = False

    def ours(self, command: Mapping[str, Any]) -> Mapping[str, Any] | None:
        if "setUserWriteBlockMode" in command:
            self.on = command["global"]
            return {"ok": 1.0}
        return {"ok": 1.0, "repl": {"userWriteBlockMode": 3 if self.on else 2}} if "serverStatus" in command else None

    def theirs(self, command: Mapping[str, Any]) -> Mapping[str, Any] | None:
        writes = next(iter(command)) in ("insert", "update", "delete")
        return failure(371, "UserWritesBlocked", "User writes blocked") if writes and self.on else None


def test_a_write_block_as_documented(locked: Locked, source: MongoSource) -> None:
    block = WriteBlocked()
    with answering(locked.server.uri, block.ours) as ours, answering(locked.server.uri, block.theirs) as theirs:
        login = theirs.replace("//", "//app:a@") + "&authSource=admin"
        what = Fenced((Writer("app", "admin", Endpoint("mongodb", login, database="shop")),), STREAMS)
        endpoint = Endpoint("mongodb", ours.replace("//", "//tranship:t@") + "&authSource=admin", database="shop")
        with closing(MongoSource(endpoint)) as through, closing(pymongo.MongoClient[Any](login)) as app:
            begin(source)
            assert through.fences.objections(FenceKind.WRITE_BLOCK, what) == []
            through.fences.send(through.fences.register_raise(ID, 1, FenceKind.WRITE_BLOCK, what))
            assert (block.on, through.fences.try_writers(FenceKind.WRITE_BLOCK, what)) == (True, [])
            side = MongoSide(app.shop, "p", "router", 1.0)
            assert side.beat(None) == Record(ID, "fenced", 1, None)
            assert take_back(through, ID) == RoutingRecord(Routing.PRIMARY, 2)
            assert (block.on, through.fences.passport(ID)) == (False, None)
            assert side.beat(None) == Record(ID, "primary", 2, None)
            assert through.fences.try_writers(FenceKind.WRITE_BLOCK, what) != []
            block.on = True  # somebody else's: the record does not know of it
            assert through.fences.objections(FenceKind.WRITE_BLOCK, what) == [
                "somebody else blocks writes on the source already"
            ]
            with pytest.raises(OperationFailure):
                side.beat(None)


@pytest.mark.usefixtures("source")
@pytest.mark.parametrize("missing", ["setUserWriteBlockMode", "bypassWriteBlockingMode"])
def test_a_right_that_a_write_block_needs_is_named_before(locked: Locked, missing: str) -> None:
    less = [dict(privilege) for privilege in FENCES]
    less[-1]["actions"] = [action for action in less[-1]["actions"] if action != missing]
    with answering(locked.server.uri, WriteBlocked().ours) as ours:
        endpoint = Endpoint("mongodb", ours.replace("//", "//tranship:t@") + "&authSource=admin", database="shop")
        with closing(MongoSource(endpoint)) as through:
            locked.allow(less)
            try:
                (said,) = through.fences.objections(FenceKind.WRITE_BLOCK, Fenced((), STREAMS))
            finally:
                locked.allow(FENCES)
    assert said.startswith(f"our user may not {missing} on the cluster")


@pytest.mark.usefixtures("source")
def test_who_may_bypass_a_write_block_is_said_before(locked: Locked) -> None:
    locked.root.admin.command(
        "createRole", "passes", privileges=[{"resource": {"cluster": True}, "actions": ["bypassWriteBlockingMode"]}],
        roles=[],
    )  # fmt: skip
    locked.root.admin.command("grantRolesToUser", "app", roles=["passes"])
    try:
        with answering(locked.server.uri, WriteBlocked().ours) as ours:
            endpoint = Endpoint("mongodb", ours.replace("//", "//tranship:t@") + "&authSource=admin", database="shop")
            with closing(MongoSource(endpoint)) as through:
                said = through.fences.objections(FenceKind.WRITE_BLOCK, fenced(locked))
    finally:
        locked.root.admin.command("dropRole", "passes")
    assert said == ["user admin.app may bypass the write block"]


RIGHTS = [(number, action) for number, privilege in enumerate(ROLES_FENCE) for action in privilege["actions"]]


@pytest.mark.parametrize(("number", "action"), RIGHTS)
def test_each_right_that_is_missing_is_named_before(
    locked: Locked, source: MongoSource, number: int, action: str
) -> None:
    begin(source)
    less = [dict(privilege) for privilege in FENCES]
    less[number]["actions"] = [one for one in FENCES[number]["actions"] if one != action]
    try:
        locked.allow([privilege for privilege in less if privilege["actions"]])
        (said,) = source.fences.objections(FenceKind.ROLES, fenced(locked))
        assert f"our user may not {action} on " in said
    finally:
        locked.allow(FENCES)
    assert source.fences.objections(FenceKind.ROLES, fenced(locked)) == []


def test_whom_a_fence_would_not_hold_is_said_before(locked: Locked, source: MongoSource) -> None:
    locked.root.admin.command("createUser", "mighty", pwd="m", roles=["readWriteAnyDatabase"])
    locked.root.admin.command("createUser", "owner", pwd="m", roles=[{"role": "dbOwner", "db": "shop"}])
    try:
        against = source.fences.objections(FenceKind.ROLES, fenced(locked, "mighty", "owner", "nobody"))
    finally:
        for user in ("mighty", "owner"):
            locked.root.admin.command("dropUser", user)
    assert [why.split(":")[0] for why in against] == [
        "user admin.mighty may write to all databases, which cannot be taken from it for one of them",
        "user admin.owner may grant roles, so it could give itself back what the fence takes",
        "the source has no user admin.nobody",
    ]
    (why,) = source.fences.objections(FenceKind.WRITE_BLOCK, fenced(locked))
    assert "it has no write block" in why


def test_a_role_that_is_gone_is_named_and_the_fence_stands_until_it_is_back(
    locked: Locked, source: MongoSource
) -> None:
    extra = {"role": "extra", "db": "admin"}
    locked.root.admin.command("createRole", "extra", privileges=[], roles=[])
    locked.root.admin.command("updateUser", "app", roles=[*ROLES, extra])
    raised(source, locked, FenceKind.ROLES)
    locked.root.admin.command("dropRole", "extra")
    with pytest.raises(RefusedError, match="extra@admin"):
        take_back(source, ID)
    assert locked.may() == BEHIND_ROLES
    locked.root.admin.command("createRole", "extra", privileges=[], roles=[])
    assert take_back(source, ID) == RoutingRecord(Routing.PRIMARY, 2)
    assert extra in locked.roles()
    locked.root.admin.command("dropRole", "extra")
    assert (locked.may(), locked.made_roles()) == (ALL, [])


def test_no_second_fence_is_raised_where_one_stands(locked: Locked, source: MongoSource) -> None:
    """Else what is left of the writers' rights would be taken for what they had."""
    raised(source, locked, FenceKind.ROLES)
    for kind in FenceKind:
        assert source.fences.objections(kind, fenced(locked)) == [
            "a fence of run r stands on the source already: `tranship unfence` takes it away"
        ]


def test_a_writer_that_was_dropped_behind_the_fence_does_not_keep_it_up(locked: Locked, source: MongoSource) -> None:
    locked.root.admin.command("createUser", "gone", pwd="m", roles=[{"role": "readWrite", "db": "shop"}])
    begin(source)
    source.fences.send(source.fences.register_raise(ID, 1, FenceKind.ROLES, fenced(locked, "gone", "app")))
    locked.root.admin.command("dropUser", "gone")
    assert take_back(source, ID) == RoutingRecord(Routing.PRIMARY, 2)
    assert locked.may() == ALL
