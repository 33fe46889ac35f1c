"""The order in which most documents have their fields, and how many have another one."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence


def usual_order(names: Iterable[str], following: Counter[tuple[str, str]] | None) -> list[str]:
    """The names in an order that contradicts as few documents as it can.

    `following`: how often one came right behind another. The most frequent neighbours are kept; a pair that contradicts
    what is kept already is left out (a greedy feedback arc set, which is exact where no documents contradict).
    """
    left = sorted(names)
    kept: dict[str, set[str]] = {name: set() for name in left}
    pairs = sorted((following or Counter()).items(), key=lambda pair: (-pair[1], pair[0]))
    for (first, second), _ in pairs:
        if first in kept and second in kept and not _reaches(kept, second, first):
            kept[first].add(second)
    behind = Counter(second for seconds in kept.values() for second in seconds)
    order: list[str] = []
    while left:
        free = [name for name in left if not behind[name]]
        # What usually follows the last one comes first, then by name: the same figures give the same order.
        last = order[-1] if order else ""
        chosen = min(free, key=lambda name: (-(following or Counter())[(last, name)], name))
        order.append(chosen)
        left.remove(chosen)
        behind.subtract(kept[chosen])
    return order


def _reaches(kept: dict[str, set[str]], start: str, goal: str) -> bool:
    seen, todo = {start}, [start]
    while todo:
        name = todo.pop()
        if name == goal:
            return True
        todo += kept[name] - seen
        seen |= kept[name]
    return False


def out_of_order(order: Sequence[str], following: Counter[tuple[str, str]] | None) -> int:
    """How many documents, at the most, have their fields in another order: each has a neighbouring pair that is."""
    place = {name: number for number, name in enumerate(order)}
    pairs = (following or Counter()).items()
    return sum(times for (a, b), times in pairs if a in place and b in place and place[a] > place[b])
