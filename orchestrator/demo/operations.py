"""What the writers do: each operation is a generator of writes, and computes by itself what each one leaves behind.

The next write of an operation is asked for only after the one before was acknowledged; when one was not, the operation
is given up and what it has done so far stands.
"""

from __future__ import annotations

import copy
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, TypeAlias

from bson import Decimal128
from pymongo.collection import Collection

from tranship.orchestrator.demo import shop
from tranship.orchestrator.demo.hazards import make_awkward
from tranship.orchestrator.demo.holdings import Holdings, owner
from tranship.orchestrator.demo.ledger import Place, place_of

Document: TypeAlias = dict[str, Any]
Send: TypeAlias = Callable[[Collection[Document]], int]

OTHER_SHAPE_SHARE = 0.03
"""How often a document comes back awkward when it is inserted again or replaced."""


@dataclass(frozen=True)
class Write:
    """One write: where, the whole document after it (None: deleted), how to send it.

    `send` returns how many documents the server found or inserted: always 1, unless somebody else writes the shop.
    """

    place: Place
    after: Document | None
    send: Send


@dataclass
class Desk:
    """What an operation works with: the thread's documents, its generator, numbers that nobody else uses."""

    holdings: Holdings
    rng: random.Random
    shop: shop.Shop
    thread: int
    threads: int
    next_number: int

    def fresh_number(self) -> int:
        """A number for a new key or unique value, different in all threads and from all seeded ones."""
        self.next_number += 1
        return self.next_number * self.threads + self.thread


Operation: TypeAlias = Callable[[Desk], Iterator[Write]]


def insert_document(desk: Desk) -> Iterator[Write]:
    """Insert a new document whose key falls to this thread."""
    collection = desk.rng.choice(["customers", "orders", "orders", "events"])
    while True:
        document = shop.BUILDERS[collection](desk.rng, desk.fresh_number(), desk.shop)
        if owner(place_of(collection, document), desk.threads) == desk.thread:
            break
    yield _insert(collection, document)


def update_field(desk: Desk) -> Iterator[Write]:
    """Set one root field, or one below it."""
    place = desk.holdings.pick_any(desk.rng, ["customers", "products", "orders", "events"])
    if place is None:
        return
    document = _known(desk, place)
    path, value = _new_value(desk.rng, place.collection)
    parent, _, child = path.partition(".")
    if child and not isinstance(document.get(parent), dict):
        return
    yield _set(place, document, path, value)


def update_element(desk: Desk) -> Iterator[Write]:
    """Set one field of one line item."""
    found = _order_with_items(desk)
    if found is None:
        return
    place, document = found
    position = desk.rng.randrange(len(document["items"]))
    after = copy.deepcopy(document)
    after["items"][position]["qty"] = quantity = desk.rng.randrange(1, 9)
    update = {"$set": {f"items.{position}.qty": quantity}}
    yield _update(place, document, after, update)


def push_element(desk: Desk) -> Iterator[Write]:
    """Append a line item, or put one before all others, which shifts them."""
    place = desk.holdings.pick_any(desk.rng, ["orders"])
    if place is None:
        return
    document = _known(desk, place)
    items = document.get("items")
    if not isinstance(items, list):
        return
    line = shop.item(desk.rng, desk.shop)
    if desk.rng.random() < 0.5:
        after, update = {**document, "items": [*items, line]}, {"$push": {"items": line}}
    else:
        after = {**document, "items": [line, *items]}
        update = {"$push": {"items": {"$each": [line], "$position": 0}}}
    yield _update(place, document, after, update)


def remove_element(desk: Desk) -> Iterator[Write]:
    """Shrink the line items: the first one, the last one, or all of one product."""
    found = _order_with_items(desk)
    if found is None:
        return
    place, document = found
    items = document["items"]
    removal = desk.rng.choice(["first", "last", "product"])
    if removal == "product":
        product = desk.rng.choice(items).get("sku")
        if not isinstance(product, str):
            return
        rest = [line for line in items if line.get("sku") != product]
        update: Document = {"$pull": {"items": {"sku": product}}}
    else:
        rest = items[1:] if removal == "first" else items[:-1]
        update = {"$pop": {"items": -1 if removal == "first" else 1}}
    yield _update(place, document, {**document, "items": rest}, update)


def delete_document(desk: Desk) -> Iterator[Write]:
    """Delete a document that is not hot."""
    place = desk.holdings.pick(desk.rng, desk.rng.choice(["customers", "orders", "events"]))
    if place is None or desk.holdings.is_hot(place):
        return
    yield _delete(place, _known(desk, place))


def insert_again(desk: Desk) -> Iterator[Write]:
    """Delete a document and insert one with the same key, now and then of another shape."""
    place = desk.holdings.pick_any(desk.rng, ["customers", "orders", "events"])
    if place is None:
        return
    document = _known(desk, place)
    yield _delete(place, document)
    yield _insert(place.collection, _anew(desk, place, document))


def replace_document(desk: Desk) -> Iterator[Write]:
    """Replace a whole document."""
    place = desk.holdings.pick_any(desk.rng, ["customers", "products", "orders", "events"])
    if place is None:
        return
    after = _anew(desk, place, _known(desk, place))
    yield _replace(place, after)


