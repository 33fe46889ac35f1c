"""A MongoDB-compatible server that knows users and roles: an administrator, an application, and tranship with the
rights that fences need."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pymongo
import pytest
from pymongo.errors import OperationFailure, WriteError

from tests.integration.private import LAX, PrivateMongo, lax, private_mongo

Document = dict[str, Any]

ROLES = [{"role": "readWrite", "db": "shop"}, {"role": "readWrite", "db": "other"}]
PAGE = Path(__file__).parents[2] / "docs" / "privileges.md"


def _of_the_page() -> list[Document]:
    """The privileges that the page lists for fences."""
    _, _, fences = PAGE.read_text(encoding="utf-8").partition("\n## Fences\n")
    (listed,) = re.findall(r'"privileges": (\[.*?\n  \])', fences.partition("\n## ")[0], re.DOTALL)
    return list(json.loads(listed))


ROLES_FENCE = _of_the_page()
FENCES: list[Document] = [
    *ROLES_FENCE,
    {"resource": {"db": "shop", "collection": ""}, "actions": ["collMod"]},
    {"resource": {"cluster": True}, "actions": ["setUserWriteBlockMode", "bypassWriteBlockingMode"]},
]
ALL = {"read": True, "insert": True, "update": True, "delete": True, "beat": True, "elsewhere": True}
BEHIND_ROLES = ALL | {"insert": False, "update": False, "delete": False}
BEHIND_VALIDATORS = ALL | {"insert": False, "update": False}
_UNAUTHORIZED, _INVALID = 13, 121


class Locked:
    """The server, with a database `shop` and another one."""

    def __init__(self, server: PrivateMongo) -> None:
        self.server = server
        self._opened: list[pymongo.MongoClient[Document]] = []
        self.root = self.client("root", "r")
        self.root.admin.command("createUser", "app", pwd="a", roles=ROLES)
        self.root.admin.command("createRole", "fencer", privileges=FENCES, roles=[{"role": "readWrite", "db": "shop"}])
        self.root.admin.command("createUser", "tranship", pwd="t", roles=["fencer"])
        self.app = self.client("app", "a")

    def allow(self, privileges: list[Document]) -> None:
        """Let tranship do this, beside what `readWrite` on the database allows."""
        self.root.admin.command("updateRole", "fencer", privileges=privileges)

    def close(self) -> None:
        """Close all logins."""
        for client in self._opened:
            client.close()

    def uri(self, user: str, password: str) -> str:
        """The address with a login."""
        return self.server.uri.replace("//", f"//{user}:{password}@") + "&authSource=admin"

    def client(self, user: str, password: str) -> pymongo.MongoClient[Document]:
        """A login."""
        self._opened.append(pymongo.MongoClient(self.uri(user, password)))
        return self._opened[-1]

    def roles(self, user: str = "app") -> list[Document]:
        """A user's roles, as the server tells."""
        found = self.root.admin.command("usersInfo", {"user": user, "db": "admin"})["users"][0]["roles"]
        return sorted(found, key=lambda role: (role["db"] != "shop", role["role"]))

    def made_roles(self) -> list[str]:
        """Roles that tranship has made."""
        found = self.root.admin.command("rolesInfo", 1)["roles"]
        return [one["role"] for one in found if one["role"].startswith("tranship_")]

    def may(self) -> dict[str, bool]:
        """What the application can do, by doing it."""
        shop, other = self.app.shop, self.app.other
        return {
            "read": done(lambda: shop.things.find_one({"_id": 1})),
            "insert": done(lambda: shop.things.insert_one({"_id": "probe"})),
            "update": done(lambda: shop.things.update_one({"_id": "probe"}, {"$inc": {"n": 1}}, upsert=True)),
            "delete": done(lambda: shop.things.delete_many({"_id": "probe"})),
            "beat": done(lambda: shop.tranship_routers.update_one({"_id": "r"}, {"$set": {"a": 1}}, upsert=True)),
            "elsewhere": done(lambda: other.things.insert_one({"at": 1})),
        }


@contextmanager
def locked_mongo(folder: Path) -> Iterator[Locked]:
    """A server with users for the length of the block."""
    with private_mongo(folder, "--auth") as server:
        if lax():
            pytest.skip(f"{LAX} tells nobody his rights, without which no fence by roles is raised")
        with pymongo.MongoClient[Document](server.uri) as first:
            first.admin.command("createUser", "root", pwd="r", roles=["root"])
        made = Locked(server)
        yield made
        made.close()


def done(act: Any) -> bool:
    """Whether the server let it be done."""
    try:
        act()
    except (OperationFailure, WriteError) as error:
        if error.code not in (_UNAUTHORIZED, _INVALID):
            raise
        return False
    return True
