"""Routing records in a MongoDB database: a document per run, majority committed.

The server's clock judges deadlines inside the statement (`$$NOW`). It is compared as a number: what a date
means beside `$$NOW` is not the same in all servers that speak this protocol.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any

from pymongo.client_session import ClientSession
from pymongo.collection import Collection
from pymongo.database import Database
from pymongo.errors import DuplicateKeyError

from tranship.connectors.errors import RefusedError
from tranship.connectors.mongodb.errors import translated
from tranship.connectors.mongodb.fencing.register import NO_COMMAND, NO_FENCE
from tranship.connectors.protocols import LiveRouter, Owner, RecordStore, Routing, RoutingRecord
from tranship.plans.rules import ROUTER_COLLECTION, SWITCH_COLLECTION

Document = dict[str, Any]


def _to_come(moment: object) -> Document:
    """The condition that a time is still to come."""
    return {"$gt": [{"$toLong": moment}, {"$toLong": "$$NOW"}]}


class MongoRecords:
    """`RecordStore`. A document without a state was written by an earlier version, as a note of a switch."""

    def __init__(self, database: Database[Document]) -> None:
        self._database = database

    @property
    def _records(self) -> Collection[Document]:
        return self._database[SWITCH_COLLECTION]

    def begin(self, owner: Owner, first: RoutingRecord) -> RoutingRecord:
        about = {"run": owner.run, "target": owner.target, "state_schema": owner.state_schema, "plan": owner.plan}
        with translated("making the routing record"):
            # The newest record of a plan is the one that routers go by.
            made = {**about, **_said(first), "begun": self._now()}
            with suppress(DuplicateKeyError):  # of two at the same moment the other one's is there
                self._records.update_one({"_id": owner.id}, {"$setOnInsert": made}, upsert=True)
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
        deadline: float | None = None,
        in_time: bool = False,
    ) -> bool:
        with translated("swapping the routing record"):
            return self._swap(id, old, new, deadline, in_time=in_time)

    def swap_within(self, session: ClientSession, id: str, old: RoutingRecord, new: RoutingRecord) -> bool:  # noqa: A002
        """`swap` in a transaction of the caller, whose errors are the driver's."""
        return self._swap(id, old, new, None, session=session)

    def _swap(
        self,
        id: str,  # noqa: A002
        old: RoutingRecord,
        new: RoutingRecord,
        deadline: float | None,
        *,
        in_time: bool = False,
        session: ClientSession | None = None,
    ) -> bool:
        which: Document = {"_id": id, **_said(old)}
        change: Document = {"$set": _said(new), "$currentDate": {"at": True}}
        conditions = [_to_come("$deadline")] if in_time else []
        if deadline is None:
            change["$unset"] = {"deadline": ""}
        else:
            change["$set"]["deadline"] = moment = datetime.fromtimestamp(deadline, UTC)
            conditions.append(_to_come({"$literal": moment}))
        if conditions:
            which["$expr"] = {"$and": conditions}
        # A command on its way could undo what the swap says (`rules.md` J8), and a fence that stands denies it.
        if new.state in (Routing.FENCED, Routing.HANDED_OVER):
            which.update(NO_COMMAND)
        if new.state in (Routing.FENCED, Routing.PRIMARY):
            which.update(NO_FENCE)
        return self._records.update_one(which, change, session=session).modified_count == 1

    def now(self) -> float:
        with translated("asking for the server's time"):
            return self._now().timestamp()

    def hasten(self, id: str, poll_s: float | None) -> None:  # noqa: A002
        change = {"$unset": {"poll_ms": ""}} if poll_s is None else {"$set": {"poll_ms": round(poll_s * 1000)}}
        with translated("asking the routers to look more often"):
            self._records.update_one({"_id": id}, change)

    def routers(self, plan: str) -> list[LiveRouter]:
        with translated("looking for routers"):
            found = list(self._database[ROUTER_COLLECTION].find({"plan": plan, "$expr": _to_come("$until")}))
            return [_router(one, self._left(one["until"])) for one in found]

    def records(self) -> list[tuple[Owner, RoutingRecord]]:
        with translated("reading the routing records"):
            return [(_owner(found), self._record(found)) for found in self._records.find()]

    def forget(self, id: str) -> None:  # noqa: A002
        with translated("removing the routing record"):
            self._records.delete_many({"_id": id, **NO_FENCE})
            if self._records.find_one({"_id": id}) is not None:
                raise RefusedError(
                    f"the fence of run {id} still stands on the source, and its passport is in the routing record: "
                    "`tranship unfence` lowers it"
                )
            if self._records.find_one() is None:
                self._records.drop()

    def _record(self, found: Mapping[str, Any]) -> RoutingRecord:
        state, version = found.get("state", Routing.HANDED_OVER), int(found.get("version", 0))
        deadline = found.get("deadline")
        return RoutingRecord(Routing(state), version, None if deadline is None else self._left(deadline))

    def _left(self, moment: datetime) -> float:
        return (moment.replace(tzinfo=UTC) - self._now()).total_seconds()

    def _now(self) -> datetime:
        """The server's time."""
        now: datetime = self._database.client.admin.command("hello")["localTime"]
        return now.replace(tzinfo=UTC)


def _said(record: RoutingRecord) -> Document:
    return {"state": record.state.value, "version": record.version}


def _owner(found: Mapping[str, Any]) -> Owner:
    return Owner(*(str(found.get(name, "")) for name in ("_id", "run", "target", "state_schema", "plan")))


def _router(found: Mapping[str, Any], left_s: float) -> LiveRouter:
    run, version = found.get("acknowledged_run"), found.get("acknowledged_version")
    return LiveRouter(str(found["_id"]), left_s, None if run is None or version is None else (str(run), int(version)))


def _implements(records: MongoRecords) -> RecordStore:
    return records
