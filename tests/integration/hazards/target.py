"""Hazards of the target, and of a plan that was changed."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from urllib.parse import urlsplit

import psycopg
from psycopg import sql

from tests.integration.hazards.world import STREAMS, World
from tranship.connectors.postgresql import preflight, surroundings
from tranship.connectors.protocols import Finding
from tranship.orchestrator.sandbox import embedded
from tranship.orchestrator.sandbox.readiness import postgresql_answers, wait_until


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
    world.route.query(plant)
    yield
    world.route.query(mend)


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
    """Of a server as servers come; the sandbox's is set to `logical`."""
    with _of_its_own(world, wal_level="replica"):
        yield


def prepared(world: World) -> Iterator[None]:
    """By default a server allows none."""
    with _of_its_own(world, max_prepared_transactions="1") as uri:
        with psycopg.connect(uri, autocommit=True) as connection:
            for statement in ("BEGIN", "SELECT pg_current_xact_id()", "PREPARE TRANSACTION 'left'"):
                connection.execute(statement)
        yield


@contextmanager
def _of_its_own(world: World, **settings: str) -> Iterator[str]:
    """A server with other settings, as the target."""
    whole = world.route.environment["TARGET_URI"]
    world.monkeypatch.setattr(embedded, "POSTGRESQL_SETTINGS", {**embedded.POSTGRESQL_SETTINGS, **settings})
    with tempfile.TemporaryDirectory() as folder:
        server = embedded.start_postgresql(Path(folder))
        try:
            wait_until("another PostgreSQL", lambda: postgresql_answers(server.uri), 60)
            world.route.environment["TARGET_URI"] = server.uri
            yield server.uri
        finally:
            server.stop()
            world.monkeypatch.undo()
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
    world.streams["things"]["columns"] = {**world.streams["things"]["columns"], "more": "text"}
    yield
    world.streams["things"]["columns"] = STREAMS["things"]["columns"]
