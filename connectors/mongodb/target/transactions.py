"""Multi-document transactions with a majority, and what became of those whose COMMIT was not answered.

**Bounds.** The server ends a transaction after `transactionLifetimeLimitSeconds` (60 s): all of it is lost then, which
is a `TransientError` here; whoever repeats it has to take fewer keys. A document may have 16 MB, a transaction as
a whole any number of them, as far as the server's cache goes.

**Left behind.** A transaction whose client has died holds what it wrote until that limit. Its session is on record
beside the marks before it begins, so that who takes over can end it (`killSessions`), and who holds the same mark.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from contextlib import suppress
from random import random
from typing import Any, TypeVar

from bson import Binary
from bson.errors import BSONError
from pymongo import MongoClient, ReadPreference
from pymongo.client_session import ClientSession
from pymongo.errors import ConnectionFailure, OperationFailure, PyMongoError
from pymongo.read_concern import ReadConcern
from pymongo.write_concern import WriteConcern

from tranship.connectors.errors import AmbiguousCommitError, TransientError
from tranship.connectors.mongodb.connection import WRITE_TIMEOUT_MS
from tranship.connectors.mongodb.errors import translate

T = TypeVar("T")
Document = dict[str, Any]

CONFLICT_S = 5.0
"""How long a transaction is begun anew that meets another one's writes: applications' own are over much sooner."""
_PAUSE_S = 0.05

_WRITE_CONFLICT = 112
_CLOSED = "transaction already closed"
"""What the fast embedded server says, as an internal error, of a transaction that was ended while it worked."""


def _nothing() -> None:
    """What is to be done for most."""


class ConflictError(Exception):
    """Another transaction has written the same documents, or the server has ended this one. Nothing was committed."""


class Transactions:
    """One session, one transaction at a time; safe for several threads.

    A session that lives on has another use: the server ends what an earlier transaction of it has left open as soon as
    the next one begins.
    """

    def __init__(self, client: Callable[[], MongoClient[Document]]) -> None:
        self._client = client
        self._lock = threading.Lock()
        self._session: ClientSession | None = None

    @property
    def session_id(self) -> Binary:
        """By which the server knows the session."""
        with self._lock:
            found: Binary = self._opened().session_id["id"]
            return found

    def run(
        self,
        doing: str,
        work: Callable[[ClientSession], T],
        *,
        again: bool = True,
        conflicting: Callable[[], object] = _nothing,
    ) -> T:
        """What `work` returns, committed. It is called anew when it meets another transaction's writes, if it may be;
        `conflicting` is called before that.

        Raises `TransientError` when nothing was committed, `AmbiguousCommitError` when nobody knows.
        """
        until = time.monotonic() + CONFLICT_S
        while True:
            try:
                with self._lock:
                    return self._once(doing, work)
            except ConflictError:
                conflicting()
                if not again or time.monotonic() > until:
                    raise TransientError(
                        f"{doing}: others write the same documents in MongoDB, or the transaction took too long"
                    ) from None
            time.sleep(_PAUSE_S * random())

    def _once(self, doing: str, work: Callable[[ClientSession], T]) -> T:
        session = self._opened()
        session.start_transaction(
            read_concern=ReadConcern("snapshot"),
            write_concern=WriteConcern("majority", wtimeout=WRITE_TIMEOUT_MS),
            read_preference=ReadPreference.PRIMARY,
        )
        try:
            result = work(session)
        except BaseException as error:
            with suppress(PyMongoError):  # the server ends it anyway, at the latest with the next one
                session.abort_transaction()
            if isinstance(error, (PyMongoError, BSONError)):
                if is_conflict(error):
                    raise ConflictError from None
                raise translate(error, doing) from None
            raise
        self._commit(doing, session)
        return result

    def _commit(self, doing: str, session: ClientSession) -> None:
        try:
            session.commit_transaction()  # the driver repeats it once, which is safe: it is the same transaction
        except PyMongoError as error:
            if error.has_error_label("UnknownTransactionCommitResult") or isinstance(error, ConnectionFailure):
                raise AmbiguousCommitError(f"{doing}: whether MongoDB has committed is not known") from None
            if is_conflict(error):
                raise ConflictError from None
            raise translate(error, doing) from None

    def _opened(self) -> ClientSession:
        if self._session is None:
            self._session = self._client().start_session()
        return self._session

    def close(self) -> None:
        """End the session."""
        with self._lock, suppress(PyMongoError):
            if self._session is not None:
                self._session.end_session()
            self._session = None


def is_conflict(error: BaseException) -> bool:
    """Whether the same transaction may go through when it is begun anew, by the server's own word."""
    if not isinstance(error, OperationFailure):
        return False
    ended = error.code == _WRITE_CONFLICT or error.has_error_label("TransientTransactionError")
    return ended or _CLOSED in str(error)
