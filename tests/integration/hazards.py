"""What every finding is about, planted and taken away again: on real servers where they can be so, else by their reply.

A hazard is a generator: up to its `yield` it plants, behind it it mends.
"""

from __future__ import annotations

import secrets
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from urllib.parse import urlsplit

import psycopg
import pymongo
import pytest
from bson import Int64, Timestamp
from psycopg import sql

from tests.conformance.answers import failure
from tests.integration.route import Route
from tranship.connectors.mongodb import source as mongodb
from tranship.connectors.postgresql import preflight, surroundings
from tranship.connectors.protocols import Finding
from tranship.orchestrator.engine.session import open_session
from tranship.orchestrator.reports.checked import outlook
from tranship.orchestrator.sandbox import embedded
from tranship.orchestrator.sandbox.readiness import postgresql_answers, wait_until
from tranship.plans import load
from tranship.plans.rules import MARKER_COLLECTION

STREAMS: dict[str, Any] = {
    "things": {
        "key": {"_id": "text"},
        "columns": {
            "name": {"type": "text", "filled": "optional"},
            "number": {"type": "int64", "bson": "int32"},
            "of": {"type": "text", "references": "owners"},
        },
        "indexes": [{"columns": ["name"]}],
    },
    "owners": {"key": {"_id": "text"}, "columns": {"mail": {"type": "text", "unique": True}}},
}


@dataclass
class World:
    """A route whose source can be answered for: `answer` replies to a command in the server's place, or is None."""

    route: Route
    monkeypatch: pytest.MonkeyPatch
    streams: dict[str, Any] = field(default_factory=dict)
    parts: dict[str, Any] = field(default_factory=dict)
    answer: Callable[[Mapping[str, Any]], Mapping[str, Any] | None] = lambda _: None

    def __post_init__(self) -> None:
        self.streams = {name: {**stream} for name, stream in STREAMS.items()}
        self.route.documents("owners").insert_many({"_id": f"o{n}", "mail": f"m{n}"} for n in range(3))
        self.route.documents().insert_many(
            {"_id": f"t{n:03}", "name": f"n{n}", "number": n, "of": f"o{n % 3}"} for n in range(200)
        )

    def reply(self, command: Mapping[str, Any]) -> Mapping[str, Any] | None:
        """What the way to the source asks."""
        return self.answer(command)

    def found(self) -> list[Finding]:
        """What `check` finds."""
        plan = self.route.plan(self.streams, **self.parts)
        with open_session(load(plan, self.route.environment)) as session:
            findings = session.look()
            said, _ = outlook(session, findings, 1000)
            return [*findings, *said]

    @property
    def database(self) -> pymongo.database.Database[dict[str, Any]]:
        return self.route.client[self.route.source.name]

    def replies(self, name: str, reply: Mapping[str, Any], having: str = "lsid") -> None:
        """One reply to all commands of a name that have a part; those of the driver itself have no session."""
        self.answer = lambda command: reply if next(iter(command)) == name and having in command else None

    def mend(self) -> None:
        self.answer = lambda _: None

    @contextmanager
    def role(self, *grants: str) -> Iterator[str]:
        """Goes to the target as a role of its own, with some privileges on database and public schema."""
        name = f"tranship_{secrets.token_hex(6)}"
        database = urlsplit(self.route.target_uri).path[1:]
        self.route.query(f"create role {name} login")
        for grant in grants:
            self.route.query(grant.format(role=name, database=database))
        whole = self.route.environment["TARGET_URI"]
        try:
            self.route.environment["TARGET_URI"] = whole.replace("postgres@", f"{name}@")
            yield name
        finally:
            self.route.environment["TARGET_URI"] = whole
            self.route.query(f"drop owned by {name}; drop role {name}")


Hazard = Callable[[World], Iterator[None]]


# --- the source -------------------------------------------------------------------------------------------------------


def hello(world: World, **changes: Any) -> None:
    reply = {**world.route.client.admin.command("hello"), **changes}
    world.replies("hello", {name: value for name, value in reply.items() if value is not None})


def unusable(world: World) -> Iterator[None]:
    world.replies("replSetGetConfig", failure(96, "OperationFailed"))
    yield
    world.mend()


def standalone(world: World) -> Iterator[None]:
    hello(world, setName=None)
    yield
    world.mend()


def secondary(world: World) -> Iterator[None]:
    hello(world, isWritablePrimary=False, secondary=True)
    yield
    world.mend()


def sharded(world: World) -> Iterator[None]:
    world.replies("shardingState", {"enabled": True, "shardName": "rs1", "ok": 1.0})
    yield
    world.mend()


