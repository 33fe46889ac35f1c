"""What a user may do to tranship's own collections on a source, as the server tells: nothing is tried.

What it may read is tried instead (`source.py`), which every server judges. All rights: `docs/privileges.md`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from tranship.connectors.protocols import Finding
from tranship.plans.rules import WRITTEN_COLLECTIONS

NEEDED = ("insert", "update", "remove", "dropCollection")

_WRITES = {"readWriteAnyDatabase", "root", "__system"}
_WRITES_ITS_OWN = {"readWrite", "dbOwner"}
_READS_ONLY = {"read", "readAnyDatabase", "clusterMonitor"}

UNKNOWN = "source.rights_unknown"


def untold(status: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """The user of whose privileges the reply to `connectionStatus` says nothing, as `usersInfo` takes it."""
    told = status.get("authInfo", {})
    users: list[Mapping[str, Any]] = told.get("authenticatedUsers") or []
    return None if told.get("authenticatedUserPrivileges") or not users else users[0]


def told_privileges(status: Mapping[str, Any], info: Mapping[str, Any] | None) -> list[Mapping[str, Any]]:
    """The user's privileges, by the one reply or the other; none where neither tells them."""
    told = status.get("authInfo", {}).get("authenticatedUserPrivileges")
    return list(told or ()) or [
        privilege for user in (info or {}).get("users", ()) for privilege in user.get("inheritedPrivileges", ())
    ]


def findings(status: Mapping[str, Any], database: str, info: Mapping[str, Any] | None = None) -> list[Finding]:
    """What is against writing the markers and the routing record, by the reply to `connectionStatus` with
    `showPrivileges`, and where that says nothing by `info`, the reply to `usersInfo` about the user itself. A server
    without users lets everybody do everything."""
    told = status.get("authInfo", {})
    if not told:
        return [_unknown()]
    if not told.get("authenticatedUsers"):
        return []
    privileges = told_privileges(status, info)
    if privileges:
        return [found for name in WRITTEN_COLLECTIONS for found in _by_privileges(privileges, database, name)]
    return _by_roles(told.get("authenticatedUserRoles", ()), database)


def _by_privileges(privileges: Iterable[Mapping[str, Any]], database: str, collection: str) -> Iterable[Finding]:
    may: set[str] = set()
    for privilege in privileges:
        resource = privilege.get("resource", {})
        if resource.get("anyResource") or (
            resource.get("db") in (database, "") and resource.get("collection") in (collection, "")
        ):
            may.update(privilege.get("actions", ()))
    missing = [action for action in NEEDED if action not in may and "anyAction" not in may]
    if missing:
        message = f"the user may not {', '.join(missing)} on {database}.{collection}, where tranship keeps its own"
        yield unwritable(message, collection)


def _by_roles(roles: Iterable[Mapping[str, Any]], database: str) -> list[Finding]:
    """Where a server keeps the privileges to itself: by the roles that every server has."""
    named = {(role.get("role"), role.get("db")) for role in roles}
    names = {role for role, _ in named}
    if names & _WRITES or any((role, database) in named for role in _WRITES_ITS_OWN):
        return []
    if names <= _READS_ONLY:
        message = f"the user only has the roles {', '.join(sorted(map(str, names)))}, which let nothing be written"
        return [Finding("source.unwritable", "error", message, _hint(" and ".join(WRITTEN_COLLECTIONS)))]
    return [_unknown()]


def _unknown() -> Finding:
    message = "whether the user may write tranship's own collections, the server does not tell"
    return Finding(UNKNOWN, "info", message, "a run tries it before it makes anything")


def unwritable(message: str, collection: str) -> Finding:
    """What a trial has found."""
    return Finding("source.unwritable", "error", message, _hint(collection))


def _hint(where: str) -> str:
    return f"the user needs `insert`, `update`, `remove` and `dropCollection` on {where} (role `readWrite`)"
