"""What our own user may not do of what a fence needs (`docs/privileges.md`), by what the server tells of it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from pymongo import MongoClient

from tranship.connectors.mongodb.rights import told_privileges, untold

Document = dict[str, Any]
Right = tuple[str, str]
"""An action, and the database it is needed on: "" stands for all of them, `CLUSTER` for none."""

CLUSTER = "the cluster"


def lacking(client: MongoClient[Document], rights: Sequence[Right]) -> list[str]:
    """In words; empty on a server without users, which lets everybody do everything."""
    status = client.admin.command("connectionStatus", showPrivileges=True)
    if not status["authInfo"].get("authenticatedUsers"):
        return []
    user = untold(status)
    info = client.admin.command("usersInfo", dict(user), showPrivileges=True) if user else None
    may = set(_allowed(told_privileges(status, info)))
    missing = [(action, place) for action, place in rights if not _known(action, place) & may]
    return [
        f"our user may not {action} on {place or 'all databases'} (docs/privileges.md)"
        for action, place in dict.fromkeys(missing)
    ]


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