def old_source(world: World) -> Iterator[None]:
    hello(world, maxWireVersion=13)
    yield
    world.mend()


def source_clock(world: World) -> Iterator[None]:
    hello(world, localTime=datetime.fromtimestamp(time.time() - 90, UTC))
    yield
    world.mend()


def no_collection(world: World) -> Iterator[None]:
    world.streams["things"]["from"] = "nowhere"
    yield
    world.database.create_collection("nowhere")


def markers(world: World) -> Iterator[None]:
    # The plan's own rules refuse this one first; the connector refuses it for who makes streams without a plan.
    world.monkeypatch.setattr(mongodb, "OWN_COLLECTIONS", (*mongodb.OWN_COLLECTIONS, "things"))
    assert MARKER_COLLECTION in mongodb.OWN_COLLECTIONS
    yield
    world.monkeypatch.undo()


def _collection(world: World, **options: Any) -> Iterator[None]:
    world.streams["things"]["from"] = "odd"
    world.database.create_collection("odd", **options)
    yield
    world.database.drop_collection("odd")
    world.database.create_collection("odd")


def view(world: World) -> Iterator[None]:
    return _collection(world, viewOn="things", pipeline=[])


def timeseries(world: World) -> Iterator[None]:
    return _collection(world, timeseries={"timeField": "at"})


def capped(world: World) -> Iterator[None]:
    return _collection(world, capped=True, size=4096)


def collation(world: World) -> Iterator[None]:
    return _collection(world, collation={"locale": "en", "strength": 2})


def clustered(world: World) -> Iterator[None]:
    return _collection(world, clusteredIndex={"key": {"_id": 1}, "unique": True})


def expiring(world: World) -> Iterator[None]:
    world.database.things.create_index("until", name="until", expireAfterSeconds=3600)
    yield
    world.database.things.drop_index("until")


def odd_index(world: World) -> Iterator[None]:
    """As a server replies that has such indexes; the embedded ones make no hashed ones."""
    indexes = [{"v": 2, "key": {"_id": 1}, "name": "_id_"}, {"v": 2, "key": {"name": "hashed"}, "name": "name_hashed"}]
    namespace = f"{world.route.source.name}.things"
    reply = {"cursor": {"id": Int64(0), "ns": namespace, "firstBatch": indexes}, "ok": 1.0}
    world.replies("listIndexes", reply)
    yield
    world.mend()


def long_key(world: World) -> Iterator[None]:
    world.database.things.insert_one({"_id": "k" * 1500, "number": 1})
    yield
    world.streams["things"]["key"] = {"_id": {"type": "text", "long": True}}
    world.streams["things"]["columns"] = {**world.streams["things"]["columns"]}


def unreadable(world: World) -> Iterator[None]:
    world.replies("find", failure(13, "Unauthorized"), having="hint")
    yield
    world.mend()


def unwatchable(world: World) -> Iterator[None]:
    refusal = failure(13, "Unauthorized")
    world.answer = lambda command: refusal if "$changeStream" in str(command.get("pipeline", "")) else None
    yield
    world.mend()


def unwritable(world: World) -> Iterator[None]:
    reading = {
        "authenticatedUsers": [{"user": "mover", "db": "admin"}],
        "authenticatedUserRoles": [{"role": "read", "db": world.route.source.name}],
        "authenticatedUserPrivileges": [
            {"resource": {"db": world.route.source.name, "collection": ""}, "actions": ["find", "changeStream"]}
        ],
    }
    world.replies("connectionStatus", {"authInfo": reading, "ok": 1.0})
    yield
    reading["authenticatedUserPrivileges"][0]["actions"] += ["insert", "update", "remove", "dropCollection"]


def rights_unknown(world: World) -> Iterator[None]:
    world.replies("connectionStatus", failure(8000, "AtlasError"))
    yield
    world.mend()


def short_oplog(world: World) -> Iterator[None]:
    """As of a server whose oplog is full and begins just now. The pace of a run is what it is, so it is made slow."""
    world.monkeypatch.setattr("tranship.orchestrator.checks.estimate.PASSES", 100_000)
    _oplog(world, Timestamp(int(time.time()), 1))
    yield
    _oplog(world, Timestamp(1, 1))


def _oplog(world: World, oldest: Timestamp) -> None:
    found = {"cursor": {"id": Int64(0), "ns": "local.oplog.rs", "firstBatch": [{"ts": oldest}]}, "ok": 1.0}
    replies = {"find": found, "collStats": {"size": 990, "maxSize": 1000, "ok": 1.0}}

    def answer(command: Mapping[str, Any]) -> Mapping[str, Any] | None:
        name = next(iter(command))
        return replies.get(name) if command[name] == "oplog.rs" else None

    world.answer = answer


