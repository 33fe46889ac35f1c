"""What tranship itself writes to a source: markers, and its routing records. Each in a collection of its own.

Several runs may share them, so each removes what is its own, and the collection only when it is empty.
"""

from __future__ import annotations

from typing import Any

from pymongo.collection import Collection

from tranship.connectors.errors import RefusedError
from tranship.connectors.mongodb import rights
from tranship.connectors.mongodb.connection import MongoConnection
from tranship.connectors.mongodb.errors import translated
from tranship.connectors.mongodb.fencing import MongoFences
from tranship.connectors.mongodb.routing import MongoRecords
from tranship.connectors.protocols import Finding, RecordStore
from tranship.plans.rules import MARKER_COLLECTION as MARKERS
from tranship.plans.rules import WRITTEN_COLLECTIONS


class MongoTraces(MongoConnection):
    """Of `ChangeSource`, what writes. Majority committed."""

    def put_marker(self, name: str) -> None:
        """In the same database as the streams, hence behind all earlier writes in the change stream."""
        with translated("writing a marker"):
            self._database[MARKERS].update_one({"_id": name}, {"$inc": {"written": 1}}, upsert=True)

    def has_marker(self, name: str) -> bool:
        with translated("looking for a marker"):
            return self._database[MARKERS].find_one({"_id": name}) is not None

    def drop_markers(self, owner: str) -> None:
        """The change stream does not mind."""
        with translated("dropping the markers"):
            self._remove(MARKERS, {"_id": {"$gte": f"{owner}.", "$lt": f"{owner}/"}})  # the slash comes after the dot

    @property
    def records(self) -> RecordStore:
        return MongoRecords(self._database)

    @property
    def fences(self) -> MongoFences:
        return MongoFences(self._database, self._trial)

    def _remove(self, name: str, which: dict[str, Any]) -> None:
        collection = self._database[name]
        collection.delete_many(which)
        self._drop_empty(collection)

    def _drop_empty(self, collection: Collection[dict[str, Any]]) -> None:
        if collection.find_one() is None:
            collection.drop()

    def try_traces(self) -> list[Finding]:
        """By writes in a transaction that is taken back: authorised, they change nothing."""
        found = []
        for name in WRITTEN_COLLECTIONS:
            try:
                self._try_traces(name)
            except RefusedError as error:
                found.append(rights.unwritable(str(error), name))
        return found

    def _try_traces(self, name: str) -> None:
        with translated("asking which collections are there"):
            there = name in self._database.list_collection_names()
        collection = self._database[name]
        if not there:  # dropping what is not there is authorised all the same
            with translated(f"checking `dropCollection` on {name}"):
                collection.drop()
        with self._client.start_session() as session, session.start_transaction():
            with translated(f"checking `insert` on {name}"):
                collection.insert_one({"_id": ""}, session=session)
            with translated(f"checking `update` on {name}"):
                collection.update_one({"_id": ""}, {"$inc": {"written": 1}}, session=session)
            with translated(f"checking `remove` on {name}"):
                collection.delete_many({"_id": ""}, session=session)
            session.abort_transaction()

    def _trace_findings(self) -> list[Finding]:
        """Whether these collections may be written and removed, as the server tells. Reads only."""
        doing = "asking what the user may do"
        status = self._told("connectionStatus", doing, showPrivileges=True)
        user = rights.untold(status)  # a user may always see what is said of itself
        info = self._told("usersInfo", doing, dict(user), showPrivileges=True) if user else None
        return rights.findings(status, self._database.name, info)
