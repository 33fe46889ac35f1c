"""Routing records in a MongoDB source: a document per run, majority committed."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Any

from pymongo.collection import Collection
from pymongo.database import Database
from pymongo.errors import DuplicateKeyError

from tranship.connectors.mongodb.errors import translated
from tranship.connectors.protocols import Owner, RecordStore, Routing, RoutingRecord
from tranship.plans.rules import SWITCH_COLLECTION

Document = dict[str, Any]

_IN_TIME = {"$expr": {"$gt": ["$deadline", "$$NOW"]}}


class MongoRecords:
    """`RecordStore`. A document without a state was written by an earlier version, as a note of a switch."""

    def __init__(self, database: Database[Document]) -> None:
        self._database = database

    @property
    def _records(self) -> Collection[Document]:
        return self._database[SWITCH_COLLECTION]

    def begin(self, owner: Owner, first: RoutingRecord) -> RoutingRecord:
        about = {"run": owner.run, "target": owner.target, "state_schema": owner.state_schema}
        with translated("making the routing record"):
            with suppress(DuplicateKeyError):  # of two at the same moment the other one's is there
                self._records.update_one({"_id": owner.id}, {"$setOnInsert": {**about, **_said(first)}}, upsert=True)
            found = self._records.find_one({"_id": owner.id})
            return self._record(found) if found else first

    def read(self, id: str) -> RoutingRecord | None:  # noqa: A002
        with translated("reading the routing record"):
            found = self._records.find_one({"_id": id})
            return None if found is None else self._record(found)

    def swap(
        self,
        id: str,  # noqa: A002
        old: RoutingRecord,
        new: RoutingRecord,
        *,
        lasts_s: float | None = None,
        in_time: bool = False,
    ) -> bool:
        with translated("swapping the routing record"):
            change: Document = {"$set": _said(new), "$currentDate": {"at": True}}
            if lasts_s is None:
                change["$unset"] = {"deadline": ""}
            else:  # by the server's clock of a moment ago: rather too early than too late
                change["$set"]["deadline"] = self._now() + timedelta(seconds=lasts_s)
            which = {"_id": id, **_said(old), **(_IN_TIME if in_time else {})}
            return self._records.update_one(which, change).modified_count == 1

    def records(self) -> list[tuple[Owner, RoutingRecord]]:
        with translated("reading the routing records"):
            return [(_owner(found), self._record(found)) for found in self._records.find()]

    def forget(self, id: str) -> None:  # noqa: A002
        with translated("removing the routing record"):
            self._records.delete_many({"_id": id})
            if self._records.find_one() is None:
                self._records.drop()

    def _record(self, found: Mapping[str, Any]) -> RoutingRecord:
        state, version = found.get("state", Routing.HANDED_OVER), int(found.get("version", 0))
        deadline = found.get("deadline")
        left = None if deadline is None else (deadline.replace(tzinfo=UTC) - self._now()).total_seconds()
        return RoutingRecord(Routing(state), version, left)

    def _now(self) -> datetime:
        """The server's time."""
        now: datetime = self._database.client.admin.command("hello")["localTime"]
        return now.replace(tzinfo=UTC)


def _said(record: RoutingRecord) -> Document:
    return {"state": record.state.value, "version": record.version}


def _owner(found: Mapping[str, Any]) -> Owner:
    return Owner(*(str(found.get(name, "")) for name in ("_id", "run", "target", "state_schema")))


def _implements(records: MongoRecords) -> RecordStore:
    return records
