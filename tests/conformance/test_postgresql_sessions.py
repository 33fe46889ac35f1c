"""PostgreSQL: takeover, lost connections, installation, errors."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict
from sqlalchemy import text

from tests.conformance.postgresql_world import PostgresWorld
from tests.conformance.target_world import LANES, ORDERS, STREAMS, Migration, batch, key, order
from tranship.connectors.batch import Batch
from tranship.connectors.errors import (
    AmbiguousCommitError,
    ConnectorError,
    EpochMovedError,
    NotOursError,
    RefusedError,
    TransientError,
)
from tranship.connectors.postgresql import SITES, connect_progress, connect_schema, connect_target, connections, epoch
from tranship.connectors.postgresql.connections import PATIENCE, conninfo, engine
from tranship.connectors.postgresql.datasessions import DataSession
from tranship.connectors.postgresql.errors import translate
from tranship.connectors.postgresql.sessions import ControlSessions
from tranship.connectors.postgresql.state import (
    STATE_VERSION,
    check_epoch,
    drop_state,
    install_state,
    terminate_backends,
)
from tranship.connectors.postgresql.upgrades import OLDEST
from tranship.connectors.protocols import Changes, Feed, Position, Scope
from tranship.plans.streams import Endpoint

PATIENCE_S = 30.0


@pytest.fixture
def migration(postgres: PostgresWorld) -> Migration:
    return Migration(postgres)


class Stopped:
    """A thread that stops inside a transaction, at a hook, until it is let go: like a process under SIGSTOP."""

    def __init__(self, site: str) -> None:
        self.site = site
        self.reached = threading.Event()
        self.go_on = threading.Event()
        self.outcome: BaseException | None = None

    def hook(self, site: str) -> None:
        if site == self.site:
            self.reached.set()
            assert self.go_on.wait(PATIENCE_S)

    def start(self, work: Callable[[], object]) -> threading.Thread:
        def run() -> None:
            try:
                work()
            except ConnectorError as error:
                self.outcome = error

        thread = threading.Thread(target=run)
        thread.start()
        assert self.reached.wait(PATIENCE_S)
        return thread


# --- settings that are meant for applications -------------------------------------------------------------------------


def _impatient(postgres: PostgresWorld) -> dict[str, int]:
    """Timeouts (in milliseconds) that the sessions of this role have from now on."""
    timeouts = {"statement_timeout": 100, "idle_in_transaction_session_timeout": 100, "transaction_timeout": 200}
    known = [name for (name,) in postgres.sql("SELECT name FROM pg_settings")]
    timeouts = {name: value for name, value in timeouts.items() if name in known}  # the last since PostgreSQL 17
    postgres.configure(**timeouts)
    return timeouts


def test_timeouts_of_the_role_end_no_index_build(postgres: PostgresWorld, migration: Migration) -> None:
    """A concurrent build has several transactions of its own, so only the session's settings count."""
    timeouts = _impatient(postgres)
    sessions = ControlSessions(postgres.endpoint)
    postgres.stack.callback(sessions.close)
    with sessions.plain(migration.scope) as connection:
        found = {name: connection.exec_driver_sql(f"SHOW {name}").scalar() for name in timeouts}
    assert found == dict.fromkeys(timeouts, "0")


def test_timeouts_of_the_role_end_no_load(postgres: PostgresWorld) -> None:
    timeouts = _impatient(postgres)
    migration = Migration(postgres)
    (mark,) = migration.begin()

    def slowly() -> Iterator[Batch]:
        for number in (1, 2):
            with psycopg.connect(conninfo(postgres.endpoint), autocommit=True) as other:
                for name in timeouts:
                    other.execute(f"SET {name} = 0")
                other.execute("SELECT pg_sleep(0.4)")
            yield batch([order(number)])

    migration.target.load(ORDERS, slowly(), mark)
    assert migration.numbers() == [1, 2]


