"""The fence by the server's write block (`setUserWriteBlockMode`, MongoDB 6.0 and later): it refuses every write of all
users who may not bypass it, on the whole cluster, and waits for those under way. Our own user has to be able to."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pymongo import MongoClient
from pymongo.errors import OperationFailure

from tranship.connectors.mongodb.errors import NOT_ANSWERED
from tranship.connectors.mongodb.fencing.ownrights import CLUSTER, OwnRights
from tranship.connectors.protocols.fencing import Deed, Fenced

Document = dict[str, Any]

_BYPASS = frozenset({"bypassWriteBlockingMode", "anyAction"})
_NEEDED = ("setUserWriteBlockMode", "bypassWriteBlockingMode")
_BLOCKED = 3
"""`repl.userWriteBlockMode` of `serverStatus`: 1 is unknown, 2 is not blocked."""


class WriteBlock:
    """Of a whole cluster. Written by the documentation: no server that the tests can start has the command."""

    def __init__(self, client: MongoClient[Document], database: str) -> None:  # noqa: ARG002
        self._client = client
        self._admin = client["admin"]

    def objections(self, what: Fenced) -> list[str]:
        mode = self._mode()
        if mode is None:
            return ["the server tells no `repl.userWriteBlockMode`: it has no write block (MongoDB 6.0 and later have)"]
        found = ["somebody else blocks writes on the source already"] if mode == _BLOCKED else []
        ours = self._admin.command("connectionStatus")["authInfo"]
        if not ours.get("authenticatedUsers"):
            return [*found, "without users nobody could be told from anybody: our own markers would be blocked, too"]
        found += OwnRights(self._client).lacking([(action, CLUSTER) for action in _NEEDED])
        for writer in what.writers:
            who = {"user": writer.user, "db": writer.database}
            users = self._admin.command("usersInfo", who, showPrivileges=True)["users"]
            if not users:
                found.append(f"the source has no user {writer}")
            elif any(_BYPASS & set(one["actions"]) for one in users[0].get("inheritedPrivileges", ())):
                found.append(f"user {writer} may bypass the write block")
        return found

    def survey(self, what: Fenced) -> Document:  # noqa: ARG002
        """Nothing but that it is off, which `objections` has seen."""
        return {}

    def changed(self, saved: Mapping[str, Any]) -> list[str]:  # noqa: ARG002
        """In words."""
        return ["the write block of the whole cluster: off"]

    def provide(self, token: str, deed: Deed, saved: Mapping[str, Any]) -> None:
        """A command of this kind names nothing that could be taken from it."""

    def carry_out(self, token: str, deed: Deed, saved: Mapping[str, Any]) -> None:  # noqa: ARG002
        self._admin.command({"setUserWriteBlockMode": 1, "global": deed is Deed.RAISE})

    def missing(self, deed: Deed, saved: Mapping[str, Any]) -> list[str]:  # noqa: ARG002
        blocked = self._mode() == _BLOCKED
        if blocked == (deed is Deed.RAISE):
            return []
        return [f"the write block of the source is {'on' if blocked else 'off'}"]

    def bury(self, token: str) -> bool:  # noqa: ARG002
        """Whether a command is still on its way nobody can tell."""
        return False

    def end_operations(self, saved: Mapping[str, Any]) -> None:
        """The command itself has waited for all that was under way."""

    def _mode(self) -> int | None:
        try:
            found = self._admin.command("serverStatus").get("repl", {}).get("userWriteBlockMode")
        except OperationFailure as error:
            if error.code not in NOT_ANSWERED:
                raise
            return None
        return None if found is None else int(found)
