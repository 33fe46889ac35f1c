"""What both drivers' libpq itself refuses, asked of it: each text is another one in another version."""

from __future__ import annotations

import socket
import socketserver
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from tranship.connectors.errors import ConnectorError, RefusedError
from tranship.connectors.postgresql import connect_schema, connect_target
from tranship.connectors.protocols import Feed, Scope
from tranship.plans.streams import Endpoint

CERTIFICATE = """-----BEGIN CERTIFICATE-----
MIIBdTCCARugAwIBAgIUcn6m7WWO0ntLLgOPWdkuZcxFBRIwCgYIKoZIzj0EAwIw
DzENMAsGA1UEAwwEdGVzdDAgFw0yNjExMjcwNTEyMDdaGA8yMTI2MTEwMzA1MTIw
N1owDzENMAsGA1UEAwwEdGVzdDBZMBMGByqGSM49AgEGCCqGSM49AwEHA0IABDRW
96trRZd8iCWoHBApXQoWgkSqmzNxpm4jyQp3rUZ0iIro34ceF8LHKnODMggF2M20
RMpO7weWwpEWIfJjX5ajUzBRMB0GA1UdDgQWBBSVwo6JUUZlfB5CjWoUGcmd7Jk4
6jAfBgNVHSMEGDAWgBSVwo6JUUZlfB5CjWoUGcmd7Jk46jAPBgNVHRMBAf8EBTAD
AQH/MAoGCCqGSM49BAMCA0gAMEUCIQDC7Hsq+UtOMNH1HPRWUmdCcTNRDdHEfTVh
3/CjojlcvQIgLsCfUiKh4r0714WmYduJUeXAhE2TH9tkTWgqSQbSfjw=
-----END CERTIFICATE-----
"""
"""Of nobody, and its key is thrown away."""

ASKS_FOR_A_PASSWORD = b"R" + (8).to_bytes(4, "big") + (3).to_bytes(4, "big")
SPEAKS_TLS = b"S"


@contextmanager
def saying(words: bytes, folder: Path | None = None) -> Iterator[str]:
    """The part of a URI that leads to a server which answers every greeting with these words, then hangs up."""

    class Handler(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            with suppress(OSError):
                self.request.recv(4096)
                self.request.sendall(words)
                self.request.recv(4096)

    made: socketserver.BaseServer
    if folder is None:
        made = socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler)
        where = f"127.0.0.1:{made.server_address[1]}/d?"
    else:
        made = socketserver.ThreadingUnixStreamServer(str(folder / ".s.PGSQL.5432"), Handler)
        where = f"/d?host={folder}&"
    with made:
        threading.Thread(target=made.serve_forever, args=(0.01,), daemon=True).start()
        yield where
        made.shutdown()


def refusal(address: str) -> set[str]:
    """What psycopg and the Arrow driver are refused with."""
    endpoint = Endpoint("postgresql", f"postgresql://{address}", schema="s", state_schema="t")
    said = set()
    for call in (
        lambda: connect_target(endpoint, [], Scope("shop-1", Feed.FORWARD, 1)),
        lambda: connect_schema(endpoint, []).identity(),
    ):
        with pytest.raises(ConnectorError) as caught:
            call()
        assert type(caught.value) is RefusedError, caught.value
        said.add(str(caught.value).partition(". The system identifier")[0])
    return said


@pytest.mark.parametrize(
    ("words", "login", "options", "what"),
    [
        (
            ASKS_FOR_A_PASSWORD,
            "mover",
            "sslmode=disable&passfile={folder}/none",
            "asks for a password, and there is none",
        ),
        (ASKS_FOR_A_PASSWORD, "mover:sesame", "sslmode=disable&require_auth=scram-sha-256", "require_auth"),
        (ASKS_FOR_A_PASSWORD, "mover:sesame", "sslmode=disable&channel_binding=require", "channel binding"),
        (ASKS_FOR_A_PASSWORD, "mover", "service=mover", "service"),
        (
            SPEAKS_TLS,
            "mover",
            "sslmode=verify-full&sslrootcert={folder}/absent.crt",
            "authority's certificate is missing",
        ),
        (SPEAKS_TLS, "mover", "sslmode=verify-ca&sslrootcert={folder}/nonsense", "holds none that can be read"),
        (SPEAKS_TLS, "mover", "sslmode=require&sslcert={folder}/our.crt&sslkey={folder}/nonsense", "chmod 0600"),
        (SPEAKS_TLS, "mover", "sslmode=require&sslcert={folder}/our.crt&sslkey={folder}/absent", "give sslkey"),
        (SPEAKS_TLS, "mover", "sslmode=require&sslcert={folder}/nonsense&sslkey={folder}/nonsense", "sslcert"),
        (SPEAKS_TLS, "mover", "sslmode=mover", "a value that it cannot have"),
    ],
)
def test_what_libpq_refuses_is_no_outage(words: bytes, login: str, options: str, what: str, tmp_path: Path) -> None:
    (tmp_path / "our.crt").write_text(CERTIFICATE)
    (tmp_path / "nonsense").write_text("nonsense")
    (tmp_path / "nonsense").chmod(0o644)
    with saying(words) as where:
        (said,) = refusal(f"{login}@{where}{options.format(folder=tmp_path)}")
    assert what in said
    assert "not trusted" not in said
    assert not any(secret in said for secret in ("mover", "sesame"))
    assert where.partition("/")[0] in said or "service" in said, "a service may lead elsewhere"


def test_a_server_of_another_user_is_refused(tmp_path: Path) -> None:
    with saying(ASKS_FOR_A_PASSWORD, tmp_path) as where:
        (said,) = refusal(f"{where}requirepeer=nobody-at-all")
    assert "requirepeer" in said
    assert f"{tmp_path}/.s.PGSQL.5432" in said
    assert "nobody-at-all" not in said


def test_all_servers_of_an_address_are_named() -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    address = f"postgresql://mover@127.0.0.1:{port},localhost:{port}/d"
    with pytest.raises(ConnectorError, match=f"PostgreSQL at 127.0.0.1:{port}, localhost:{port} cannot be reached"):
        connect_schema(Endpoint("postgresql", address, schema="s", state_schema="t"), []).identity()
