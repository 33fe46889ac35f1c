"""The two sides as a router sees them: a heartbeat goes out, the record comes back.

The statements are those of `docs/router-protocol.md`. Drivers are the application's own, and imported by it.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from tranship.router.records import Record

if TYPE_CHECKING:
    import psycopg
    from pymongo.database import Database

_BLOCKED = 371
"""MongoDB's write block stands (`setUserWriteBlockMode`): a heartbeat is refused as well."""

T = TypeVar("T")

Fence = tuple[str, int]
"""Run and version of a fence."""


class SideOfRouter(Protocol):
    """A server with a routing record."""

    def beat(self, acknowledged: Fence | None) -> Record | None:
        """Say that this router lives, and which fence it has acknowledged; then read the plan's record."""

    def leave(self) -> None:
        """Say that it does not live any more."""


class Bounded:
    """A side whose looks end in time, whatever its driver waits for: behind a way that swallows what is sent that may
    be minutes, while the other side's record says long since where to go on.

    A look that takes longer is left to its thread, and what it finds counts for nothing; one at a time is under way.
    """

    def __init__(self, side: SideOfRouter, limit_s: float) -> None:
        self._side = side
        self._limit_s = limit_s
        self._last: threading.Thread | None = None

    def beat(self, acknowledged: Fence | None) -> Record | None:
        return self._in_time(partial(self._side.beat, acknowledged))

    def leave(self) -> None:
        self._in_time(self._side.leave)

    def _in_time(self, work: Callable[[], T]) -> T:
        end = time.monotonic() + self._limit_s
        if self._last is not None:
            self._last.join(self._limit_s)
            if self._last.is_alive():
                raise TimeoutError("an earlier look has not come back yet")
        result: Future[T] = Future()
        self._last = threading.Thread(target=_settle, args=(result, work), name="tranship-router-look", daemon=True)
        self._last.start()
        return result.result(max(0.0, end - time.monotonic()))


def _settle(result: Future[T], work: Callable[[], T]) -> None:
    try:
        result.set_result(work())
    except BaseException as error:  # noqa: BLE001  raised where it is waited for
        result.set_exception(error)


class MongoSide:
    """A database of MongoDB. The heartbeat is majority committed before the record is read, in one causal session."""

    def __init__(self, database: Database[dict[str, Any]], plan: str, instance: str, lease_s: float) -> None:
        from pymongo import ReadPreference
        from pymongo.read_concern import ReadConcern
        from pymongo.write_concern import WriteConcern

        ours = database.with_options(
            read_preference=ReadPreference.PRIMARY,
            read_concern=ReadConcern("majority"),
            write_concern=WriteConcern("majority", wtimeout=round(lease_s * 1000)),
        )
        self._client = database.client
        self._routers = ours["tranship_routers"]
        self._records = ours["tranship_switches"]
        self._plan = plan
        self._instance = instance
        self._lease_ms = round(lease_s * 1000)

    def beat(self, acknowledged: Fence | None) -> Record | None:
        from pymongo.errors import OperationFailure

        run, version = acknowledged or (None, None)
        until = {"$dateAdd": {"startDate": "$$NOW", "unit": "millisecond", "amount": self._lease_ms}}
        said = {"plan": self._plan, "until": until, "acknowledged_run": run, "acknowledged_version": version}
        blocked = None
        with self._client.start_session(causal_consistency=True) as session:
            try:
                self._routers.update_one({"_id": self._instance}, [{"$set": said}], upsert=True, session=session)
            except OperationFailure as error:
                if error.code != _BLOCKED:
                    raise
                blocked = error
            newest = [("begun", -1), ("_id", -1)]
            found = self._records.find_one({"plan": self._plan}, sort=newest, session=session)
        if blocked is not None and (found is None or found["state"] == "primary"):
            raise blocked  # nobody knows of this router by now, so it must not take the record for leave to write
        return None if found is None else _record(found)

    def leave(self) -> None:
        self._routers.delete_one({"_id": self._instance})


class PostgresSide:
    """A database of PostgreSQL, through a connection that the application makes for it, and that is kept."""

    def __init__(
        self, connect: Callable[[], psycopg.Connection[Any]], plan: str, instance: str, lease_s: float, schema: str
    ) -> None:
        self._connect = connect
        self._plan = plan
        self._instance = instance
        self._lease_ms = round(lease_s * 1000)
        self._schema = '"' + schema.replace('"', '""').replace("%", "%%") + '"'
        self._connection: psycopg.Connection[Any] | None = None

    def beat(self, acknowledged: Fence | None) -> Record | None:
        from psycopg import Error
        from psycopg.errors import InvalidSchemaName, UndefinedFunction

        run, version = acknowledged or (None, None)
        statement = f"SELECT id, state, version, poll_ms FROM {self._schema}.router_beat(%s, %s, %s, %s, %s)"
        try:
            if self._connection is None:
                self._connection = self._connect()
                self._connection.autocommit = True
            with self._connection.cursor() as cursor:
                cursor.execute(statement, (self._plan, self._instance, self._lease_ms, run, version))
                row = cursor.fetchone()
        except (InvalidSchemaName, UndefinedFunction):  # before the first run, and once its state is purged
            row = None
        except Error:
            self._close()
            raise
        if row is None:
            return None
        id_, state, version_, poll_ms = row
        return Record(id_, state, version_, None if poll_ms is None else poll_ms / 1000)

    def leave(self) -> None:
        """Its lease ends by itself, within a second."""
        self._close()

    def _close(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()


def _record(found: dict[str, Any]) -> Record:
    poll_ms = found.get("poll_ms")
    return Record(found["_id"], found["state"], found["version"], None if poll_ms is None else poll_ms / 1000)
