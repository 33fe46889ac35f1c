"""The writers' operations, played without a server: what they leave behind keeps the shop's rules at every step."""

from __future__ import annotations

import random
from collections import Counter

import pytest

from tranship.orchestrator.demo import shop
from tranship.orchestrator.demo.holdings import Holdings, deal, mark_hot, owner
from tranship.orchestrator.demo.ledger import Place, place_of
from tranship.orchestrator.demo.operations import OPERATIONS, Desk, Operation, Write, choose
from tranship.orchestrator.demo.shop import UNIQUE, Shop
from tranship.orchestrator.demo.writers import hot_places

THREADS = 3
SHOP = Shop(seed=11, documents=900)


@pytest.fixture
def hands() -> list[Holdings]:
    hands = deal(SHOP.states(), THREADS)
    mark_hot(hands, hot_places(SHOP))
    return hands


def desk(hands: list[Holdings], thread: int, seed: int = 1) -> Desk:
    return Desk(hands[thread], random.Random(f"{seed}/{thread}"), SHOP, thread, THREADS, SHOP.documents)


def play(desks: list[Desk], operations: int) -> list[tuple[Operation, Write]]:
    """Run operations in turn, every write acknowledged at once."""
    done = []
    for number in range(operations):
        at = desks[number % len(desks)]
        operation = choose(at.rng)
        for write in operation(at):
            at.holdings.put(write.place, write.after)
            done.append((operation, write))
    return done


def test_every_operation_happens(hands: list[Holdings]) -> None:
    done = Counter(operation for operation, _ in play([desk(hands, thread) for thread in range(THREADS)], 2000))
    assert set(done) == set(OPERATIONS)


def test_a_thread_writes_only_its_own_keys(hands: list[Holdings]) -> None:
    for thread in range(THREADS):
        for operation, write in play([desk(hands, thread)], 1000):
            assert owner(write.place, THREADS) == thread, operation.__name__
            assert write.after is None or place_of(write.place.collection, write.after) == write.place


def test_unique_values_are_unique_after_every_single_write(hands: list[Holdings]) -> None:
    values: dict[tuple[str, object], Place] = {}
    held: dict[Place, object] = {}

    def note(place: Place, document: dict[str, object] | None) -> None:
        field = UNIQUE.get(place.collection, "")
        values.pop((place.collection, held.pop(place, None)), None)
        if document is None or field not in document:
            return
        value = (place.collection, document[field])
        assert value not in values, f"{value} is held by {values[value]} and {place}"
        values[value], held[place] = place, document[field]

    for place in SHOP.states():
        note(place, hands[owner(place, THREADS)].get(place))
    for _, write in play([desk(hands, thread) for thread in range(THREADS)], 4000):
        note(write.place, write.after)


def test_hot_documents_are_written_often_and_are_there_at_the_end(hands: list[Holdings]) -> None:
    hot = set(hot_places(SHOP))
    assert len(hot) == 20
    done = play([desk(hands, thread) for thread in range(THREADS)], 3000)
    assert sum(write.place in hot for _, write in done) > 0.1 * len(done)
    assert all(hands[owner(place, THREADS)].get(place) is not None for place in hot)


def test_the_same_seed_gives_the_same_writes() -> None:
    runs = []
    for _ in range(2):
        hands = deal(SHOP.states(), THREADS)
        runs.append([(write.place, write.after) for _, write in play([desk(hands, 0)], 500)])
    assert runs[0] == runs[1]


def test_writes_never_change_a_document_in_place(hands: list[Holdings]) -> None:
    at = desk(hands, 0)
    for _ in range(1500):
        for write in choose(at.rng)(at):
            before = at.holdings.get(write.place)
            copied = repr(before)
            at.holdings.put(write.place, write.after)
            assert repr(before) == copied


def test_a_retired_key_is_never_picked() -> None:
    holdings = Holdings()
    places = [place_of("orders", {"_id": number}) for number in range(5)]
    for place in places:
        holdings.put(place, {"_id": 0})
    holdings.mark_hot(places[2])
    holdings.retire(places[2])
    rng = random.Random(1)
    picked = {holdings.pick_any(rng, ["orders"]) for _ in range(200)}
    assert picked == set(places) - {places[2]}


def test_documents_of_unknown_state_are_retired_when_dealt() -> None:
    known, unknown = place_of("orders", {"_id": 1}), place_of("orders", {"_id": 2})
    [hand] = deal({known: (known.key,), unknown: (None, unknown.key)}, 1)
    assert hand.get(known) == {"_id": 1}
    assert hand.get(unknown) is None
    assert hand.is_retired(unknown)


@pytest.mark.parametrize("seed", range(3))
def test_writers_take_every_document_as_it_is(monkeypatch: pytest.MonkeyPatch, seed: int) -> None:
    monkeypatch.setattr(shop, "AWKWARD_SHARE", 1.0)
    hands = deal(SHOP.states(), THREADS)
    assert play([desk(hands, thread, seed) for thread in range(THREADS)], 6000)