def unknown_oplog(world: World) -> Iterator[None]:
    refusal = failure(13, "Unauthorized")
    world.answer = lambda command: refusal if "oplog.rs" in command.values() else None
    yield
    _oplog(world, Timestamp(1, 1))


# --- the target -------------------------------------------------------------------------------------------------------


def unreachable(world: World) -> Iterator[None]:
    whole = world.route.environment["TARGET_URI"]
    world.route.environment["TARGET_URI"] = whole.replace("postgres@", "nobody_at_all@")
    yield
    world.route.environment["TARGET_URI"] = whole


def pooler(world: World) -> Iterator[None]:
    """As PgBouncer does, each client is told a number of its own instead of the process id on the server."""
    world.monkeypatch.setattr(psycopg.ConnectionInfo, "backend_pid", 4711)
    yield
    world.monkeypatch.undo()


def _database(world: World) -> str:
    return urlsplit(world.route.target_uri).path[1:]


def old_target(world: World) -> Iterator[None]:
    world.monkeypatch.setattr(preflight, "OLDEST", 99)
    yield
    world.monkeypatch.undo()


def encoding(world: World) -> Iterator[None]:
    whole = world.route.environment["TARGET_URI"]
    name = f"{_database(world)}_latin"
    with psycopg.connect(world.route.target_uri, autocommit=True) as connection:
        made = "create database {} encoding 'LATIN1' lc_collate 'C' lc_ctype 'C' template template0"
        connection.execute(sql.SQL(made).format(sql.Identifier(name)))
        world.route.environment["TARGET_URI"] = whole.replace(_database(world), name)
        yield
        world.route.environment["TARGET_URI"] = whole
        connection.execute(sql.SQL("drop database {} with (force)").format(sql.Identifier(name)))


def _setting(world: World, name: str, value: str, usual: str) -> Iterator[None]:
    world.route.query(f"alter database {_database(world)} set {name} = {value}")
    yield
    with psycopg.connect(world.route.target_uri, options=f"-c {name}={usual}", autocommit=True) as connection:
        connection.execute(f"alter database {_database(world)} reset {name}".encode())


def replication_role(world: World) -> Iterator[None]:
    return _setting(world, "session_replication_role", "replica", "origin")


def read_only(world: World) -> Iterator[None]:
    return _setting(world, "default_transaction_read_only", "on", "off")


SCHEMAS = "grant create on database {database} to {role}"


def _function(world: World, name: str) -> Iterator[None]:
    world.route.query(f"revoke execute on function {name} from public")
    with world.role(SCHEMAS) as role:
        yield
        world.route.query(f"grant execute on function {name} to {role}")
        # Somebody else looks at what is found now, while the role is still there.
        world.monkeypatch.setattr(world, "found", _now(world.found()))
    world.route.query(f"grant execute on function {name} to public")


def _now(found: list[Finding]) -> Callable[[], list[Finding]]:
    return lambda: found


def identity(world: World) -> Iterator[None]:
    with world.role(SCHEMAS) as role:
        world.route.query("revoke execute on function pg_control_system() from public")
        yield
        world.route.query(f"grant execute on function pg_control_system() to {role}")
        world.monkeypatch.setattr(world, "found", _now(world.found()))


def terminate(world: World) -> Iterator[None]:
    return _function(world, "pg_terminate_backend(integer, bigint)")


def acting_role(world: World) -> Iterator[None]:
    world.route.query(f"create role tranship_acting; grant create on database {_database(world)} to tranship_acting")
    with world.role(SCHEMAS) as role:
        world.route.query(f"grant tranship_acting to {role}; alter role {role} set role = tranship_acting")
        yield
        world.route.query(f"alter role {role} reset role")
        world.monkeypatch.setattr(world, "found", _now(world.found()))
    world.route.query("drop owned by tranship_acting; drop role tranship_acting")


def sessions(world: World) -> Iterator[None]:
    world.route.query(f"alter database {_database(world)} connection limit 3")
    yield
    world.route.query(f"alter database {_database(world)} connection limit -1")


def privilege(world: World) -> Iterator[None]:
    with world.role() as role:
        yield
        world.route.query(f"grant create on database {_database(world)} to {role}")
        world.monkeypatch.setattr(world, "found", _now(world.found()))


def temporary(world: World) -> Iterator[None]:
    world.route.query(f"revoke temporary on database {_database(world)} from public")
    with world.role(SCHEMAS) as role:
        yield
        world.route.query(f"grant temporary on database {_database(world)} to {role}")
        world.monkeypatch.setattr(world, "found", _now(world.found()))


