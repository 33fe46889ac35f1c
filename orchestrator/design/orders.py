"""The order in which most documents have their fields, and how many have another one."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import accumulate

from tranship.connectors.profile import START


def usual_order(names: Iterable[str], following: Counter[tuple[str, str]] | None) -> list[str]:
    """The names in an order that contradicts few documents.

    `following`: how often one came right behind another, or behind `START`. From the start on, what most often comes
    next is followed, so that the order is that of documents and no mixture of two; names beside this way are put where
    the fewest of their neighbours contradict. The same figures give the same order.
    """
    counts = following or Counter()
    nexts: dict[str, list[tuple[str, int]]] = {}
    before: dict[str, list[tuple[str, int]]] = {}
    left = set(names)
    for (first, second), times in counts.items():
        nexts.setdefault(first, []).append((second, times))
        before.setdefault(second, []).append((first, times))
    order: list[str] = []
    while successors := [one for one in nexts.get(order[-1] if order else START, ()) if one[0] in left]:
        order.append(min(successors, key=lambda one: (-one[1], one[0]))[0])
        left.remove(order[-1])
    weights = {name: sum(times for _, times in before.get(name, ())) for name in left}
    for name in sorted(left, key=lambda name: (-weights[name], name)):
        order.insert(_place(order, before.get(name, ()), nexts.get(name, ())), name)
    return order


def _place(order: list[str], before: Iterable[tuple[str, int]], behind: Iterable[tuple[str, int]]) -> int:
    """Where a name contradicts the fewest of those that come right before and right behind it."""
    places = {name: number for number, name in enumerate(order)}
    # Moving on past a name puts it before: that agrees with those that come before, and contradicts the others.
    gains = [0] * (len(order) + 1)
    for name, times in before:
        if name in places:
            gains[places[name] + 1] += times
    for name, times in behind:
        if name in places:
            gains[places[name] + 1] -= times
    sums = list(accumulate(gains))
    return len(sums) - 1 - sums[::-1].index(max(sums))


def out_of_order(order: Sequence[str], following: Counter[tuple[str, str]] | None, *, rest: bool = False) -> int:
    """How many documents, at the most, have their fields in another order: each has a neighbouring pair that is.

    `rest`: fields that are not in the order come behind it, as jsonb keeps them; without it they do not matter.
    """
    place = {name: number for number, name in enumerate(order)}

    def key(name: str) -> tuple[int, int, bytes]:
        raw = name.encode("utf-8", "surrogatepass")
        return (place[name], 0, b"") if name in place else (len(place), len(raw), raw)

    pairs = [(a, b, n) for (a, b), n in (following or Counter()).items() if a != START]
    return sum(times for a, b, times in pairs if (rest or (a in place and b in place)) and key(a) > key(b))
