"""The shop's documents: the same for the same seed, in the plan's order, and seldom awkward."""

from __future__ import annotations

import random

import bson
import pytest

from tranship.orchestrator.demo.hazards import HAZARDS
from tranship.orchestrator.demo.shop import BUILDERS, SHARES, UNIQUE, Shop

SHOP = Shop(seed=3, documents=4000)

FIELDS = {
    "customers": ["_id", "email", "name", "address", "created_at", "tags"],
    "products": ["_id", "title", "price", "stock", "attrs"],
    "orders": ["_id", "order_no", "customer_id", "status", "total", "placed_at", "address", "items"],
    "events": ["_id", "kind", "at", "amount", "payload"],
}


def test_the_same_seed_gives_the_same_documents() -> None:
    assert SHOP.states() == Shop(seed=3, documents=4000).states()
    assert SHOP.states() != Shop(seed=4, documents=4000).states()


def test_the_shop_has_the_number_of_documents_asked_for() -> None:
    for documents in (1, 7, 1001):
        assert len(Shop(1, documents).states()) == documents
    assert {place.collection for place in SHOP.states()} == set(SHARES)


@pytest.mark.parametrize("collection", SHARES)
def test_fields_come_in_the_plans_order(collection: str) -> None:
    document = BUILDERS[collection](random.Random(1), 1, SHOP)
    assert list(document) == FIELDS[collection]


@pytest.mark.parametrize("collection", SHARES)
def test_about_one_in_a_hundred_is_awkward(collection: str) -> None:
    shop = Shop(seed=5, documents=40_000)
    plain = [BUILDERS[collection](_rng(shop, collection, n), n, shop) for n in range(shop.count(collection))]
    # By value, not by ==: 7 is not 7.0 here.
    awkward = sum(
        bson.encode(ours) != bson.encode(document)
        for ours, document in zip(plain, shop.collection(collection), strict=True)
    )
    assert 0.005 < awkward / len(plain) < 0.016


@pytest.mark.parametrize(("collection", "field"), UNIQUE.items())
def test_unique_fields_are_unique(collection: str, field: str) -> None:
    values = [document[field] for document in SHOP.collection(collection) if field in document]
    assert len(values) == len(set(values)) > 0.9 * SHOP.count(collection)


@pytest.mark.parametrize("collection", SHARES)
def test_every_hazard_changes_a_plain_document_and_keeps_its_key(collection: str) -> None:
    for hazard in HAZARDS[collection]:
        changed, plain = (BUILDERS[collection](random.Random(2), 1, SHOP) for _ in range(2))
        hazard(changed)
        assert bson.encode(changed) != bson.encode(plain)
        assert changed["_id"] == plain["_id"]
        unique = UNIQUE.get(collection, "")
        assert changed.get(unique) in (None, plain.get(unique))


def _rng(shop: Shop, collection: str, number: int) -> random.Random:
    return random.Random(f"{shop.seed}/{collection}/{number}")
