"""The register of commands and the passport of a fence, in the routing record's own document: so that one swap compares
both (`rules.md` F3, J3, J5, J8, J10)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pymongo.collection import Collection
from pymongo.database import Database

from tranship.connectors.protocols import Routing
from tranship.connectors.protocols.fencing import Command, Deed
from tranship.plans.rules import SWITCH_COLLECTION

Document = dict[str, Any]

NO_FENCE: Document = {"passport": {"$exists": False}}
NO_COMMAND: Document = {"commands.0": {"$exists": False}}


class Register:
    """Majority committed when a call returns, as the database handle says."""

    def __init__(self, database: Database[Document]) -> None:
        self._database = database

    @property
    def _records(self) -> Collection[Document]:
        return self._database[SWITCH_COLLECTION]

    def raising(self, command: Command, passport: Mapping[str, Any]) -> bool:
        """Keep both, if the record is fenced by this version, no fence stands, and no command is open."""
        which = {**_of(command, Routing.FENCED), **NO_FENCE, **NO_COMMAND}
        change = {"$set": {"passport": dict(passport)}, "$push": {"commands": _said(command)}}
        return self._records.update_one(which, change).modified_count == 1

    def lowering(self, command: Command) -> bool:
        """Keep it, if the record is being lifted by this version, or was handed over with it."""
        change = {"$push": {"commands": _said(command)}}
        return self._records.update_one(_of(command, *_LOWERED_IN), change).modified_count == 1

    def close(self, command: Command) -> bool:
        """It has ended, or can do nothing any more. Returns whether it was open."""
        change = {"$pull": {"commands": {"token": command.token}}}
        return self._records.update_one({"_id": command.id}, change).modified_count == 1

    def lowered(self, command: Command) -> bool:
        """Forget the passport along with the command that has lowered its fence."""
        change = {"$pull": {"commands": {"token": command.token}}, "$unset": {"passport": ""}}
        which = {**_of(command, *_LOWERED_IN), "commands.token": command.token}
        return self._records.update_one(which, change).modified_count == 1

    def standing(self) -> list[str]:
        """The runs whose passports are here."""
        return sorted(str(one.get("run")) for one in self._records.find({"passport": {"$exists": True}}, {"run": 1}))

    def forget(self, id: str) -> None:  # noqa: A002
        """All commands of a run."""
        self._records.update_one({"_id": id}, {"$unset": {"commands": ""}})

    def read(self, id: str) -> tuple[Mapping[str, Any] | None, list[Command]]:  # noqa: A002
        """The passport of a run and its open commands."""
        found = self._records.find_one({"_id": id}) or {}
        return found.get("passport"), [
            Command(id, one["version"], Deed(one["deed"]), one["token"]) for one in found.get("commands", ())
        ]


_LOWERED_IN = (Routing.LIFTING, Routing.HANDED_OVER)


def _of(command: Command, *states: Routing) -> Document:
    return {"_id": command.id, "state": {"$in": [state.value for state in states]}, "version": command.version}


def _said(command: Command) -> Document:
    return {"token": command.token, "deed": command.deed.value, "version": command.version}
