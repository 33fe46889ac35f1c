"""A sample from all over the key space: runs of documents that follow one another, at places between known keys.

`$sample` gives other documents each time, and may read the whole collection for them. So the widest gap that is not
known to be empty is cut at a random place, again and again, and a run of documents is read from there on: each costs
a look into the index. One seed gives one sample, as long as nothing is written.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import reduce
from math import isfinite
from typing import Any

import bson
from bson import Binary, Int64, ObjectId
from bson.codec_options import CodecOptions, DatetimeConversion
from pymongo.collection import Collection
from pymongo.errors import ExecutionTimeout

from tranship.connectors.mongodb.reader import documents_of

DECODED = CodecOptions[dict[str, Any]](
    document_class=dict, datetime_conversion=DatetimeConversion.DATETIME_AUTO, tz_aware=False
)
"""How documents are decoded of which values are taken: each date that BSON has is one, without a zone."""

_EPOCH = datetime(1970, 1, 1)  # the driver gives times without a zone, which are UTC

RUN = 100
"""Documents of a run."""

RUN_TIME_MS = 5_000
"""How long the server may look for a run."""

MOST_LOOKS = 4
"""Looks for each run that is wanted: some find an empty place."""

_BRACKETS = [
    ["double", "int", "long", "decimal"],
    ["string"],
    ["object"],
    ["binData"],
    ["objectId"],
    ["bool"],
    ["date"],
]
"""Types of `_id` between which nothing compares."""


@dataclass(frozen=True)
class Gap:
    """Keys of one type between two that are known, where nobody has looked yet. `whole`: how far apart the type's first
    and last key are: gaps of several types are compared by their part of it."""

    low: Any
    high: Any
    whole: float

    @property
    def part(self) -> float:
        """Its part of the type's keys."""
        return distance(self.low, self.high) / self.whole