def test_a_stopped_reader_holds_up_no_index_build(postgres: PostgresWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    """A transaction that waits for its process keeps the snapshot of its last SELECT; takeover ends writers only."""
    monkeypatch.setattr(connections, "CONTROL_IDLE_S", 1)
    migration = Migration(postgres)
    sessions = ControlSessions(postgres.endpoint)
    postgres.stack.callback(sessions.close)

    built: list[list[str]] = []

    def stopped() -> None:
        with sessions.read() as connection:
            look = text("SELECT CAST(:n AS int)")
            connection.execute(look, {"n": 1}).all()
            migration.schema.create_constraints(migration.scope, STREAMS)
            built.append(migration.schema.constraint_differences(STREAMS))
            connection.execute(look, {"n": 2}).all()

    with pytest.raises(TransientError):
        stopped()
    assert built == [[]]


# --- touched keys -----------------------------------------------------------------------------------------------------


def touched_keys(migration: Migration) -> list[bytes]:
    return [one.key for one in migration.progress.touched(migration.scope, ORDERS, None, 9)]


def test_a_key_is_not_forgotten_while_it_is_applied(
    postgres: PostgresWorld, migration: Migration, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else reconcile could compare the row as it was, and the cutover would not know that it has changed since."""
    migration.load([order(1)])
    migration.change(1)
    mark, dirty = migration.take_one()
    migration.target.replace(ORDERS, dirty, batch([order(1)]), [mark])
    assert touched_keys(migration) == [key(1)]

    noted = migration.progress.touched(migration.scope, ORDERS, None, 9)
    migration.change(1)
    ((again, changed),) = migration.take()
    stopped = Stopped("replace.before_commit")
    target = postgres.target(migration.scope, stopped.hook)
    thread = stopped.start(lambda: target.replace(ORDERS, changed, batch([order(1, status="new")]), [again]))
    monkeypatch.setitem(connections.PINNED, "lock_timeout", "100")
    try:
        with pytest.raises(TransientError):
            postgres.progress().forget_touched(migration.scope)
        # What is known as touched is not yet committed, and must not be forgotten for what it was before.
        with pytest.raises(TransientError):
            postgres.progress().forget_equal(migration.scope, ORDERS, noted)
    finally:
        stopped.go_on.set()
        thread.join()
    assert stopped.outcome is None
    assert migration.progress.forget_equal(migration.scope, ORDERS, noted) == 0
    assert touched_keys(migration) == [key(1)]
    migration.progress.forget_touched(migration.scope)
    assert touched_keys(migration) == []


# --- takeover ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("site", [site for site in SITES if site.startswith("load") and "after" not in site])
def test_takeover_is_not_blocked_by_a_load_that_is_stopped(
    postgres: PostgresWorld, migration: Migration, site: str
) -> None:
    (mark,) = migration.begin()
    stopped = Stopped(site)
    target = postgres.target(migration.scope, stopped.hook)
    thread = stopped.start(lambda: target.load(ORDERS, [batch([order(1)])], mark))
    assert postgres.take_over(migration.scope.run) == migration.scope.epoch + 1
    stopped.go_on.set()
    thread.join()
    # COMMIT finds no session: whether it was done is for the mark to say, and the mark says no.
    assert isinstance(stopped.outcome, TransientError | AmbiguousCommitError)
    after = Migration(postgres)
    assert after.numbers() == []
    assert [chunk.state for chunk in after.progress.chunks(after.scope, ORDERS)] == ["pending"]
    # The same object cannot come back: its session is refused under the old epoch.
    with pytest.raises(EpochMovedError):
        target.load(ORDERS, [batch([order(1)])], mark)


@pytest.mark.parametrize("site", ["keep.before_position", "keep.before_commit"])
def test_takeover_is_not_blocked_by_a_capture_that_is_stopped(
    postgres: PostgresWorld, migration: Migration, site: str
) -> None:
    stopped = Stopped(site)
    progress = postgres.progress(stopped.hook)
    changes = Changes((("orders", key(1)),), Position(b"late"))
    thread = stopped.start(lambda: progress.keep(migration.scope, changes))
    epoch = postgres.take_over(migration.scope.run)
    stopped.go_on.set()
    thread.join()
    assert isinstance(stopped.outcome, ConnectorError)
    scope = replace(migration.scope, epoch=epoch)
    assert postgres.progress().position(scope) == Position(b"first")
    assert postgres.progress().backlog(scope).dirty == 0


def test_takeover_ends_an_unrecorded_session_that_holds_the_epoch(
    postgres: PostgresWorld, migration: Migration
) -> None:
    with postgres.engine.connect() as connection:
        check_epoch(connection, postgres.tables, migration.scope.run, migration.scope.epoch)
        # ... and then its process is stopped, for ever.
        assert postgres.take_over(migration.scope.run) == migration.scope.epoch + 1
        connection.invalidate()


def test_takeover_leaves_other_runs_alone(postgres: PostgresWorld, migration: Migration) -> None:
    other = Scope("other-1", Feed.FORWARD, postgres.take_over("other-1"))
    target = postgres.target(other)
    (before,) = _pids(postgres, other)
    postgres.take_over(migration.scope.run)
    assert target.read_keys(ORDERS, [key(1)]).rows.num_rows == 0
    assert _pids(postgres, other) == {before}


def test_a_session_is_recorded_before_it_writes(postgres: PostgresWorld, migration: Migration) -> None:
    known = _pids(postgres, migration.scope)
    postgres.target(migration.scope)
    assert len(_pids(postgres, migration.scope) - known) == 1
    postgres.take_over(migration.scope.run)
    assert _pids(postgres, migration.scope) == set()
    with pytest.raises(EpochMovedError):
        postgres.target(migration.scope)
    with pytest.raises(EpochMovedError):
        postgres.progress().start_capture(migration.scope, Position(b"x"), LANES)


def test_somebody_elses_lock_on_the_epoch_is_named_and_not_ended(
    postgres: PostgresWorld, migration: Migration, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(epoch, "BUMP_TRIES", 2)
    session = postgres.session()
    pid = session.info.backend_pid
    with session.transaction():
        session.execute(postgres.named("SELECT * FROM {state}.epoch FOR SHARE").encode())
        with pytest.raises(TransientError, match=rf"locked by another session: shop \(process {pid}\)"):
            postgres.take_over(migration.scope.run)
        assert session.execute("SELECT pg_backend_pid()").fetchone() == (pid,)
    assert postgres.take_over(migration.scope.run) == migration.scope.epoch + 1


@pytest.mark.parametrize(
    ("name", "started"),
    [
        ("shop", "now() - interval '1 day'"),  # its process id was that of a session of ours, a day ago
        ("tranship 0123456789abcdef", "backend_start"),  # a pooler gave it the session that was ours
    ],
)
def test_a_session_that_is_not_ours_any_more_is_left_alone(
    postgres: PostgresWorld, migration: Migration, name: str, started: str
) -> None:
    session = postgres.session()
    _record(postgres, migration.scope, session.info.backend_pid, name, started)
    with postgres.engine.begin() as connection:
        terminate_backends(connection, postgres.tables, migration.scope.run)
    assert session.execute("SELECT 1").fetchone() == (1,)


def test_a_session_of_another_role_is_known_and_ended_only_with_the_right_to(postgres: PostgresWorld) -> None:
    """A role sees of other roles' sessions neither when they began nor what they do, but their names."""
    old, new = postgres.role(), postgres.role()
    scope = Scope("other-1", Feed.FORWARD, postgres.take_over("other-1"))
    session = connections.connect(old, autocommit=True)
    postgres.stack.enter_context(closing(session))
    pid, name = session.info.backend_pid, session.info.parameter_status("application_name") or ""
    _record(postgres, scope, pid, name, "backend_start")
    taker = engine(new)
    postgres.stack.callback(taker.dispose)
    with pytest.raises(RefusedError, match="GRANT pg_signal_backend"), taker.begin() as connection:
        terminate_backends(connection, postgres.tables, scope.run)
    assert session.execute("SELECT 1").fetchone() == (1,)
    postgres.sql(f"GRANT pg_signal_backend TO {conninfo_to_dict(new.uri)['user']}")
    with taker.begin() as connection:
        terminate_backends(connection, postgres.tables, scope.run)
    with pytest.raises(psycopg.OperationalError):
        session.execute("SELECT 1")


def _record(postgres: PostgresWorld, scope: Scope, pid: int, name: str, started: str) -> None:
    """Put a session on record as one of the run's."""
    postgres.sql(
        "INSERT INTO {state}.backend (run, epoch, pid, name, started) "
        f"SELECT '{scope.run}', {scope.epoch}, pid, '{name}', {started} FROM pg_stat_activity WHERE pid = {pid}"
    )


def test_a_session_behind_a_pooler_is_never_recorded(
    postgres: PostgresWorld, migration: Migration, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else the next takeover would end sessions that serve applications by then."""
    before = postgres.sql("SELECT pid FROM {state}.backend ORDER BY pid")
    migration.load([order(1)])
    migration.change(1)
    scope = Scope(migration.scope.run, migration.scope.feed, migration.scope.epoch)
    with monkeypatch.context() as patch:
        # As PgBouncer does, each client is told a number of its own instead of the process id on the server.
        patch.setattr(psycopg.ConnectionInfo, "backend_pid", 4711)
        with pytest.raises(RefusedError, match="pooler"):
            postgres.progress().mark_dirty(scope, [("orders", key(1))])
        with pytest.raises(RefusedError, match="pooler"):
            postgres.target(scope, lambda _site: None)
    assert set(before) <= set(postgres.sql("SELECT pid FROM {state}.backend ORDER BY pid"))
    assert 4711 not in _pids(postgres, scope)


def _pids(postgres: PostgresWorld, scope: Scope) -> set[int]:
    rows = postgres.sql(f"SELECT pid FROM {{state}}.backend WHERE run = '{scope.run}' AND epoch = {scope.epoch}")
    return {row[0] for row in rows}


# --- lost connections -------------------------------------------------------------------------------------------------


def _cut(postgres: PostgresWorld, scope: Scope) -> Callable[[], None]:
    """Ends the target's session, as a network failure would."""

    def cut() -> None:
        for pid in _pids(postgres, scope):
            postgres.sql(f"SELECT pg_terminate_backend({pid}, 5000)")

    return cut


@pytest.mark.parametrize(
    ("site", "expected"),
    [
        ("replace.before_delete", TransientError),
        ("replace.before_mark", TransientError),
        ("replace.before_epoch", TransientError),
        ("replace.before_commit", AmbiguousCommitError),
    ],
)
def test_a_lost_connection_is_told_by_when_it_was_lost(
    postgres: PostgresWorld, migration: Migration, site: str, expected: type[ConnectorError]
) -> None:
    migration.load([order(1)])
    migration.change(1)
    taken = migration.take_one()
    cut = _cut(postgres, migration.scope)
    target = postgres.target(migration.scope, lambda reached: cut() if reached == site else None)
    mark, dirty = taken
    with pytest.raises(expected):
        target.replace(ORDERS, dirty, batch([]), [mark])
    assert migration.take_one() == taken
    calm = postgres.target(migration.scope)
    assert calm.replace(ORDERS, dirty, batch([]), [mark]) == 1


def test_a_target_reconnects_by_itself(postgres: PostgresWorld, migration: Migration) -> None:
    migration.load([order(1)])
    _cut(postgres, migration.scope)()
    assert migration.target.read_keys(ORDERS, [key(1)]).rows.num_rows == 1


def test_a_keep_whose_commit_was_cut_off_is_ambiguous(postgres: PostgresWorld, migration: Migration) -> None:
    cut = _cut(postgres, migration.scope)
    progress = postgres.progress(lambda reached: cut() if reached == "keep.before_commit" else None)
    with pytest.raises(ConnectorError) as caught:
        progress.keep(migration.scope, Changes((), Position(b"x")))
    assert isinstance(caught.value, TransientError | AmbiguousCommitError)
    assert progress.position(migration.scope) == Position(b"first")


def test_who_only_reads_is_neither_recorded_nor_refused(postgres: PostgresWorld, migration: Migration) -> None:
    migration.load([order(1)])
    recorded = postgres.sql("SELECT count(*) FROM {state}.backend")
    session = DataSession(postgres.endpoint, migration.scope.reading)
    postgres.stack.callback(session.close)
    who = "SELECT pg_backend_pid() AS pid, current_setting('idle_in_transaction_session_timeout') AS idle"
    with session.read():
        before = session.run(who).to_pylist()
    assert postgres.sql("SELECT count(*) FROM {state}.backend") == recorded
    assert before[0]["idle"] == "1min", "nobody ends it, so it may not hold up others for long"
    postgres.take_over(migration.scope.run)
    with session.read():
        assert session.run(who).to_pylist() == before
    reader = postgres.target(migration.scope.reading)
    assert reader.read_keys(ORDERS, [key(1)]).rows.num_rows == 1


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("postgresql://nobody@127.0.0.1:1/x?connect_timeout=2", TransientError),
        ("postgresql://secret-user:secret-word@[broken", RefusedError),
        ("postgresql://secret-user:secret-word@/postgres?nonsense=1", RefusedError),
    ],
)
def test_a_bad_address_is_told_without_its_secrets(address: str, expected: type[ConnectorError]) -> None:
    endpoint = Endpoint("postgresql", address, schema="shop", state_schema="tranship")
    scope = Scope("shop-1", Feed.FORWARD, 1)
    calls: list[Callable[[], object]] = [
        lambda: connect_target(endpoint, STREAMS, scope),
        lambda: connect_progress(endpoint, STREAMS).position(scope),
        lambda: connect_schema(endpoint, STREAMS).identity(),
    ]
    for call in calls:
        with pytest.raises(expected) as caught:
            call()
        assert "secret" not in str(caught.value)
        assert caught.value.__cause__ is None
    (finding,) = connect_schema(endpoint, STREAMS).findings(STREAMS, "shop-1")
    assert (finding.code, finding.severity) == ("target.unreachable", "error")


@pytest.mark.parametrize("wrong", ["user=nobody_at_all", "dbname=no_such_database"])
def test_a_refused_login_is_refused(postgres: PostgresWorld, wrong: str) -> None:
    endpoint = replace(postgres.endpoint, uri=psycopg.conninfo.make_conninfo(postgres.endpoint.uri, **_option(wrong)))
    with pytest.raises(RefusedError, match="does not exist"):
        connect_target(endpoint, STREAMS, Scope("shop-1", Feed.FORWARD, 1))
    with pytest.raises(RefusedError, match="does not exist"):
        connect_schema(endpoint, STREAMS).identity()


def test_a_server_that_says_nothing_is_not_waited_for() -> None:
    """As behind a firewall that drops packets. The limit is ours unless the URI has one."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = f"postgresql://a@127.0.0.1:{silent.getsockname()[1]}/d"
        endpoint = Endpoint("postgresql", f"{address}?connect_timeout=2", schema="s", state_schema="t")
        for call in (
            lambda: connect_target(endpoint, STREAMS, Scope("shop-1", Feed.FORWARD, 1)),
            lambda: connect_schema(endpoint, STREAMS).identity(),
        ):
            with pytest.raises(TransientError, match="cannot be reached"):
                call()
    chosen, ours = (conninfo_to_dict(conninfo(replace(endpoint, uri=uri))) for uri in (endpoint.uri, address))
    name = chosen["application_name"]  # each session has one of its own
    assert {**ours, "connect_timeout": "2", "application_name": name} == chosen
    assert PATIENCE.items() <= ours.items()


def _option(text: str) -> dict[str, str]:
    name, _, value = text.partition("=")
    return {name: value}


@pytest.mark.parametrize(
    ("fatal", "expected"),
    [
        ("the database system is starting up", TransientError),
        ("the database system is shutting down", TransientError),
        ("the database system is in recovery mode", TransientError),
        ("sorry, too many clients already", TransientError),
        ("remaining connection slots are reserved for roles with the SUPERUSER attribute", TransientError),
        ("le système de bases de données se lance", TransientError),
        ("das Datenbanksystem startet", TransientError),
        ('password authentication failed for user "x"', RefusedError),
        ('database "x" does not exist', RefusedError),
        ('role "x" is not permitted to log in', RefusedError),
        ('no pg_hba.conf entry for host "::1", user "x", database "y", no encryption', RefusedError),
    ],
)
def test_what_the_server_says_at_connect(fatal: str, expected: type[ConnectorError]) -> None:
    text = f'connection failed: connection to server at "h", port 5432 failed: FATAL:  {fatal}\nmore'
    assert isinstance(translate(psycopg.OperationalError(text)), expected)


@pytest.mark.parametrize(
    ("address", "expected", "what"),
    [
        ("u:hunt/er2@127.0.0.1:1/d", RefusedError, "%2F"),
        ("u:hunter2%zz@127.0.0.1:1/d", RefusedError, "%25"),
        ("u:hunter2@127.0.0.1:99999/d", RefusedError, "a port is a number"),
        ("u:hunter2@127.0.0.1:abc/d", RefusedError, "a port is a number"),
        ("u:hunt@er2@127.0.0.1:1/d", TransientError, "%40"),
        ("u:hunter2@nosuch.invalid/d", TransientError, "no address"),
    ],
)
def test_an_address_that_leads_nowhere_is_explained(address: str, expected: type[ConnectorError], what: str) -> None:
    endpoint = Endpoint("postgresql", f"postgresql://{address}", schema="s", state_schema="t")
    for call in (
        lambda: connect_target(endpoint, STREAMS, Scope("shop-1", Feed.FORWARD, 1)),
        lambda: connect_schema(endpoint, STREAMS).identity(),
    ):
        with pytest.raises(ConnectorError, match=what) as caught:
            call()
        assert not any(part in str(caught.value) for part in ("hunt", "er2", "u:"))
        assert ("PostgreSQL at nosuch.invalid:5432" in str(caught.value)) is ("nosuch" in address)
        assert isinstance(caught.value, expected)


def test_a_server_without_tls_is_told_from_one_that_is_away() -> None:
    text = 'connection to server at "h", port 5432 failed: server does not support SSL, but SSL was required'
    assert "sslmode" in str(translate(psycopg.OperationalError(f"connection failed: {text}")))


def test_messages_hold_no_values(postgres: PostgresWorld) -> None:
    postgres.sql("CREATE SCHEMA {shop}")
    postgres.sql("CREATE TABLE {shop}.t (a int PRIMARY KEY)")
    made = engine(postgres.endpoint)
    postgres.stack.callback(made.dispose)
    for statement in ("SELECT 'hidden'::int", "INSERT INTO {shop}.t VALUES (424242), (424242)"):
        with made.connect() as connection, pytest.raises(Exception, match=r"hidden|424242") as caught:
            connection.exec_driver_sql(postgres.named(statement))
        message = str(translate(caught.value))
        assert "hidden" not in message
        assert "424242" not in message


# --- installation -----------------------------------------------------------------------------------------------------


def test_the_state_is_installed_once(postgres: PostgresWorld) -> None:
    install_state(postgres.endpoint)
    assert postgres.sql("SELECT number, made_schema FROM {state}.version") == [(STATE_VERSION, True)]


def test_a_state_without_a_ledgers_notes_gets_them(postgres: PostgresWorld) -> None:
    """And keeps its functions: making them again would be refused."""
    postgres.sql("DROP TABLE {state}.note; UPDATE {state}.version SET number = 6")
    install_state(postgres.endpoint)
    assert postgres.sql("SELECT number FROM {state}.version") == [(STATE_VERSION,)]
    assert postgres.sql("SELECT * FROM {state}.note") == []


@pytest.mark.parametrize(("other", "said"), [(STATE_VERSION + 1, "a newer"), (OLDEST - 1, "an earlier")])
def test_a_state_of_another_version_is_refused(postgres: PostgresWorld, other: int, said: str) -> None:
    postgres.sql(f"UPDATE {{state}}.version SET number = {other}")
    with pytest.raises(RefusedError, match=said):
        install_state(postgres.endpoint)
    for found in (postgres.schema().findings(STREAMS, "shop-1"), postgres.schema().may_write()):
        assert [finding.code for finding in found] == ["target.state_version"]


def test_somebody_elses_schema_is_no_state_schema(postgres: PostgresWorld) -> None:
    postgres.sql("CREATE SCHEMA {shop}")
    postgres.sql("CREATE TABLE {shop}.precious (a int)")
    endpoint = replace(postgres.endpoint, schema="elsewhere", state_schema=postgres.endpoint.schema)
    for call in (install_state, drop_state):
        with pytest.raises(NotOursError):
            call(endpoint)
    with_state_there = connect_schema(endpoint, STREAMS)
    postgres.stack.callback(with_state_there.close)
    assert [finding.code for finding in with_state_there.findings(STREAMS, "shop-1")] == ["target.state_taken"]
    assert postgres.sql("SELECT count(*) FROM {shop}.precious") == [(0,)]


def test_the_state_stays_where_a_run_has_begun_meanwhile(postgres: PostgresWorld) -> None:
    assert drop_state(postgres.endpoint, unfinished=lambda: ["shop-1"]) == ["shop-1"]
    assert postgres.sql("SELECT count(*) FROM {state}.version") == [(1,)]


def test_the_state_is_removed(postgres: PostgresWorld) -> None:
    drop_state(postgres.endpoint)
    drop_state(postgres.endpoint)
    found = f"SELECT 1 FROM pg_namespace WHERE nspname = '{postgres.endpoint.state_schema}'"
    assert postgres.sql(found) == []
    postgres.sql("CREATE SCHEMA {state}")
    install_state(postgres.endpoint)
    drop_state(postgres.endpoint)
    assert postgres.sql(found) == [(1,)]
    assert postgres.sql("SELECT count(*) FROM pg_class WHERE relnamespace = '{state}'::regnamespace") == [(0,)]


@pytest.mark.parametrize(
    ("address", "attributes"),
    [
        ("postgresql://a@one,two/d", "read-write"),
        ("postgresql://a@one,two/d?target_session_attrs=any", "any"),
        ("postgresql://a@one/d", None),
    ],
)
def test_of_several_hosts_the_primary_is_chosen(address: str, attributes: str | None) -> None:
    found = conninfo_to_dict(conninfo(Endpoint("postgresql", address, schema="s", state_schema="t")))
    assert found.get("target_session_attrs") == attributes
