"""The shop: the documents that the demo migrates, the same for the same seed.

Each document has its fields in the order of the plan (`plans/examples/02-shop.yaml`): key, columns, arrays; and what
goes into a json column has its keys in the order in which jsonb keeps them (by length, then by bytes). So nothing is
left to the residue except where it must be: about one document in a hundred is awkward (`orchestrator.demo.hazards`).
The builders of single documents also serve the writers.
"""

from __future__ import annotations

import random
import struct
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from functools import partial
from typing import Any, TypeAlias

import bson
import pymongo
from bson import Decimal128, Int64, ObjectId
from pymongo.write_concern import WriteConcern

from tranship.orchestrator.demo.hazards import make_awkward, not_kept
from tranship.orchestrator.demo.ledger import States, place_of

Document: TypeAlias = dict[str, Any]

SHARES = {"customers": 0.15, "products": 0.05, "orders": 0.50, "events": 0.30}
"""Each collection's part of all documents."""

UNIQUE = {"customers": "email", "orders": "order_no"}
"""Fields with a unique index. Sparse: a document may lack the field for a while, and some always do."""

AWKWARD_SHARE = 0.01

_EPOCH = datetime(2024, 1, 1, tzinfo=UTC)
_SECONDS = 2 * 365 * 86_400
_FIRST_ID_TIME = 1_704_067_200
_NAMES = ["Ada", "Björn", "Chloé", "Đorđe", "Ewa", "Fatima", "Γιώργος", "Hana", "Иван", "José", "健太", "Zoë 🛒"]
_STREETS = ["High Street", "Rue de l'Église", "Straße des 17. Juni", "улица Мира", "中山路"]
_CITIES = ["Aarhus", "Bruges", "Córdoba", "Łódź", "München", "Porto", "Québec", "Tōkyō"]
_TAGS = ["new", "regular", "gold", "newsletter", "b2b", "ümlaut"]
_STATUSES = ["placed", "paid", "packed", "shipped", "returned"]
_KINDS = ["view", "cart", "search", "checkout"]


@dataclass(frozen=True)
class Shop:
    """All documents of a shop of the given size; nothing is kept in memory. `without` names hazards to do without."""

    seed: int
    documents: int
    without: frozenset[str] = frozenset()

    def count(self, collection: str) -> int:
        """How many documents a collection has; the last one takes what rounding leaves."""
        counts = {name: int(self.documents * share) for name, share in SHARES.items()}
        counts["events"] += self.documents - sum(counts.values())
        return counts[collection]

    def collection(self, name: str) -> Iterator[Document]:
        """The collection's documents, each made from a generator of its own."""
        # No more than the share: of few documents chance could else make so many whose prices fit no column that the
        # plan which `init` makes is refused for it (`limits.misfit`), as it should be.
        left = int(self.count(name) * AWKWARD_SHARE)
        for number in range(self.count(name)):
            rng = random.Random(f"{self.seed}/{name}/{number}")
            document = BUILDERS[name](rng, number, self)
            if left and rng.random() < AWKWARD_SHARE:
                make_awkward(rng, name, document, self.without)
                left -= 1
            yield document

    def on(self, uri: str) -> Shop:
        """This shop without the hazards that the server there cannot keep."""
        examples = {name: partial(BUILDERS[name], random.Random(0), 0, self) for name in SHARES}
        return replace(self, without=not_kept(uri, examples))

    def states(self) -> States:
        """The states of all documents right after seeding."""
        return {
            place_of(name, document): (bson.encode(document),) for name in SHARES for document in self.collection(name)
        }


def object_id(kind: int, number: int) -> ObjectId:
    """The ObjectId of a numbered document; `kind` keeps collections apart. Later numbers are greater."""
    return ObjectId(struct.pack(">IIxBH", _FIRST_ID_TIME, number, kind, 0))


