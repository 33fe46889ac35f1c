"""Where hazards are planted: a route of its own, whose source can be answered for."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

import pymongo
import pytest

from tests.integration.route import Route
from tranship.connectors.protocols import Finding
from tranship.orchestrator.engine.session import open_session
from tranship.orchestrator.reports.checked import outlook
from tranship.plans import load

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