class Runs:
    """The runs of one collection: iterating gives blocks of raw documents."""

    def __init__(
        self,
        collection: Collection[dict[str, Any]],
        documents: int,
        seed: int,
        condition: Mapping[str, Any] | None = None,
    ) -> None:
        self._collection = collection
        self._documents = documents
        self._random = random.Random(seed)
        self._condition = condition

    def __iter__(self) -> Iterator[bytes]:
        seen = 0
        gaps: list[Gap] = []
        for low, high in self._edges():
            block, last, number = self._run(low, None)
            tail, first, more = self._tail(last, high)
            seen += number + more
            yield block
            if more:
                yield tail
            gaps += self._gap(last, first, distance(low, high))
        looks = MOST_LOOKS * -(-self._documents // RUN)
        while gaps and seen < self._documents and looks:
            looks -= 1
            widest = max(gaps, key=lambda gap: gap.part)
            gaps.remove(widest)
            place = between(widest.low, widest.high, self._random)
            block, last, number = self._run(place, widest.high)
            gaps += self._gap(widest.low, place, widest.whole)
            if number:
                seen += number
                yield block
                gaps += self._gap(last, widest.high, widest.whole)

    def _edges(self) -> Iterator[tuple[Any, Any]]:
        """The least and the greatest `_id` of each type."""
        for types in _BRACKETS:
            ends = [self._end(types, way) for way in (1, -1)]
            if ends[0] is not None and ends[1] is not None:
                yield ends[0]["_id"], ends[1]["_id"]

    def _end(self, types: list[str], way: int) -> dict[str, Any] | None:
        found = self._collection.find({"_id": {"$type": types}}, {"_id": 1}, sort=[("_id", way)], limit=1)
        return next(iter(found), None)

    def _run(self, low: Any, high: Any) -> tuple[bytes, Any, int]:
        """A run from a key on, up to another one: its documents, the last one's key, and how many they are."""
        bounds: dict[str, Any] = {"_id": {"$gte": low} | ({"$lt": high} if high is not None else {})}
        wanted = {"$and": [bounds, self._condition]} if self._condition else bounds
        cursor = self._collection.find_raw_batches(wanted, sort=[("_id", 1)], limit=RUN, max_time_ms=RUN_TIME_MS)
        try:
            block: bytes = b"".join(cursor)  # type: ignore[arg-type]  # bytes, whatever the driver's types say
        except ExecutionTimeout:  # documents that meet the condition are rare from there on
            return b"", low, 0
        found = documents_of(block)
        return block, self._id_of(found[-1]) if found else low, len(found)

    def _tail(self, low: Any, high: Any) -> tuple[bytes, Any, int]:
        """The last run up to a key, of what lies above another one, as `_run`, with the first one's key: what is newest
        is in no other run for certain, and often has what the rest has not."""
        bounds: dict[str, Any] = {"_id": {"$gt": low, "$lte": high}}
        wanted = {"$and": [bounds, self._condition]} if self._condition else bounds
        cursor = self._collection.find_raw_batches(wanted, sort=[("_id", -1)], limit=RUN, max_time_ms=RUN_TIME_MS)
        try:
            found = documents_of(b"".join(cursor))  # type: ignore[arg-type]  # as above
        except ExecutionTimeout:
            return b"", high, 0
        found.reverse()
        return b"".join(found), self._id_of(found[0]) if found else high, len(found)

    def _gap(self, low: Any, high: Any, whole: float) -> list[Gap]:
        return [Gap(low, high, whole)] if distance(low, high) > 1 else []

    def _id_of(self, raw: bytes) -> Any:
        """A document's key; None, behind which nobody looks, where it cannot be decoded."""
        try:
            return bson.decode(raw, self._collection.codec_options).get("_id")
        except (bson.errors.InvalidBSON, UnicodeDecodeError):
            return None


# --- places between keys ----------------------------------------------------------------------------------------------


def distance(low: Any, high: Any) -> float:
    """How far apart two keys of one type are; 0 where nothing can be put between them."""
    ends = _numbers(low), _numbers(high)
    if ends[0] is None or ends[1] is None:
        return 0.0
    return float(ends[1] - ends[0])


def between(low: Any, high: Any, chance: random.Random) -> Any:
    """A key of their type somewhere between two, near the middle, and neither of them: no document is read twice."""
    first, last = _numbers(low), _numbers(high)
    assert first is not None
    assert last is not None
    third = max(1, (last - first) // 3)
    place = chance.randrange(first + third, max(last - third, first + third) + 1)
    return _key(place, low)


_TEXT = 16
"""Characters of a text that its number is made of."""

_POINTS = 0x110000
"""Characters that there can be; their order is that of their UTF-8 bytes."""


def _numbers(key: Any) -> int | None:
    """A key as a number in the keys' order; None for keys that are no scale."""
    measure = next((measure for kind, measure in _MEASURES if isinstance(key, kind)), None)
    return measure(key) if measure is not None else None


_MEASURES: Sequence[tuple[type, Callable[[Any], int | None]]] = (
    (bool, lambda _: None),
    (int, int),
    (float, lambda key: int(key) if isfinite(key) else None),
    (str, lambda key: _whole(map(ord, key[:_TEXT].ljust(_TEXT, "\0")))),
    (ObjectId, lambda key: int.from_bytes(key.binary)),
    (datetime, lambda key: (key - _EPOCH) // timedelta(milliseconds=1)),
    (Binary, lambda key: int.from_bytes(key) if len(key) == 16 else None),
)


def _key(number: int, like: Any) -> Any:
    match like:
        case str():
            points = [number // _POINTS**place % _POINTS for place in reversed(range(_TEXT))]
            return "".join(map(_character, points)).rstrip("\0")
        case ObjectId():
            return ObjectId(number.to_bytes(12))
        case datetime():
            return datetime(1970, 1, 1) + timedelta(milliseconds=number)
        case Binary():
            return Binary(number.to_bytes(16), like.subtype)
    return Int64(number)


def _whole(points: Iterable[int]) -> int:
    """The number whose digits are the characters'."""
    return reduce(lambda number, point: number * _POINTS + point, points, 0)


def _character(point: int) -> str:
    """The character of a number; the nearest one where there is none."""
    return chr(point if not 0xD800 <= point <= 0xDFFF else 0xD7FF)
