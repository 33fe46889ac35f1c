"""How messages name a server: by host and port, never by user, password or the rest of its address."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

import psycopg
from psycopg.conninfo import conninfo_to_dict

from tranship.connectors.addresses import address_of
from tranship.connectors.errors import TransientError
from tranship.plans.streams import Endpoint

_HOST = re.compile(r"[\w.:%-]+|[/@][^,@]*")
"""A name, a number, or the folder of a socket."""

_PORT = re.compile(r"\d{1,5}")


@dataclass(frozen=True)
class Server:
    """`names`: hosts and ports, of all that the address lists; empty where they are not known for sure. `user`: who
    logs in, so that it can be left out of what a server says."""

    names: str = ""
    user: str = ""

    @property
    def called(self) -> str:
        """*PostgreSQL at db.example:5432*."""
        return f"PostgreSQL at {self.names}" if self.names else "PostgreSQL"

    def without_user(self, said: str) -> str:
        """What the server said, in whatever language, without the quoted name of who logs in."""
        said = re.sub(r'\b(user|role) "[^"]*"', r"the URI's \1", said)
        if not self.user:
            return said
        return re.sub(rf"[\"'«»„“”‘’「]\s?{re.escape(self.user)}\s?[\"'«»„“”‘’」]", "the URI's user", said)  # noqa: RUF001


NOBODY = Server()
"""A server of which nothing is known."""


def server_of(endpoint: Endpoint) -> Server:
    """The server of an endpoint. Connects to nothing, and fails for no address."""
    try:
        given = conninfo_to_dict(address_of(endpoint))
        defaults = {option.keyword.decode(): option.val for option in psycopg.pq.Conninfo.get_defaults()}
    except (TransientError, psycopg.Error):
        return NOBODY
    return Server(_names({**_texts(defaults), **_texts(given)}), str(given.get("user") or ""))


def _texts(options: dict[str, Any]) -> dict[str, str]:
    return {
        name: value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)
        for name, value in options.items()
        if value
    }


def _names(options: dict[str, str]) -> str:
    # An address that was not percent-encoded is split at the wrong place: host, port or database have a part of the
    # password then, and one of them the "@" that should have ended it.
    if "service" in options or "@" in options.get("dbname", ""):
        return ""
    hosts = (options.get("host") or options.get("hostaddr") or "").split(",")
    ports = (options.get("port") or "5432").split(",")
    ports = ports * len(hosts) if len(ports) == 1 else ports
    if len(ports) != len(hosts) or not all(_PORT.fullmatch(port or "5432") for port in ports):
        return ""
    if not all(_HOST.fullmatch(host or "/") for host in hosts):
        return ""
    return ", ".join(_name(host, port or "5432") for host, port in zip(hosts, ports, strict=True))


def _name(host: str, port: str) -> str:
    if not host:
        return f"the local socket {port}"
    if host.startswith(("/", "@")):
        return f"{host}/.s.PGSQL.{port}"
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