def swap_unique(desk: Desk) -> Iterator[Write]:
    """Move a unique value to another document, whose own value goes back: through a value that nobody else has."""
    pair = _two_with_unique(desk)
    if pair is None:
        return
    field, first, second = pair
    one, other = _known(desk, first)[field], _known(desk, second)[field]
    number = desk.fresh_number()
    parked = f"moving{number}@shop.example" if field == "email" else -number
    yield _set(first, _known(desk, first), field, parked)
    yield _set(second, _known(desk, second), field, one)
    yield _set(first, _known(desk, first), field, other)


def hand_over_unique(desk: Desk) -> Iterator[Write]:
    """Move a unique value to another document; the first has none for a moment, then the other's.

    It comes back by a replacement: setting the field again would leave it at the document's end.
    """
    pair = _two_with_unique(desk)
    if pair is None:
        return
    field, first, second = pair
    before, other = _known(desk, first), _known(desk, second)[field]
    after = {name: value for name, value in before.items() if name != field}
    yield _update(first, before, after, {"$unset": {field: ""}})
    yield _set(second, _known(desk, second), field, before[field])
    yield _replace(first, {**before, field: other})


OPERATIONS: dict[Operation, int] = {
    insert_document: 14,
    update_field: 30,
    update_element: 12,
    push_element: 10,
    remove_element: 10,
    delete_document: 7,
    insert_again: 5,
    replace_document: 6,
    swap_unique: 3,
    hand_over_unique: 3,
}
"""How often each operation is done, relative to the others."""


def choose(rng: random.Random) -> Operation:
    """A random operation."""
    return rng.choices(list(OPERATIONS), list(OPERATIONS.values()))[0]


def _new_value(rng: random.Random, collection: str) -> tuple[str, Any]:
    choices: dict[str, list[tuple[str, Any]]] = {
        "customers": [
            ("name", f"Renamed {rng.randrange(1000)}"),
            ("address.city", shop.city(rng)),
            ("tags", ["renewed", *(["twice"] if rng.random() < 0.5 else [])]),
        ],
        "products": [("stock", rng.randrange(1000)), ("price", shop.money(rng)), ("attrs.box.label", "fragile")],
        "orders": [
            ("status", shop.status(rng)),
            ("total", Decimal128(Decimal(rng.randrange(10**6)).scaleb(-2))),
            ("address.city", shop.city(rng)),
            ("placed_at", shop.moment(rng)),
        ],
        "events": [("amount", rng.randrange(1000) / 8), ("payload.impressions", rng.randrange(100))],
    }
    return rng.choice(choices[collection])


def _order_with_items(desk: Desk) -> tuple[Place, Document] | None:
    place = desk.holdings.pick_any(desk.rng, ["orders"])
    if place is None:
        return None
    document = _known(desk, place)
    items = document.get("items")
    return (place, document) if isinstance(items, list) and items and all(isinstance(i, dict) for i in items) else None


def _two_with_unique(desk: Desk) -> tuple[str, Place, Place] | None:
    """A unique field and two documents of this thread that have it, in the type that most have."""
    collection = desk.rng.choice(list(shop.UNIQUE))
    field = shop.UNIQUE[collection]
    kind = str if field == "email" else int
    pair = [desk.holdings.pick_any(desk.rng, [collection]) for _ in range(2)]
    if None in pair or pair[0] == pair[1]:
        return None
    first, second = (place for place in pair if place is not None)
    if not all(isinstance(_known(desk, place).get(field), kind) for place in (first, second)):
        return None
    return field, first, second


def _anew(desk: Desk, place: Place, before: Document) -> Document:
    """Another document with the same key, and with its unique value if it has one."""
    document = shop.BUILDERS[place.collection](desk.rng, desk.fresh_number(), desk.shop)
    document["_id"] = before["_id"]
    field = shop.UNIQUE.get(place.collection)
    if field in before:
        document[field] = before[field]
    if desk.rng.random() < OTHER_SHAPE_SHARE:
        make_awkward(desk.rng, place.collection, document, desk.shop.without, plain=True)
    return document


def _known(desk: Desk, place: Place) -> Document:
    document = desk.holdings.get(place)
    assert document is not None, f"{place} was picked, but it is not there"
    return document


def _by_key(document: Document) -> Document:
    return {"_id": document["_id"]}


def _insert(collection: str, document: Document) -> Write:
    def send(target: Collection[Document]) -> int:
        target.insert_one(document)
        return 1

    return Write(place_of(collection, document), document, send)


def _delete(place: Place, document: Document) -> Write:
    return Write(place, None, lambda collection: collection.delete_one(_by_key(document)).deleted_count)


def _replace(place: Place, after: Document) -> Write:
    return Write(place, after, lambda collection: collection.replace_one(_by_key(after), after).matched_count)


def _set(place: Place, document: Document, path: str, value: Any) -> Write:
    after = copy.deepcopy(document)
    *parents, name = path.split(".")
    parent = after
    for step in parents:
        parent = parent.setdefault(step, {})
    parent[name] = value
    return _update(place, document, after, {"$set": {path: value}})


def _update(place: Place, before: Document, after: Document, update: Document) -> Write:
    return Write(place, after, lambda collection: collection.update_one(_by_key(before), update).matched_count)
