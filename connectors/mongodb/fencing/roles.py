"""The fence by roles: the declared applications' users lose what lets them write to the source database, and nothing
else. What they may read, and what they may do elsewhere, stays.

Each command names a role that was made for it alone, and a server refuses a user's roles when one of them is not there:
once that role is dropped the command can do nothing any more, however late it comes. A role is made before its command
is registered, so whoever finds a command knows that no role of it can come later.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from pymongo import MongoClient
from pymongo.errors import OperationFailure

from tranship.connectors.errors import RefusedError, TakenOverError, TransientError
from tranship.connectors.mongodb.fencing.ownrights import CLUSTER, OwnRights, Right
from tranship.connectors.protocols.fencing import Deed, Fenced, Writer
from tranship.plans.rules import ROUTER_COLLECTION

Document = dict[str, Any]

READS = frozenset(
    {
        "find", "changeStream", "collStats", "dbHash", "dbStats", "indexStats", "killCursors", "listCollections",
        "listIndexes", "listSearchIndexes", "planCacheRead",
    }
)  # fmt: skip
"""What does not change anything. Whatever else a role allows on the source database is taken away."""
_BEATS = frozenset({"find", "insert", "update", "remove"})
_REGRANTS = frozenset({"grantRole", "createUser", "createRole", "anyAction"})
_ROLES = "admin"
"""Where the made roles live: there a role may hold privileges on any database."""
END_S = 10.0
"""For killed operations to be gone."""
_AGAIN_S = 0.005
_ROLE_NOT_FOUND, _USER_NOT_FOUND = 31, 11
_MAJORITY = {"w": "majority"}


class RolesFence:
    """On one database. Each method is one step; what is between them is `MongoFences`' matter."""

    def __init__(self, client: MongoClient[Document], database: str) -> None:
        self._client = client
        self._database = database

    def objections(self, what: Fenced) -> list[str]:
        if not what.writers:
            return ["no applications' users are declared (cutover.writers): there is nobody to take writing from"]
        own = OwnRights(self._client)
        if found := own.lacking(self._needed(what)):
            return found
        granted: list[Right] = []
        for writer in what.writers:
            info = self._info(writer)
            if info is None:
                found.append(f"the source has no user {writer}")
                continue
            found += [f"user {writer} {why}" for why in _too_mighty(info.get("inheritedPrivileges", ()))]
            granted += [("grantRole", role["db"]) for role in info["roles"]]
        return found + own.lacking(granted)

    def survey(self, what: Fenced) -> Document:
        """The writers' roles, and what is left of them behind the fence."""
        users = []
        for writer in what.writers:
            info = self._info(writer)
            if info is None:
                raise RefusedError(f"the source has no user {writer}")
            kept, reduced = [], []
            for role in info["roles"]:
                privileges = self._of_role(role)
                if any(_writes(privilege, self._database) for privilege in privileges):
                    reduced += [left for privilege in privileges for left in self._reduced(privilege)]
                else:
                    kept.append(role)
            users.append(
                {"user": writer.user, "db": writer.database, "roles": info["roles"], "kept": kept, "left": reduced}
            )
        return {"users": users}

    def changed(self, saved: Mapping[str, Any]) -> list[str]:
        """In words."""
        return [f"user {one['db']}.{one['user']}: {_named(one['roles'])}" for one in saved["users"]]

    def provide(self, token: str, deed: Deed, saved: Mapping[str, Any]) -> None:
        """Make the roles that a command will name."""
        for number, one in enumerate(saved["users"]):
            left = one["left"] if deed is Deed.RAISE else []
            self._admin.command("createRole", _role(token, number), privileges=left, roles=[], writeConcern=_MAJORITY)

    def carry_out(self, token: str, deed: Deed, saved: Mapping[str, Any]) -> None:
        """Give each writer its roles, in one command each, so that there is no moment without what it may read."""
        for number, one in enumerate(saved["users"]):
            made = {"role": _role(token, number), "db": _ROLES}
            roles = [*(one["kept"] if deed is Deed.RAISE else one["roles"]), made]
            try:
                self._client[one["db"]].command("updateUser", one["user"], roles=roles, writeConcern=_MAJORITY)
            except OperationFailure as error:
                if deed is Deed.LOWER and error.code == _USER_NOT_FOUND:  # dropped by others: nobody to give it back to
                    continue
                if error.code != _ROLE_NOT_FOUND:
                    raise
                if self._made(token):
                    raise RefusedError(
                        f"one of the roles that user {one['db']}.{one['user']} has to get is not there: "
                        f"{_named(roles[:-1])}. Make it again"
                    ) from error
                raise TakenOverError(f"the command to {deed} the fence was taken over by another process") from error

    def missing(self, deed: Deed, saved: Mapping[str, Any]) -> list[str]:
        """What the server says that is not as the command was to make it."""
        return [
            why
            for one in saved["users"]
            if (info := self._info(Writer(one["user"], one["db"]))) is not None
            for why in self._of_user(deed, one, info)
        ]

    def bury(self, token: str) -> bool:
        """Drop the roles of a command, behind which it can do nothing any more."""
        for name in self._made(token):
            try:
                self._admin.command("dropRole", name, writeConcern=_MAJORITY)
            except OperationFailure as error:
                if error.code != _ROLE_NOT_FOUND:
                    raise
        return True

    def end_operations(self, saved: Mapping[str, Any]) -> None:
        """End what the writers have under way. A transaction that began before would else still be committed."""
        who = [{"user": one["user"], "db": one["db"]} for one in saved["users"]]
        self._admin.command("killAllSessions", who)
        # Killing asks an operation to end; one that is past the last point at which it listens still commits.
        end = time.monotonic() + END_S
        theirs = {"active": True, "effectiveUsers": {"$elemMatch": {"$or": who}}}
        while list(self._admin.aggregate([{"$currentOp": {"allUsers": True}}, {"$match": theirs}])):
            if time.monotonic() > end:
                raise TransientError(f"waited {END_S:g} s for operations of the writers to end")
            time.sleep(_AGAIN_S)

    @property
    def _admin(self) -> Any:
        return self._client[_ROLES]

    def _of_user(self, deed: Deed, one: Mapping[str, Any], info: Mapping[str, Any]) -> Iterator[str]:
        if deed is Deed.RAISE:
            if any(_writes(privilege, self._database) for privilege in info.get("inheritedPrivileges", ())):
                yield f"user {one['db']}.{one['user']} may still write"
        elif lost := [role for role in one["roles"] if role not in info["roles"]]:
            yield f"user {one['db']}.{one['user']} has not got {_named(lost)} back"

    def _info(self, writer: Writer) -> Mapping[str, Any] | None:
        who = {"user": writer.user, "db": writer.database}
        found = self._admin.command("usersInfo", who, showPrivileges=True)["users"]
        return found[0] if found else None

    def _needed(self, what: Fenced) -> list[Right]:
        made = [(action, _ROLES) for action in ("viewRole", "createRole", "dropRole", "grantRole")]
        seen = [("viewUser", writer.database) for writer in what.writers] + [("viewRole", self._database)]
        return [*made, *seen, ("revokeRole", ""), ("killAnySession", CLUSTER), ("inprog", CLUSTER)]

    def _of_role(self, role: Mapping[str, Any]) -> list[Mapping[str, Any]]:
        """A role of another database can only hold privileges there, so it need not be asked about."""
        if role["db"] not in (_ROLES, self._database):
            return []
        found = self._admin.command("rolesInfo", dict(role), showPrivileges=True)["roles"]
        return [p for one in found for p in one.get("inheritedPrivileges") or one.get("privileges", ())]

    def _reduced(self, privilege: Mapping[str, Any]) -> Iterator[Document]:
        """What is left of a privilege. A router still has to say that it lives: it does so behind a fence, too."""
        resource, actions = dict(privilege["resource"]), list(privilege["actions"])
        if not _writes(privilege, self._database):
            yield {"resource": resource, "actions": actions}
            return
        if reads := [action for action in actions if action in READS]:
            yield {"resource": resource, "actions": reads}
        if resource["collection"] == "" and (beats := [action for action in actions if action in _BEATS]):
            yield {"resource": {"db": self._database, "collection": ROUTER_COLLECTION}, "actions": beats}

    def _made(self, token: str) -> Sequence[str]:
        names = [one["role"] for one in self._admin.command("rolesInfo", 1)["roles"]]
        return [name for name in names if name.startswith(_role(token, ""))]


def _role(token: str, number: int | str) -> str:
    return f"tranship_{token}_{number}"


def _writes(privilege: Mapping[str, Any], database: str) -> bool:
    resource, actions = privilege["resource"], set(privilege["actions"])
    return resource.get("db") == database and resource["collection"] != ROUTER_COLLECTION and not actions <= READS


def _too_mighty(privileges: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """What cannot be taken from a single database, or lets a user take back what was taken."""
    everywhere = {
        action
        for privilege in privileges
        if privilege["resource"].get("anyResource") or privilege["resource"].get("db") == ""
        for action in privilege["actions"]
    }
    if not everywhere <= READS:
        yield (
            "may write to all databases, which cannot be taken from it for one of them: give the application a user "
            "with rights on its own databases"
        )
    if any(_REGRANTS & set(privilege["actions"]) for privilege in privileges):
        yield "may grant roles, so it could give itself back what the fence takes"


def _named(roles: Sequence[Mapping[str, Any]]) -> str:
    return ", ".join(f"{role['role']}@{role['db']}" for role in roles) or "no roles"
