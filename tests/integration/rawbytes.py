"""Raw documents into a MongoDB server, and which of them it keeps as they are.

Some MongoDB-compatible servers decode what they store, and then refuse or change what their driver cannot hold (years
beyond 9999, symbols, repeated field names). A value that the server itself does not keep says nothing about tranship:
tests ask first, and name what they had to leave out.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from bson.raw_bson import RawBSONDocument
from pymongo.collection import Collection
from pymongo.errors import PyMongoError

from tests.unit.mongodb.bson_strategies import Value, pack_document


def insert(collection: Collection[Any], documents: Sequence[bytes]) -> None:
    """Insert documents as they are."""
    collection.insert_many(RawBSONDocument(document) for document in documents)


def found(collection: Collection[Any], condition: RawBSONDocument | None = None) -> bytes:
    """The documents of a collection as they are, one after the other."""
    return b"".join(bytes(block) for block in collection.find_raw_batches(condition))


def not_kept(scratch: Collection[Any], document: bytes, identity: Value) -> str:
    """Why the server does not keep a document's bytes, or does not find it by its `_id`; empty if it does both.

    `scratch` is emptied.
    """
    scratch.delete_many({})
    try:
        scratch.insert_one(RawBSONDocument(document))
        if found(scratch) != document:
            return "the source server changes it"
        if found(scratch, _having(identity)) != document:
            return "the source server does not find it by its _id"
    except PyMongoError as error:
        return f"the source server refuses it: {str(error).partition(', full error')[0][:160]}"
    return ""


def _having(identity: Value) -> RawBSONDocument:
    """The filter `{_id: {$eq: identity}}`."""
    kind, value = identity
    return RawBSONDocument(pack_document([(0x03, "_id", pack_document([(kind, "$eq", value)]))]))
