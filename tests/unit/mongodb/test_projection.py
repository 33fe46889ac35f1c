"""The name of the projection changes with what it makes of documents: runs that live through an upgrade compare anew.

When this fails and the change is meant, raise `PROJECTION` in `connectors/mongodb/mapper.py` and write the new digest
here, under the new name. An old name keeps its digest for ever.
"""

from __future__ import annotations

import hashlib

import bson

from tests.fidelity_table import lines
from tests.residues import residues
from tests.unit.mongodb.fidelity_mapper import stream
from tranship.connectors.mongodb import rows
from tranship.connectors.mongodb.filters import where
from tranship.connectors.mongodb.mapper import Mapper
from tranship.connectors.mongodb.projection import PROJECTION
from tranship.plans.streams import Child, Column, Index, LogicalType, Stream

DIGESTS = {"mongodb-3": "2e171a9480d9d9527702257998e099dce82d64541a3d0213e27d2ab6f287f481"}

KEY = Column("_id", ("_id",), LogicalType.INT64, "int64")
INDEXED = Stream(
    "s",
    "s",
    "s",
    (KEY,),
    (Column("a", ("a",), LogicalType.TEXT, "string", unique=True), Column("b", ("d", "b"), LogicalType.TEXT, "string")),
    (Child("c", ("c",), (Column("t", ("t",), LogicalType.TEXT, "string"),)),),
    (Index(("a", "b")),),
    where='{"a": {"$regex": "^x", "$nin": ["xy"]}}',
)


def _all_that_it_makes() -> str:
    digest = hashlib.sha256()
    for line in lines():
        _add(digest, Mapper(stream(line)), line.document(7))
    texts = [{"a": "x" * size, "d": {"b": "y" * size}, "c": [{"t": "z" * size}, {"t": 1}]} for size in (9, 1261, 2561)]
    for number, fields in enumerate(texts):
        _add(digest, Mapper(INDEXED), bson.encode({"_id": bson.Int64(number), **fields}))
    digest.update(repr(where(INDEXED)).encode())
    return digest.hexdigest()


def _add(digest: hashlib._Hash, mapper: Mapper, raw: bytes) -> None:
    batch = mapper.batch([raw])
    digest.update(repr((list(rows.from_batch(batch.rows)), batch.quarantined, sorted(residues(batch)))).encode())


def test_what_the_projection_makes_of_documents_has_its_name() -> None:
    assert DIGESTS.get(PROJECTION) == _all_that_it_makes()
