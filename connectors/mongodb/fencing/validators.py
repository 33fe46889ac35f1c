"""The fence by validators: each migrated collection refuses what is inserted or updated. Deletes pass, TTL too, and so
does who may bypass validation: it counts as no more than the routers' word (`rules.md` E1)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pymongo import MongoClient

from tranship.connectors.mongodb.fencing.ownrights import OwnRights
from tranship.connectors.protocols.fencing import Deed, Fenced

Document = dict[str, Any]

_REFUSES: Document = {"validator": {"$expr": False}, "validationLevel": "strict", "validationAction": "error"}
_DEFAULTS: Document = {"validator": {}, "validationLevel": "strict", "validationAction": "error"}
"""What a collection has that was given none, as `collMod` takes it."""
_MAJORITY = {"w": "majority"}


class ValidatorsFence:
    """On the migrated collections of one database."""

    def __init__(self, client: MongoClient[Document], database: str) -> None:
        self._client = client
        self._database = client[database]

    def objections(self, what: Fenced) -> list[str]:
        here = self._options()
        found = OwnRights(self._client).lacking([("collMod", self._database.name)])
        return found + [f"collection {name} is not there" for name in _collections(what) if name not in here]

    def survey(self, what: Fenced) -> Document:
        """The collections' validators."""
        here = self._options()
        return {
            "collections": [
                {"name": name, **{key: here[name].get(key, usual) for key, usual in _DEFAULTS.items()}}
                for name in _collections(what)
            ]
        }

    def changed(self, saved: Mapping[str, Any]) -> list[str]:
        """In words; a validator itself may hold values of documents."""
        return [
            f"collection {one['name']}: {'its validator' if one['validator'] else 'no validator'}"
            for one in saved["collections"]
        ]

    def provide(self, token: str, deed: Deed, saved: Mapping[str, Any]) -> None:
        """A command of this kind names nothing that could be taken from it."""

    def carry_out(self, token: str, deed: Deed, saved: Mapping[str, Any]) -> None:  # noqa: ARG002
        for one in saved["collections"]:
            options = _REFUSES if deed is Deed.RAISE else {key: one[key] for key in _DEFAULTS}
            self._database.command("collMod", one["name"], writeConcern=_MAJORITY, **options)

    def missing(self, deed: Deed, saved: Mapping[str, Any]) -> list[str]:
        here, found = self._options(), []
        for one in saved["collections"]:
            told = {key: here.get(one["name"], {}).get(key, usual) for key, usual in _DEFAULTS.items()}
            wanted = _REFUSES if deed is Deed.RAISE else {key: one[key] for key in _DEFAULTS}
            if told != wanted:
                found.append(f"collection {one['name']} has not got the validator that it was given")
        return found

    def bury(self, token: str) -> bool:  # noqa: ARG002
        """Whether a command is still on its way nobody can tell."""
        return False

    def end_operations(self, saved: Mapping[str, Any]) -> None:
        """`collMod` waits for what is under way on a collection, open transactions too."""

    def _options(self) -> dict[str, Mapping[str, Any]]:
        return {info["name"]: info.get("options", {}) for info in self._database.list_collections()}


def _collections(what: Fenced) -> list[str]:
    return sorted({stream.collection for stream in what.streams})
