"""What our own user may not do of what a fence needs (`docs/privileges.md`), by what the server tells of it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from typing import Any

from pymongo import MongoClient
from pymongo.errors import OperationFailure

from tranship.connectors.mongodb.rights import told_privileges, untold

Document = dict[str, Any]
Right = tuple[str, str]
"""An action, and the database it is needed on: "" stands for all of them, `CLUSTER` for none."""

CLUSTER = "the cluster"


class OwnRights:
    """Asked once. On a server without users everybody may do everything."""

    def __init__(self, client: MongoClient[Document]) -> None:
        status = client.admin.command("connectionStatus", showPrivileges=True)
        self._users = bool(status["authInfo"].get("authenticatedUsers"))
        self._may = set(_allowed(_privileges(client, status)))

    def lacking(self, rights: Sequence[Right]) -> list[str]:
        """Which of these our user has not, in words."""
        if not self._users:
            return []
        if not self._may:
            return ["the server does not tell what our user may do (docs/privileges.md)"]
        missing = [(action, place) for action, place in rights if not _known(action, place) & self._may]
        return [
            f"our user may not {action} on {place or 'all databases'} (docs/privileges.md)"
            for action, place in dict.fromkeys(missing)
        ]


def _privileges(client: MongoClient[Document], status: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    user, info = untold(status), None
    if user is not None:
        with suppress(OperationFailure):  # not every server lets a user ask about itself
            info = client.admin.command("usersInfo", dict(user), showPrivileges=True)
    return told_privileges(status, info)


def _known(action: str, place: str) -> set[Right]:
    everywhere = {(action, CLUSTER)} if place == CLUSTER else {(action, place), (action, "")}
    return everywhere | {("anyAction", CLUSTER)}


def _allowed(privileges: Sequence[Mapping[str, Any]]) -> Iterator[Right]:
    for privilege in privileges:
        resource, actions = privilege["resource"], privilege["actions"]
        if resource.get("anyResource"):
            yield from ((action, place) for action in actions for place in ("", CLUSTER))
        elif resource.get("cluster"):
            yield from ((action, CLUSTER) for action in actions)
        elif not resource.get("collection"):
            yield from ((action, resource["db"]) for action in actions)
