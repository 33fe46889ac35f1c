"""The connection that reading and watching share, and the form of positions."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import bson
from bson.codec_options import CodecOptions, DatetimeConversion
from bson.raw_bson import RawBSONDocument
from bson.timestamp import Timestamp
from pymongo import MongoClient, ReadPreference
from pymongo.client_session import ClientSession
from pymongo.database import Database
from pymongo.errors import OperationFailure
from pymongo.read_concern import ReadConcern
from pymongo.write_concern import WriteConcern

from tranship.connectors.addresses import address_of, is_unambiguous
from tranship.connectors.errors import ConnectorError, RefusedError
from tranship.connectors.mongodb.errors import NOT_ANSWERED, NOT_AUTHORISED, translated
from tranship.connectors.mongodb.fencing.trial import Trial
from tranship.connectors.protocols import Position
from tranship.plans.streams import Endpoint, Stream

if TYPE_CHECKING:
    from tranship.connectors.mongodb.mapper import Mapper

RAW = CodecOptions(document_class=RawBSONDocument, datetime_conversion=DatetimeConversion.DATETIME_MS)

SERVER_SELECTION_TIMEOUT_MS = 10_000
CONNECT_TIMEOUT_MS = 10_000
SOCKET_TIMEOUT_MS = 30 * 60_000
"""A reply may take long: after a pause a change stream first looks through all of the server's history since. A dead
peer is noticed sooner, by the driver's monitors, which close a server's connections when its heartbeat stays away."""
WRITE_TIMEOUT_MS = 60_000
"""For a majority to confirm a marker."""


class MongoConnection:
    """One client of the source. Reads from the primary, majority committed data only.

    Nothing is looked up before it is first used: a run is taken back also when the address leads nowhere any more.
    """

    def __init__(self, endpoint: Endpoint) -> None:
        self._endpoint = endpoint
        self._opened: dict[str, MongoClient[dict[str, Any]]] = {}
        self._mappers: dict[str, Mapper] = {}
        self._trial = Trial(_client, endpoint.database)
        self._not_told: set[str] = set()
        """Commands that this user got no answer to for want of a right."""

    def close(self) -> None:
        """Close all connections to the server."""
        self._trial.close()
        for client in self._opened.values():
            client.close()

    @property
    def _client(self) -> MongoClient[dict[str, Any]]:
        """A client for the present address: another one when a secret has changed. What an earlier one has under way
        goes on with it."""
        uri = address_of(self._endpoint)
        if uri not in self._opened:
            self._opened[uri] = _client(uri)
        return self._opened[uri]

    @property
    def _database(self) -> Database[dict[str, Any]]:
        with translated("choosing the database"):
            return self._client.get_database(
                self._endpoint.database,
                read_preference=ReadPreference.PRIMARY,
                read_concern=ReadConcern("majority"),
                write_concern=WriteConcern("majority", wtimeout=WRITE_TIMEOUT_MS),
            )

    def identity(self) -> str:
        """The replica set and the database: by the set's id where we may read it, else by its name."""
        hello = self._hello()
        told = (
            self._told("replSetGetConfig", "reading the configuration of the replica set") if "setName" in hello else {}
        )
        config = told.get("config", {})
        replica_set = config.get("settings", {}).get("replicaSetId") or hello.get("setName", "standalone")
        return f"mongodb:{replica_set}/{self._database.name}"

    def _hello(self) -> Mapping[str, Any]:
        with translated("asking the source who it is"):
            return self._client.admin.command("hello")

    def _told(self, command: str, doing: str, value: Any = 1, **options: Any) -> Mapping[str, Any]:
        """The reply to a command; empty where this user may not give it or the server does not have it."""
        found: dict[str, Any] = {}
        with translated(doing):
            self._not_told.discard(command)
            try:
                found = self._client.admin.command(command, value, **options)
            except OperationFailure as error:
                if error.code not in NOT_ANSWERED:
                    raise
                if error.code in NOT_AUTHORISED:
                    self._not_told.add(command)
        return found

    def _mapper(self, stream: Stream) -> Mapper:
        from tranship.connectors.mongodb.mapper import Mapper  # with Arrow: a look at the server needs none

        found = self._mappers.get(stream.name)
        if found is None or found.stream != stream:
            found = self._mappers[stream.name] = Mapper(stream)
        return found

    def _session(self, after: Position) -> ClientSession:
        """A session whose reads see at least what the position had seen."""
        session = self._client.start_session(causal_consistency=True)
        session.advance_operation_time(position_time(after))
        return session


_FILES = ("tlsCAFile", "tlsCertificateKeyFile", "tlsCRLFile")
"""Options that name files, which the driver reads at once."""


def _client(uri: str) -> MongoClient[dict[str, Any]]:
    """A client that connects when it is first used. Options in the URI win over our defaults."""
    defaults: dict[str, Any] = {
        "serverSelectionTimeoutMS": SERVER_SELECTION_TIMEOUT_MS,
        "connectTimeoutMS": CONNECT_TIMEOUT_MS,
        "socketTimeoutMS": SOCKET_TIMEOUT_MS,
    }
    if not is_unambiguous(uri):  # a part of the password would be taken for a host, and shown as one
        raise RefusedError(
            "connecting to the source: the MongoDB URI cannot be read: in user and password write @ as %40, / as %2F"
        )
    try:
        with translated("connecting to the source"):
            left_open = {name: value for name, value in defaults.items() if name.lower() not in uri.lower()}
            return MongoClient(uri, appname="tranship", **left_open)
    except OSError:
        unread = [name for name in _FILES if name.lower() in uri.lower()]
        raise RefusedError(
            f"connecting to the source: a file that the MongoDB URI names is not there or cannot be read: "
            f"{', '.join(unread)}"
        ) from None
    except ValueError:  # the driver's text shows parts of the URI
        raise RefusedError("connecting to the source: the MongoDB URI cannot be read") from None


def make_position(token: Mapping[str, Any], time: Timestamp) -> Position:
    """A position: the change stream's resume token, and a cluster time at or after all that came before it."""
    return Position(bson.encode({"token": token, "ts": time}))


def position_token(position: Position) -> RawBSONDocument:
    """The resume token of a position. Raises `ConnectorError` for bytes that are no position."""
    return _position(position)["token"]  # type: ignore[no-any-return]


def position_time(position: Position) -> Timestamp:
    """The cluster time of a position. Raises `ConnectorError` for bytes that are no position."""
    return _position(position)["ts"]  # type: ignore[no-any-return]


def _position(position: Position) -> RawBSONDocument:
    with translated("reading a position of the source"):
        found = RawBSONDocument(position.token, RAW)
        if isinstance(found.get("token"), RawBSONDocument) and isinstance(found.get("ts"), Timestamp):
            return found
    raise ConnectorError("these bytes are not a position of a MongoDB source")
