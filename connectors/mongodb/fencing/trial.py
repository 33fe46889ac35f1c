"""Whether a fence holds, by the writers' own logins: an insert and a delete of each, in transactions that are aborted
in any case. The server judges, and where it does not refuse, nothing is left of them either."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

from pymongo import MongoClient
from pymongo.client_session import ClientSession
from pymongo.collection import Collection
from pymongo.errors import OperationFailure, PyMongoError

from tranship.connectors.addresses import address_of
from tranship.connectors.mongodb.errors import USER_WRITES_BLOCKED
from tranship.connectors.protocols.fencing import Fenced, FenceKind
from tranship.plans.streams import Endpoint

Document = dict[str, Any]

PROBE = "tranship.probe"
"""The `_id` of what is tried to insert."""


class Trial:
    """The logins stay open, so that behind a fence nobody waits for one."""

    def __init__(self, connect: Callable[[str], MongoClient[Document]], database: str) -> None:
        self._connect = connect
        self._database = database
        self._clients: dict[str, MongoClient[Document]] = {}

    def close(self) -> None:
        """Close all of them."""
        for client in self._clients.values():
            client.close()
        self._clients.clear()

    def objections(self, what: Fenced) -> list[str]:
        """Whether each login is that of its writer. Leaves them open."""
        found = []
        for writer in what.writers:
            if writer.login is None:
                continue
            try:
                told = self._client(writer.login).admin.command("connectionStatus")["authInfo"]["authenticatedUsers"]
            except PyMongoError as error:
                found.append(f"the login of writer {writer} does not work ({type(error).__name__})")
                continue
            if {"user": writer.user, "db": writer.database} not in [{"user": u["user"], "db": u["db"]} for u in told]:
                found.append(f"the login of writer {writer} is that of somebody else")
        return found

    def passing(self, kind: FenceKind, what: Fenced) -> list[str]:
        """What was not refused as a fence of this kind refuses it."""
        return [
            f"user {writer} {found}"
            for writer in what.writers
            if writer.login is not None
            for collection in sorted({stream.collection for stream in what.streams})
            for found in self._tried(writer.login, collection, kind)
        ]

    def _tried(self, login: Endpoint, collection: str, kind: FenceKind) -> Iterator[str]:
        client = self._client(login)
        there = client[self._database][collection]
        for deed, act in _DEEDS[kind].items():
            with client.start_session() as session:
                session.start_transaction()
                try:
                    done = act(there, session)
                except OperationFailure as error:
                    if error.code not in _REFUSALS[kind]:
                        yield f"may be able to {deed} in {collection} (code {error.code})"
                    continue
                finally:
                    with suppress(PyMongoError):
                        session.abort_transaction()
                if done:
                    yield f"could {deed} in {collection}"

    def _client(self, login: Endpoint) -> MongoClient[Document]:
        uri = address_of(login)
        if uri not in self._clients:
            self._clients[uri] = self._connect(uri)
        return self._clients[uri]


def _insert(collection: Collection[Document], session: ClientSession) -> bool:
    collection.insert_one({"_id": PROBE}, session=session)
    return True


def _delete(collection: Collection[Document], session: ClientSession) -> bool:
    """Of an empty collection nothing can be deleted, and nothing is learned."""
    return collection.delete_one({}, session=session).deleted_count > 0


Act = Callable[[Collection[Document], ClientSession], bool]
_BOTH: dict[str, Act] = {"insert": _insert, "delete": _delete}
_DEEDS: dict[FenceKind, dict[str, Act]] = {
    FenceKind.WRITE_BLOCK: _BOTH,
    FenceKind.ROLES: _BOTH,
    FenceKind.VALIDATORS: {"insert": _insert},
}
"""What each kind stops."""
_INVALID, _UNAUTHORIZED = 121, 13
_REFUSALS = {
    FenceKind.WRITE_BLOCK: {USER_WRITES_BLOCKED, _INVALID},  # a collection's own validator is asked before
    FenceKind.ROLES: {_UNAUTHORIZED},
    FenceKind.VALIDATORS: {_INVALID},
}
