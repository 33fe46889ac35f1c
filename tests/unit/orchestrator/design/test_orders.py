"""The usual order of fields."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise

import pytest

from tranship.connectors.profile import START
from tranship.orchestrator.design.orders import out_of_order, usual_order


def following(*documents: tuple[str, int]) -> Counter[tuple[str, str]]:
    found: Counter[tuple[str, str]] = Counter()
    for names, times in documents:
        for pair in pairwise((START, *names)):
            found[pair] += times
    return found


@pytest.mark.parametrize(
    ("documents", "order", "others"),
    [
        pytest.param([("abc", 5)], "abc", 0, id="one order"),
        pytest.param([("cab", 5), ("abc", 3)], "cab", 3, id="the more frequent of two"),
        pytest.param([("ac", 5), ("abc", 3), ("ab", 1)], "abc", 0, id="a field that is sometimes there"),
        pytest.param([("abcd", 5), ("dcba", 5)], "abcd", 15, id="two that contradict: one of them, and no mixture"),
        pytest.param([("ab", 1), ("cd", 2)], "cdab", 0, id="fields that never meet"),
        pytest.param([("a", 9), ("xab", 1), ("axb", 3)], "axb", 1, id="where most of the rare ones have it"),
        pytest.param([], "ab", 0, id="nothing known"),
    ],
)
def test_the_usual_order(documents: list[tuple[str, int]], order: str, others: int) -> None:
    found = following(*documents)
    names = set("".join(names for names, _ in documents)) or set("ab")
    assert "".join(usual_order(names, found)) == order
    assert out_of_order(order, found) == others


def test_names_beside_the_order_come_behind_it_as_jsonb_keeps_them() -> None:
    found = following(("axb", 2), ("abyx", 3), ("abxy", 4))
    assert out_of_order("ab", found) == 0
    assert out_of_order("ab", found, rest=True) == 5
