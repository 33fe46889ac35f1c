"""Six databases as they are found in the wild, the same documents every time: what `tranship init` has to get right.

Each gives (collections with their documents, what is made beside them). Sizes are small, shares are not: where a
field is off in one document of two hundred, it is so in life.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import pymongo
from bson import Binary, Code, Decimal128, Int64, ObjectId, Regex, Timestamp

Document = dict[str, Any]

START = datetime(2040, 1, 1, tzinfo=UTC)  # nothing of it has expired


def oid(kind: int, number: int) -> ObjectId:
    return ObjectId(bytes([0x65, 0x92, 0, 0, kind, 0, 0, 0]) + number.to_bytes(4))


def at(number: int) -> datetime:
    return START + timedelta(minutes=17 * number, milliseconds=number % 1000)


@dataclass(frozen=True)
class Sample:
    """A database: its documents, indexes (collection, keys, options) and collections that are made with options."""

    collections: Mapping[str, list[Document]]
    indexes: list[tuple[str, list[tuple[str, Any]], dict[str, Any]]] = field(default_factory=list)
    special: Mapping[str, dict[str, Any]] = field(default_factory=dict)

    def fill(self, client: pymongo.MongoClient[Document], name: str) -> None:
        """Make the database anew."""
        client.drop_database(name)
        database = client[name]
        for collection, options in self.special.items():
            database.create_collection(collection, **options)
        for collection, documents in self.collections.items():
            if documents:
                database[collection].insert_many(documents)
            elif collection not in self.special:
                database.create_collection(collection)
        for collection, keys, options in self.indexes:
            database[collection].create_index(keys, **options)


def shop() -> Sample:
    """A tidy shop: subdocuments, line items, money, references, unique fields, a few exceptions."""
    customers = [
        {
            "_id": oid(1, n),
            "email": f"c{n}@example.org",
            "name": {"first": f"Ada {n}", "last": "Łovelace"},
            "vip": n % 7 == 0,
            "created": at(n),
        }
        | ({"phone": f"+48 {n:09}"} if n % 3 else {})
        for n in range(300)
    ]
    products = [
        {"_id": f"sku-{n:04}", "title": f"Product {n}", "price": Decimal128(f"{n}.{n % 100:02}"), "stock": n % 50}
        | {"labels": [f"l{m}" for m in range(n % 4)]}
        for n in range(200)
    ]
    orders = [
        {
            "_id": oid(2, n),
            "number": n,
            "customer_id": oid(1, n % 300),
            "placed": at(n),
            "status": ("new", "paid", "sent")[n % 3],
            "items": [
                {"sku": f"sku-{(n + m) % 200:04}", "qty": m + 1, "price": Decimal128(f"{m}.50")}
                for m in range(1 + n % 3)
            ],
            "total": Decimal128(f"{n}.00"),
            "note": None if n % 2 else f"note {n}",
        }
        for n in range(600)
    ]
    orders[400]["total"] = "400.00"  # somebody's script
    return Sample(
        {"customers": customers, "products": products, "orders": orders},
        [
            ("customers", [("email", 1)], {"unique": True}),
            ("orders", [("number", 1)], {"unique": True}),
            ("orders", [("customer_id", 1), ("placed", -1)], {}),
            ("orders", [("items.sku", 1)], {}),
        ],
    )


def tenants() -> Sample:
    """Many customers in one database: every document has its tenant, keys are composite or UUIDs."""
    names = [f"tenant-{n:02}" for n in range(20)]
    people = [
        {
            "_id": {"tenant": names[n % 20], "user": n},
            "email": f"u{n}@t.example",
            "roles": ["admin"] if n % 9 == 0 else [],
        }
        | {"settings": {"theme": "dark" if n % 2 else "light", "page_size": 20}, "seen_at": at(n)}
        for n in range(400)
    ]
    documents = [
        {
            "_id": Binary(uuid.UUID(int=0x1234 << 64 | n).bytes, 4),
            "tenant": names[n % 20],
            "title": f"Document {n}",
            "size": Int64(n * 10_000_000_000),
            "shared": n % 2 == 0,
            "deleted_at": at(n) if n % 10 == 0 else None,
        }
        for n in range(500)
    ]
    return Sample(
        {"tenants": [{"_id": name, "plan": "free"} for name in names], "people": people, "documents": documents},
        [
            ("people", [("_id.tenant", 1), ("email", 1)], {"unique": True}),
            ("documents", [("tenant", 1), ("title", 1)], {}),
            ("documents", [("deleted_at", 1)], {"expireAfterSeconds": 86_400}),
            (
                "documents",
                [("title", 1), ("size", -1)],
                {
                    "unique": True,
                    "partialFilterExpression": {"shared": True, "size": {"$gt": Int64(5)}, "tenant": {"$exists": True}},
                },
            ),
        ],
        {
            "tenants": {
                "validator": {
                    "$jsonSchema": {
                        "properties": {"plan": {"enum": ["free", "paid"], "description": "What a tenant pays for"}}
                    }
                }
            }
        },
    )


def events() -> Sample:
    """A log: whole numbers as keys, doubles and whole numbers in one field, payloads without a shape, an expiry."""
    log = [
        {
            "_id": Int64(n),
            "ts": at(n),
            "source": f"host-{n % 5}",
            "level": ("debug", "info", "warn")[n % 3],
            "value": n if n % 2 else n / 8,
            "data": {f"k{n % 40}_{m}": m for m in range(3)},
        }
        for n in range(1000)
    ]
    daily = [{"_id": START + timedelta(days=n), "count": n, "hours": [m * n for m in range(24)]} for n in range(60)]
    return Sample(
        {"log": log, "daily": daily, "queue": []},
        [("log", [("ts", 1)], {"expireAfterSeconds": 604_800}), ("log", [("source", 1), ("ts", 1)], {})],
        {"capped_log": {"capped": True, "size": 65_536}},
    )


def polymorphic() -> Sample:
    """One collection for everything; and one whose kinds are hardly different."""
    media = [
        {"_id": oid(3, n), "type": "photo", "title": f"p{n}", "width": 100 + n, "height": 80, "camera": "X100"}
        for n in range(200)
    ]
    media += [
        {"_id": oid(4, n), "type": "video", "title": f"v{n}", "seconds": n / 4, "codecs": ["h264", "aac"]}
        for n in range(150)
    ]
    media += [
        {"_id": oid(5, n), "type": "text", "title": f"t{n}", "body": f"words {n}", "language": "pl"} for n in range(150)
    ]
    contacts = [{"_id": oid(6, n), "kind": "person" if n % 2 else "firm", "name": f"n{n}"} for n in range(100)]
    mixed = [
        {"_id": key, "n": n}
        for n, key in enumerate([oid(7, 0), "text", 5, Int64(2**40), 2.5, START, {"a": 1}, True, oid(7, 1), "more"])
    ]
    return Sample(
        {"media": media, "contacts": contacts, "mixed_keys": mixed},
        [("media", [("title", 1)], {}), ("contacts", [("name", 1)], {"unique": True})],
    )


def nested() -> Sample:
    """Documents in documents in arrays in arrays; a map with keys that are data; empty and missing arrays."""
    courses = [
        {
            "_id": oid(8, n),
            "title": f"Course {n}",
            "modules": [
                {
                    "name": f"Module {m}",
                    "lessons": [{"title": f"L{k}", "minutes": 5 * k, "tags": [f"t{k}"]} for k in range(1 + m)],
                    "exam": {"date": at(n), "points": {"max": 100, "pass": 50}},
                }
                for m in range(1 + n % 3)
            ],
            "meta": {"audit": {"created": {"by": f"u{n}", "at": at(n)}, "changed": {"by": "u0", "at": at(n + 1)}}},
            "scores": {f"student{n * 10 + k}": k for k in range(4)},
        }
        for n in range(150)
    ]
    boards = [
        {"_id": oid(9, n), "grid": [[m, n] for m in range(3)], "name": f"b{n}"}
        | ({"comments": [{"by": "x", "text": f"c{n}"}]} if n % 3 == 0 else {"comments": []} if n % 3 == 1 else {})
        for n in range(150)
    ]
    return Sample({"courses": courses, "boards": boards}, [("courses", [("meta.audit.created.at", -1)], {})])


def legacy() -> Sample:
    """Ten years of applications: every rule was broken by somebody."""
    users: list[Document] = []
    for n in range(500):
        user: Document = {"_id": oid(10, n), "Name": f"n{n}", "name": f"m{n}", "e-mail": f"{n}@x", "ctid": n, "a.b": n}
        user |= {"age": str(n % 90) if n % 4 == 0 else n % 90, "$weird": n, "long" * 20: "x", "_residue": "mine"}
        user |= {"price": (n, n + 0.5, Decimal128("1.10"), "free")[n % 4]}
        user |= {"born": START if n % 200 else datetime(1, 1, 1, tzinfo=UTC), "": "empty name"}
        if n % 2:
            user = dict(reversed(user.items()))
            user = {"_id": user.pop("_id"), **user}
        if n % 5 == 0:
            user["tags"] = [1, "two", None]
        if n == 250:
            user |= {"address": "nowhere", "once": 1}
        else:
            user["address"] = {"city": f"c{n}"}
        users.append(user)
    odd = [
        {"_id": "regex", "v": Regex("^a", "i")},
        {"_id": "code", "v": Code("f()")},
        {"_id": "time", "v": Timestamp(1, 2)},
        {"_id": "list", "v": [[1], {"x": [None]}]},
        {"_id": "nul", "v": "a\0b"},
        {"_id": "far", "v": Decimal128("1E+6000")},
        {"_id": "old binary", "v": Binary(b"abc", 3)},
        {"_id": "nothing"},
        {"_id": "x" * 1500, "v": 1},
    ]
    wide = [{"_id": n, **{f"field_{(7 * n + m) % 900}": m for m in range(20)}} for n in range(200)]
    one = [{"_id": "all", "by_id": {str(oid(11, n)): n for n in range(3000)}}]
    return Sample(
        {"users": users, "odd": odd, "wide": wide, "one": one, "empty": [], "Users": [{"_id": oid(12, 1), "x": 1}]},
        [
            ("users", [("address.city", 1)], {"partialFilterExpression": {"ctid": {"$gt": 5}}, "name": "partial"}),
            ("users", [("name", 1), ("age", 1)], {"unique": True, "name": "two"}),
        ],
        {"users": {"validator": {"ctid": {"$exists": True}}}},
    )


SAMPLES: Mapping[str, Callable[[], Sample]] = {
    "shop": shop,
    "tenants": tenants,
    "events": events,
    "polymorphic": polymorphic,
    "nested": nested,
    "legacy": legacy,
}