def _during(world: World, plant: str, mend: str) -> Iterator[None]:
    """Beside a run whose tables are there: only then something can hang on them."""
    child = world.route.run_to_approval(world.route.plan(world.streams, **world.parts))
    world.route.query(plant)
    yield
    world.route.query(mend)
    world.monkeypatch.setattr(world, "found", _now(world.found()))
    child.kill()


def foreign_key(world: World) -> Iterator[None]:
    plant = "create table public.theirs (thing text references moved.things on delete cascade)"
    return _during(world, plant, "drop table public.theirs")


def trigger(world: World) -> Iterator[None]:
    plant = (
        "create function public.watch() returns trigger language plpgsql as 'begin return new; end'; "
        "create trigger watching before insert on moved.things for each row execute function public.watch()"
    )
    return _during(world, plant, "drop trigger watching on moved.things")


def rule(world: World) -> Iterator[None]:
    plant = "create rule never as on delete to moved.things do instead nothing"
    return _during(world, plant, "drop rule never on moved.things")


def policy(world: World) -> Iterator[None]:
    plant = "alter table moved.things enable row level security, force row level security"
    return _during(world, plant, "alter table moved.things no force row level security, disable row level security")


def target_view(world: World) -> Iterator[None]:
    return _during(world, "create view public.looked as select * from moved.things", "drop view public.looked")


def publication(world: World) -> Iterator[None]:
    world.route.query("create publication every for all tables")
    yield
    world.route.query("drop publication every")


def event_trigger(world: World) -> Iterator[None]:
    world.route.query("create function public.look() returns event_trigger language plpgsql as 'begin end'")
    world.route.query("create event trigger looking on ddl_command_end execute function public.look()")
    yield
    world.route.query("drop event trigger looking")


def name_taken(world: World) -> Iterator[None]:
    world.route.query("create schema moved; create table moved.things (mine int)")
    yield
    world.route.query("drop schema moved cascade")


def names(world: World) -> Iterator[None]:
    """Two names of 62 and 63 bytes whose derived names are one; and one that is another stream's table."""
    world.streams["owners"]["table"] = "things__pkey"
    yield
    world.streams["owners"]["table"] = "owners"


def state_taken(world: World) -> Iterator[None]:
    world.route.query("create schema tranship; create table tranship.theirs (mine int)")
    yield
    world.route.query("drop schema tranship cascade")


def state_version(world: World) -> Iterator[None]:
    world.database.others.insert_one({"_id": "a"})
    others = {"others": {"key": {"_id": "text"}}}
    code, said = world.route.tranship("run", world.route.plan(others, name="other", approval=[]))
    assert code == 0, said
    world.route.query("update tranship.version set number = 9999")
    yield
    world.route.query("drop schema tranship cascade")
    world.route.query("drop schema moved cascade")
    world.database.drop_collection("tranship_switches")


def restored(world: World) -> Iterator[None]:
    code, said = world.route.tranship("run", world.route.plan(world.streams, approval=[]))
    assert code == 0, said
    world.route.query("drop schema tranship cascade; drop schema moved cascade")
    yield
    world.database.drop_collection("tranship_switches")


def target_clock(world: World) -> Iterator[None]:
    world.monkeypatch.setattr(surroundings, "time", SimpleNamespace(time=lambda: time.time() + 90))
    yield
    world.monkeypatch.undo()


def wal_level(world: World) -> Iterator[None]:
    """Of a server of its own, set as servers come; the sandbox's is set to `logical`."""
    whole = world.route.environment["TARGET_URI"]
    settings = {**embedded.POSTGRESQL_SETTINGS, "wal_level": "replica"}
    world.monkeypatch.setattr(embedded, "POSTGRESQL_SETTINGS", settings)
    with tempfile.TemporaryDirectory() as folder:
        server = embedded.start_postgresql(Path(folder))
        try:
            wait_until("another PostgreSQL", lambda: postgresql_answers(server.uri), 60)
            world.route.environment["TARGET_URI"] = server.uri
            yield
        finally:
            server.stop()
    world.route.environment["TARGET_URI"] = whole


def slots(world: World) -> Iterator[None]:
    ((most, used),) = world.route.query(
        "select current_setting('max_replication_slots')::int, (select count(*) from pg_replication_slots)"
    )
    names = [f"tranship_test_{number}" for number in range(most - used)]
    for name in names:
        world.route.query("select pg_create_physical_replication_slot(%s)", name)
    yield
    for name in names:
        world.route.query("select pg_drop_replication_slot(%s)", name)


