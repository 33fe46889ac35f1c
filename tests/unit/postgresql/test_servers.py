"""How messages name a PostgreSQL server."""

from __future__ import annotations

from pathlib import Path

import pytest

from tranship.connectors.postgresql.servers import NOBODY, Server, server_of
from tranship.plans.addresses import Surroundings, read_address
from tranship.plans.streams import Endpoint


@pytest.fixture(autouse=True)
def _no_defaults(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("PGHOST", "PGHOSTADDR", "PGPORT", "PGDATABASE", "PGSERVICE", "PGUSER"):
        monkeypatch.delenv(name, raising=False)


def named(uri: str) -> str:
    return server_of(Endpoint("postgresql", uri)).names


@pytest.mark.parametrize(
    ("rest", "names"),
    [
        ("u:p@db.example/app", "db.example:5432"),
        ("u:p@one,two:6000/app", "one:5432, two:6000"),
        ("u:p@one:1,two:2/app", "one:1, two:2"),
        ("u:p@[::1]:5/app", "[::1]:5"),
        ("u:p@/app?hostaddr=10.0.0.1", "10.0.0.1:5432"),
        ("/app?host=/run/pg&port=99", "/run/pg/.s.PGSQL.99"),
        ("/app", "the local socket 5432"),
    ],
)
def test_a_server_is_named_by_hosts_and_ports(rest: str, names: str) -> None:
    assert named(f"postgresql://{rest}") == names


@pytest.mark.parametrize(
    "rest",
    [
        "u:hunt@er2@127.0.0.1:1/d",
        "u:hunt/er2@127.0.0.1:1/d",
        "u:12345/er2@127.0.0.1/d",
        "u:hunter2@127.0.0.1:abc/d",
        "u:hunter2%zz@127.0.0.1/d",
        "u:hunter2@[broken",
        "u:hunter2@/d?service=elsewhere",
    ],
)
def test_an_address_that_may_be_split_at_the_wrong_place_is_not_named(rest: str) -> None:
    assert named(f"postgresql://{rest}") == ""


def test_hosts_and_ports_of_the_environment_count(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PGHOST", "elsewhere")
    monkeypatch.setenv("PGPORT", "6000")
    assert named("postgresql:///app") == "elsewhere:6000"


def test_a_secret_that_cannot_be_read_hides_no_other_error(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("sesame")
    address = read_address(
        "postgresql://u:${file:secret}@db.example/app", ("postgresql://",), Surroundings({}, tmp_path)
    )
    endpoint = Endpoint("postgresql", address)
    assert server_of(endpoint).called == "PostgreSQL at db.example:5432"
    secret.unlink()
    assert server_of(endpoint).called == NOBODY.called == "PostgreSQL"


@pytest.mark.parametrize(
    ("said", "kept"),
    [
        ('password authentication failed for user "mover"', "password authentication failed for the URI's user"),
        ('role "mover" does not exist', "the URI's role does not exist"),
        ("Passwort-Authentifizierung für Benutzer »mover« fehlgeschlagen", "the URI's user"),
        ("authentification par mot de passe échouée pour l'utilisateur « mover »", "the URI's user"),
    ],
)
def test_what_a_server_says_is_passed_on_without_the_user(said: str, kept: str) -> None:
    found = Server("db:1", "mover").without_user(said)
    assert kept in found
    assert "mover" not in found