def customer(rng: random.Random, number: int, _shop: Shop) -> Document:
    """A customer with a unique email."""
    name = rng.choice(_NAMES)
    return {
        "_id": object_id(1, number),
        "email": f"customer{number}@shop.example",
        "name": f"{name} {number}",
        "address": {
            "street": f"{rng.choice(_STREETS)} {rng.randrange(1, 200)}",
            "city": rng.choice(_CITIES),
            "zip": f"{rng.randrange(100_000):05}",
        },
        "created_at": moment(rng),
        "tags": rng.sample(_TAGS, rng.randrange(len(_TAGS))),
    }


def product(rng: random.Random, number: int, _shop: Shop) -> Document:
    """A product whose key is a text."""
    return {
        "_id": sku(number),
        "title": f"Product {number} {rng.choice(['klein', 'grande', '大', 'XL'])}",
        "price": money(rng),
        "stock": rng.randrange(1000),
        "attrs": {
            "box": {"label": None, "weight": rng.randrange(1, 400) / 8},
            "sizes": [rng.randrange(30, 50) for _ in range(rng.randrange(4))],
            "colour": rng.choice(["red", "grün", "青"]),
            "fragile": rng.random() < 0.5,
        },
    }


def order(rng: random.Random, number: int, shop: Shop) -> Document:
    """An order with a unique number and an array of line items."""
    items = [item(rng, shop) for _ in range(rng.randrange(1, 5))]
    return {
        "_id": object_id(2, number),
        "order_no": number + 1,
        "customer_id": object_id(1, rng.randrange(max(1, shop.count("customers")))),
        "status": rng.choice(_STATUSES),
        "total": Decimal128(sum((line["price"].to_decimal() * line["qty"] for line in items), Decimal("0.00"))),
        "placed_at": moment(rng),
        "address": {"city": rng.choice(_CITIES)},
        "items": items,
    }


def item(rng: random.Random, shop: Shop) -> Document:
    """A line item of an order."""
    return {"sku": sku(rng.randrange(max(1, shop.count("products")))), "qty": rng.randrange(1, 6), "price": money(rng)}


def event(rng: random.Random, number: int, _shop: Shop) -> Document:
    """An event whose key is an int64 and whose payload has no fixed shape."""
    payload: Document = {}
    if rng.random() < 0.3:
        payload["path"] = [{"step": step, "words": ["søk", None, True]} for step in range(rng.randrange(3))]
    payload |= {"pages": [rng.randrange(100) for _ in range(3)], "session": f"{rng.getrandbits(64):016x}"}
    return {
        "_id": Int64(number + 1),
        "kind": rng.choice(_KINDS),
        "at": moment(rng),
        "amount": rng.randrange(100_000) / 64,
        "payload": payload,
    }


BUILDERS = {"customers": customer, "products": product, "orders": order, "events": event}
"""The builder of each collection's documents: (generator, number, shop)."""


def sku(number: int) -> str:
    """The key of a numbered product."""
    return f"sku-{number:06}"


def money(rng: random.Random) -> Decimal128:
    """An amount with two decimals."""
    return Decimal128(Decimal(rng.randrange(1, 100_000)).scaleb(-2))


def moment(rng: random.Random) -> datetime:
    """A time with the milliseconds that MongoDB keeps."""
    return _EPOCH + timedelta(milliseconds=rng.randrange(_SECONDS * 1000))


def status(rng: random.Random) -> str:
    """A status of an order."""
    return rng.choice(_STATUSES)


def city(rng: random.Random) -> str:
    """A city."""
    return rng.choice(_CITIES)


def seed_shop(uri: str, database: str, shop: Shop) -> None:
    """Fill the empty database with the shop's documents, all of which its server keeps, and make its unique indexes."""
    majority = WriteConcern("majority")
    with pymongo.MongoClient[Document](uri) as client:
        for name in SHARES:
            collection = client[database].get_collection(name, write_concern=majority)
            for batch in _batches(shop.collection(name)):
                collection.insert_many(batch)
            if name in UNIQUE:
                collection.create_index(UNIQUE[name], unique=True, sparse=True)


def _batches(documents: Iterator[Document], size: int = 1000) -> Iterator[list[Document]]:
    batch: list[Document] = []
    for document in documents:
        batch.append(document)
        if len(batch) == size:
            yield batch
            batch = []
    if batch:
        yield batch
