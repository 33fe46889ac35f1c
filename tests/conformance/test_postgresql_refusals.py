"""PostgreSQL: what no patience mends is refused at once, with its reason; a failing look hides no other."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import psycopg
import pytest

from tests.conformance.postgresql_world import PostgresWorld
from tests.conformance.target_world import STREAMS
from tranship.connectors.errors import ConnectorError, RefusedError, TransientError
from tranship.connectors.postgresql import connect_schema
from tranship.connectors.postgresql.connections import conninfo
from tranship.connectors.postgresql.errors import translate
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


@pytest.mark.parametrize(
    ("options", "what"),
    [
        ("service=nowhere", "the service that the address names is defined nowhere"),
        ("require_auth=scram-sha-256", "does not authenticate as require_auth wants it"),
        ("sslmode=require&sslrootcert=system", "asks for sslmode=verify-full"),
    ],
)  # fmt: skip
def test_what_the_client_itself_refuses(postgres: PostgresWorld, options: str, what: str) -> None:
    error = refusal(postgres.endpoint, options)
    assert isinstance(error, RefusedError), error
    assert what in str(error)


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


def test_an_authority_whose_file_is_not_there_is_not_called_untrusted() -> None:
    with asking(b"S") as port:
        endpoint = Endpoint("postgresql", f"postgresql://u@127.0.0.1:{port}/d", schema="s", state_schema="t")
        error = refusal(endpoint, "gssencmode=disable&sslmode=verify-full&sslrootcert=/nowhere/root.crt")
    assert isinstance(error, RefusedError), error
    assert "sslrootcert (by default ~/.postgresql/root.crt) names a file that is not there" in str(error)
    assert "nowhere" not in str(error)


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


@pytest.mark.parametrize(
    ("text", "what"),
    [
        (
            'connection to server at "h", port 1 failed: private key file "/secret" has group or world access; '
            "file must have permissions u=rw (0600) or less if owned by the current user",
            "chmod 600",
        ),
        (
            'connection to server on socket "/s" failed: requirepeer specifies "postgres", but actual peer user name '
            'is "mallory"',
            "requirepeer",
        ),
        ('connection to server at "h", port 1 failed: fe_sendauth: no password supplied', "asks for a password"),
        (
            'connection to server at "h", port 1 failed: root certificate file "/secret" does not exist\nEither '
            "provide the file, use the system's trusted roots",
            "sslrootcert",
        ),
    ],
)
def test_what_libpq_says_in_our_words(text: str, what: str) -> None:
    """The texts are those of libpq's source (fe-auth.c, fe-connect.c, fe-secure-openssl.c)."""
    error = translate(psycopg.OperationalError(f"connection failed: {text}"), "h:1")
    assert isinstance(error, RefusedError)
    assert what in str(error)
    assert not any(secret in str(error) for secret in ("mallory", "/secret"))


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
