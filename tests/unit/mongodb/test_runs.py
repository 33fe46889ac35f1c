"""Places between keys, at which runs of a sample begin: of their type, between them, the same for one seed."""

from __future__ import annotations

import random
from datetime import datetime
from typing import Any

import pytest
from bson import Binary, Int64, ObjectId

from tranship.connectors.mongodb.sampling import between, distance


@pytest.mark.parametrize(
    ("low", "high"),
    [
        pytest.param(1, 1_000_000, id="whole numbers"),
        pytest.param(Int64(-(2**60)), 2.5, id="numbers of several sizes"),
        pytest.param("a", "b", id="texts"),
        pytest.param("user-0001", "user-9999", id="texts that begin alike"),
        pytest.param("a", "łódź 🐘", id="texts beyond ASCII"),
        pytest.param(ObjectId(b"\0" * 12), ObjectId(b"\xff" * 12), id="ObjectIds"),
        pytest.param(datetime(2020, 1, 1), datetime(2026, 1, 1), id="dates"),
        pytest.param(Binary(b"\0" * 16, 4), Binary(b"\xff" * 16, 4), id="UUIDs"),
    ],
)
def test_a_place_lies_between(low: Any, high: Any) -> None:
    assert distance(low, high) > 1
    places = [between(low, high, random.Random(seed)) for seed in range(50)]
    assert all(low < place < high for place in places)
    assert len(set(places)) > 10
    assert places == [between(low, high, random.Random(seed)) for seed in range(50)]


@pytest.mark.parametrize("gap", range(2, 12))
def test_the_narrowest_gaps_are_cut_within(gap: int) -> None:
    places = {between(100, 100 + gap, random.Random(seed)) for seed in range(200)}
    assert min(places) > 100
    assert max(places) < 100 + gap


@pytest.mark.parametrize("key", [True, None, {"a": 1}, b"abc", float("nan"), [1]])
def test_other_keys_are_no_scale(key: Any) -> None:
    assert distance(key, key) == 0
