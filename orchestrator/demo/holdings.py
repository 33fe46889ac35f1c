"""The documents that one writer thread owns, as the server has them: it never needs to read them.

Keys are dealt out by hash, so every write of a key comes from one thread, and the order of its acknowledged writes is
known. Of the hot keys each thread has those that fall to it.
"""

from __future__ import annotations

import random
import zlib
from collections.abc import Iterable
from typing import Any, TypeAlias

from tranship.orchestrator.demo.ledger import Place, States, decode, is_plain

Document: TypeAlias = dict[str, Any]

HOT_SHARE = 0.3
"""The part of updates that goes to hot keys."""


class Holdings:
    """A thread's documents by collection, with a random pick in constant time."""

    def __init__(self) -> None:
        self._documents: dict[Place, Document] = {}
        self._places: dict[str, list[Place]] = {}
        self._positions: dict[Place, int] = {}
        self._hot: set[Place] = set()
        self._retired: set[Place] = set()

    def get(self, place: Place) -> Document | None:
        """The document as it is now; not to be changed."""
        return self._documents.get(place)

    def put(self, place: Place, document: Document | None) -> None:
        """The document is now this; None: deleted."""
        if document is None:
            self._forget(place)
            return
        if place not in self._documents:
            places = self._places.setdefault(place.collection, [])
            self._positions[place] = len(places)
            places.append(place)
        self._documents[place] = document

    def retire(self, place: Place) -> None:
        """Its state is not known any more: never pick it again."""
        self._retired.add(place)
        self._hot.discard(place)
        self._forget(place)

    def is_retired(self, place: Place) -> bool:
        """Whether the key may not be written any more."""
        return place in self._retired

    def mark_hot(self, place: Place) -> None:
        """Prefer this key for updates, and never delete it for good."""
        self._hot.add(place)

    def is_hot(self, place: Place) -> bool:
        """Whether the key is preferred for updates."""
        return place in self._hot

    def pick(self, rng: random.Random, collection: str) -> Place | None:
        """A random document of a collection, None when there is none."""
        places = self._places.get(collection)
        return rng.choice(places) if places else None

    def pick_any(self, rng: random.Random, collections: list[str]) -> Place | None:
        """A hot document now and then, else a random one of a random collection."""
        hot = sorted(place for place in self._hot if place.collection in collections and place in self._documents)
        if hot and rng.random() < HOT_SHARE:
            return rng.choice(hot)
        return self.pick(rng, rng.choice(collections))

    def _forget(self, place: Place) -> None:
        if self._documents.pop(place, None) is None:
            return
        places = self._places[place.collection]
        position, last = self._positions.pop(place), places.pop()
        if last != place:
            places[position] = last
            self._positions[last] = position


def deal(states: States, threads: int) -> list[Holdings]:
    """Deal the documents out to the threads; those of unknown state, or that no dictionary holds, are retired."""
    hands = [Holdings() for _ in range(threads)]
    for place, possible in states.items():
        hand = hands[owner(place, threads)]
        if len(possible) > 1 or (possible[0] is not None and not is_plain(possible[0])):
            hand.retire(place)
        elif possible[0] is not None:
            hand.put(place, decode(possible[0]))
    return hands


def owner(place: Place, threads: int) -> int:
    """The thread that owns a key."""
    return zlib.crc32(place.key, zlib.crc32(place.collection.encode())) % threads


def mark_hot(hands: list[Holdings], places: Iterable[Place]) -> None:
    """Tell each thread which of its keys are hot."""
    for place in places:
        hand = hands[owner(place, len(hands))]
        if hand.get(place) is not None:
            hand.mark_hot(place)