def locale(world: World) -> Iterator[None]:
    """Many machines have no locale but C, and then the server has no other one either."""
    world.monkeypatch.setattr(surroundings, "BYTEWISE", ())
    yield
    world.monkeypatch.undo()


def plan_changed(world: World) -> Iterator[None]:
    child = world.route.run_to_approval(world.route.plan(world.streams))
    world.streams["things"]["columns"] = {**world.streams["things"]["columns"], "more": "text"}
    yield
    world.streams["things"]["columns"] = STREAMS["things"]["columns"]
    world.monkeypatch.setattr(world, "found", _now(world.found()))
    child.kill()


# --- the documents ----------------------------------------------------------------------------------------------------


def _document(world: World, **fields: Any) -> Iterator[None]:
    whole = {"_id": "t100x", "name": "n", "number": 1, "of": "o1"}
    world.database.things.insert_one({**whole, **fields})
    yield
    world.database.things.replace_one({"_id": "t100x"}, whole)


def off_type(world: World) -> Iterator[None]:
    return _document(world, number="seven")


def nul(world: World) -> Iterator[None]:
    return _document(world, name="a\0b")


def misfit(world: World) -> Iterator[None]:
    world.streams["things"]["columns"] = {**STREAMS["things"]["columns"], "day": {"type": "date", "filled": "optional"}}
    return _document(world, day=datetime(2026, 1, 1, 12, tzinfo=UTC))


def index_entry(world: World) -> Iterator[None]:
    return _document(world, name=secrets.token_hex(4000))


def never_filled(world: World) -> Iterator[None]:
    world.streams["things"]["columns"] = {**STREAMS["things"]["columns"], "nmae": "text"}
    yield
    world.streams["things"]["columns"] = STREAMS["things"]["columns"]


def quarantined(world: World) -> Iterator[None]:
    world.database.things.insert_one({"_id": 17, "name": "n", "number": 1, "of": "o1"})
    yield
    world.database.things.delete_one({"_id": 17})


def unfit(world: World) -> Iterator[None]:
    world.streams["things"]["rest"] = "fail"
    return _document(world, number="seven")


def duplicate(world: World) -> Iterator[None]:
    world.database.owners.insert_one({"_id": "twin", "mail": "m1"})
    yield
    world.database.owners.update_one({"_id": "twin"}, {"$set": {"mail": "m99"}})


def dangling(world: World) -> Iterator[None]:
    return _document(world, of="nobody")


HAZARDS: dict[str, Hazard] = {
    "plan.changed": plan_changed,
    "source.unusable": unusable,
    "source.standalone": standalone,
    "source.sharded": sharded,
    "source.secondary": secondary,
    "source.version": old_source,
    "source.missing": no_collection,
    "source.markers": markers,
    "source.view": view,
    "source.timeseries": timeseries,
    "source.capped": capped,
    "source.collation": collation,
    "source.ttl": expiring,
    "source.clustered": clustered,
    "source.long_keys": long_key,
    "source.index": odd_index,
    "source.clock": source_clock,
    "source.oplog_short": short_oplog,
    "source.oplog_unknown": unknown_oplog,
    "source.unreadable": unreadable,
    "source.unwatchable": unwatchable,
    "source.rights_unknown": rights_unknown,
    "source.unwritable": unwritable,
    "target.restored": restored,
    "target.unreachable": unreachable,
    "target.pooler": pooler,
    "target.version": old_target,
    "target.encoding": encoding,
    "target.replication_role": replication_role,
    "target.read_only": read_only,
    "target.identity": identity,
    "target.terminate": terminate,
    "target.role": acting_role,
    "target.sessions": sessions,
    "target.privilege": privilege,
    "target.temporary": temporary,
    "target.foreign_key": foreign_key,
    "target.trigger": trigger,
    "target.rule": rule,
    "target.policy": policy,
    "target.view": target_view,
    "target.publication": publication,
    "target.event_trigger": event_trigger,
    "target.clock": target_clock,
    "target.wal_level": wal_level,
    "target.slots": slots,
    "target.locale": locale,
    "target.name_taken": name_taken,
    "target.names": names,
    "target.state_taken": state_taken,
    "target.state_version": state_version,
    "target.index_entry": index_entry,
    "data.off_type": off_type,
    "data.nul": nul,
    "data.misfit": misfit,
    "data.never_filled": never_filled,
    "data.quarantined": quarantined,
    "data.unfit": unfit,
    "data.duplicate": duplicate,
    "data.dangling": dangling,
}
"""Those that `check` finds."""
