"""What is made of documents, as a version; and the key of a raw document. Apart from the mapper, which needs Arrow."""

from __future__ import annotations

import hashlib
import struct

from tranship.connectors import keycodec
from tranship.connectors.mongodb import bsonwalk
from tranship.connectors.mongodb.roots import ID

PROJECTION = "mongodb-3"
"""To be changed with everything that changes what documents, keys and filters become: runs that go on then compare all
again (`BatchSource.projection`). 2: subtype 2, code with scope, levels in json; filters whole."""


def key_of(raw: bytes) -> bytes:
    """The canonical key of a document that may be malformed behind its `_id`.

    Where not even that can be read, a key that no document has: 0xFF and the document's SHA-256.
    """
    try:
        if raw[5 : 6 + len(ID)] == ID.encode() + b"\0":
            start = 6 + len(ID)
            end = start + keycodec.value_size(raw[4], raw, start)
            if end <= len(raw):
                return keycodec.encode(raw[4], raw[start:end])
        for kind, name, start, end in bsonwalk.split(raw, 0, len(raw)):
            if name == ID.encode():
                return keycodec.encode(kind, raw[start:end])
    except (bsonwalk.MalformedBSONError, ValueError, IndexError, KeyError, struct.error):
        pass
    return b"\xff" + hashlib.sha256(raw).digest()
