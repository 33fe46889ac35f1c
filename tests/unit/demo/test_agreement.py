"""The mapper against the oracle's reading of the shop's plan: two authors, one result, on every kind of document."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import bson
import pytest

from tranship.connectors.mongodb.mapper import Mapper
from tranship.orchestrator.demo import exactness
from tranship.orchestrator.demo import expectations as e
from tranship.orchestrator.demo.hazards import HAZARDS
from tranship.orchestrator.demo.holdings import deal
from tranship.orchestrator.demo.ledger import decode
from tranship.orchestrator.demo.operations import Desk, choose
from tranship.orchestrator.demo.shop import BUILDERS, SHARES, Shop
from tranship.plans import load, resolve

PLAN = Path(__file__).parents[3] / "plans" / "examples" / "02-shop.yaml"
SHOP = Shop(seed=17, documents=4000)


@pytest.fixture
def mappers(monkeypatch: pytest.MonkeyPatch) -> dict[str, Mapper]:
    monkeypatch.setenv("SOURCE_URI", "mongodb://nowhere.example/")
    monkeypatch.setenv("TARGET_URI", "postgresql://nowhere.example/none")
    return {stream.collection: Mapper(stream) for stream in resolve(load(PLAN))}


def test_seeded_and_written_documents(mappers: dict[str, Mapper]) -> None:
    documents = [(place.collection, state) for place, (state,) in SHOP.states().items() if state is not None]
    documents += _written()
    residues = sum(_agree(mappers, collection, raw) for collection, raw in documents)
    assert 0 < residues / len(documents) < 0.02


@pytest.mark.parametrize("collection", SHARES)
def test_every_hazard(collection: str, mappers: dict[str, Mapper]) -> None:
    for hazard in HAZARDS[collection]:
        document = BUILDERS[collection](random.Random(5), 1, SHOP)
        hazard(document)
        _agree(mappers, collection, bson.encode(document))


def _written() -> Iterator[tuple[str, bytes]]:
    [hand] = deal(SHOP.states(), 1)
    desk = Desk(hand, random.Random(9), SHOP, 0, 1, 10**6)
    for _ in range(2000):
        for write in choose(desk.rng)(desk):
            hand.put(write.place, write.after)
            if write.after is not None:
                yield write.place.collection, bson.encode(write.after)


def _agree(mappers: dict[str, Mapper], collection: str, raw: bytes) -> bool:
    """Compare the mapper's row with the expectation; returns whether the row has residue."""
    mapper, expectation = mappers[collection], e.EXPECTATIONS[collection]
    row = mapper.project(raw)
    names = mapper.schema.names
    root = _columns(expectation.root, dict(zip(names, row, strict=True)))
    children = []
    if expectation.child is not None:
        columns = [column.name for column in mapper.stream.children[0].columns]
        children = [
            _columns(expectation.child, dict(zip(columns, child, strict=False)))
            for child in row[names.index(expectation.child.name)]
        ]
    document = decode(raw)
    assert (root, tuple(children)) == expectation.form(document), document
    assert (row[-1] is not None) is exactness.root(collection, raw, document), document
    if expectation.child is not None:
        flags = [child[-1] is not None for child in row[names.index(expectation.child.name)]]
        elements = document[expectation.field] if flags else []
        assert flags == list(map(exactness.element, elements)), document
    assert mapper.unproject(row) == raw
    return row[-1] is not None


def _columns(table: e.Table, row: dict[str, Any]) -> tuple[Any, ...]:
    return tuple(_plain(expect, row[name]) for name, _, expect in table.columns)


def _plain(expect: e.Expect, value: Any) -> Any:
    """A value of the mapper's row in the oracle's form."""
    if value is None:
        return None
    if expect is e.money:
        return Decimal(value).scaleb(-2)
    if expect is e.moment:
        return value // 1000
    if expect is e.anything:
        return e.json_text(json.loads(value))
    return e.double(value) if expect is e.double else value
