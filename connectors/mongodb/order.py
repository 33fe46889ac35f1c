"""In which order documents usually have their top fields."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

from tranship.connectors.mongodb import bsonwalk


def usual_order(documents: Iterable[bytes], names: Sequence[str]) -> list[str]:
    """The names in the order in which most of the documents have them.

    A field comes before those that it precedes in more documents than the other way round; it is placed by how many
    these are, and fields that are nowhere together keep the order in which they are given.
    """
    wanted = {name.encode(): name for name in names}
    before: Counter[tuple[str, str]] = Counter()
    for raw in documents:
        there = [wanted[element[1]] for element in bsonwalk.split(raw, 0, len(raw)) if element[1] in wanted]
        there = list(dict.fromkeys(there))
        before.update((first, second) for place, first in enumerate(there) for second in there[place + 1 :])
    places = {name: place for place, name in enumerate(names)}

    def precedes(first: str, second: str) -> bool:
        forth, back = before[first, second], before[second, first]
        return forth > back or (forth == back and places[first] < places[second])

    return sorted(names, key=lambda name: (-sum(precedes(name, other) for other in names), places[name]))
