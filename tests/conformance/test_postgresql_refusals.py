"""PostgreSQL: what no patience mends is refused at once, with its reason; a failing look hides no other."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from tests.conformance.postgresql_world import PostgresWorld
from tests.conformance.target_world import STREAMS
from tranship.connectors.errors import ConnectorError, RefusedError, TransientError
from tranship.connectors.postgresql import connect_schema
from tranship.connectors.postgresql.connections import conninfo
from tranship.plans.streams import Endpoint


def refusal(endpoint: Endpoint, options: str) -> ConnectorError:
    """What a session with these options in its address fails with."""
    uri = endpoint.address
    schema = connect_schema(replace(endpoint, uri=f"{uri}{'&' if '?' in uri else '?'}{options}"), STREAMS)
    try:
        with pytest.raises(ConnectorError) as caught:
            schema.identity()
    finally:
        schema.close()
    return caught.value


@contextmanager
def asking(reply: bytes) -> Iterator[int]:
    """The port of a server that answers each first message with these bytes."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            while True:
                try:
                    peer, _ = server.accept()
                except OSError:
                    return
                with peer:
                    peer.recv(1024)
                    peer.sendall(reply)
                    peer.recv(1024)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield server.getsockname()[1]
        server.shutdown(socket.SHUT_RDWR)
    thread.join()


def test_a_server_that_wants_a_password() -> None:
    """The message of the wire protocol that asks for one in clear text."""
    with asking(b"R\x00\x00\x00\x08\x00\x00\x00\x03") as port:
        endpoint = Endpoint("postgresql", f"postgresql://u@127.0.0.1:{port}/d", schema="s", state_schema="t")
        error = refusal(endpoint, "sslmode=disable&gssencmode=disable")
    assert isinstance(error, RefusedError), error
    assert f"PostgreSQL at 127.0.0.1:{port} is not connected to: the server asks for a password" in str(error)


def test_a_key_that_others_may_read(tmp_path: Path) -> None:
    """libpq looks at it once the server has agreed to TLS."""
    for name, mode in (("client.key", 0o644), ("client.crt", 0o600)):
        (tmp_path / name).write_text("no key")
        (tmp_path / name).chmod(mode)
    with asking(b"S") as port:
        endpoint = Endpoint("postgresql", f"postgresql://u@127.0.0.1:{port}/d", schema="s", state_schema="t")
        files = f"sslkey={tmp_path}/client.key&sslcert={tmp_path}/client.crt"
        error = refusal(endpoint, f"sslmode=require&gssencmode=disable&{files}")
    assert isinstance(error, RefusedError), error
    assert str(tmp_path) not in str(error)


def test_a_server_that_is_away_is_named_without_its_user() -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    address = f"postgresql://somebody:hunter2@127.0.0.1:{port},127.0.0.2:{port}/d"
    error = refusal(Endpoint("postgresql", address, schema="s", state_schema="t"), "connect_timeout=2")
    assert isinstance(error, TransientError)
    assert f"PostgreSQL at 127.0.0.1:{port}, 127.0.0.2:{port} cannot be reached" in str(error)
    assert not any(secret in str(error) for secret in ("somebody", "hunter2"))


def test_a_role_without_usage_is_told_all_there_is(postgres: PostgresWorld) -> None:
    """Not that the server cannot be reached; and what else is wrong is told in the same check."""
    role = f"blind_{postgres.endpoint.schema[-8:]}"
    ((database,),) = postgres.sql("SELECT current_database()")
    postgres.take_over("shop-1")
    postgres.sql("CREATE SCHEMA {shop}")
    postgres.sql(f"CREATE ROLE {role} LOGIN; ALTER ROLE {role} SET session_replication_role = origin")
    postgres.sql(f"REVOKE TEMPORARY ON DATABASE {database} FROM PUBLIC")
    postgres.stack.callback(lambda: postgres.sql(f"DROP OWNED BY {role}; DROP ROLE {role}"))
    postgres.stack.callback(lambda: postgres.sql(f"GRANT TEMPORARY ON DATABASE {database} TO PUBLIC"))
    schema = connect_schema(replace(postgres.endpoint, uri=f"{conninfo(postgres.endpoint)} user={role}"), STREAMS)
    postgres.stack.callback(schema.close)
    found = schema.findings(STREAMS, "shop-1")
    codes = {finding.code for finding in found}
    assert codes >= {"target.privilege", "target.temporary"}, found
    assert "target.unreachable" not in codes
    assert any("permission denied for schema" in finding.message for finding in found)


@pytest.mark.parametrize(("setting", "said"), [("on", "default_transaction_read_only is on"), ("off", None)])
def test_a_role_that_only_reads_by_default_is_no_standby(
    postgres: PostgresWorld, setting: str, said: str | None
) -> None:
    role = f"timid_{postgres.endpoint.schema[-8:]}"
    postgres.sql(f"CREATE ROLE {role} LOGIN SUPERUSER; ALTER ROLE {role} SET default_transaction_read_only = {setting}")
    postgres.stack.callback(lambda: postgres.sql(f"DROP OWNED BY {role}; DROP ROLE {role}"))
    schema = connect_schema(replace(postgres.endpoint, uri=f"{conninfo(postgres.endpoint)} user={role}"), STREAMS)
    postgres.stack.callback(schema.close)
    found = [one for one in schema.findings(STREAMS, "") if one.code == "target.read_only"]
    assert [said in one.message for one in found] == ([True] if said else [])
    assert not any("standby" in one.message for one in found)
