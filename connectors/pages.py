"""How much to read at once: little until it is known how large things are, then as much as makes a page."""

from __future__ import annotations

PAGE_BYTES = 8 << 20
"""What a page should hold: large enough that statements cost little, small enough for several workers."""

_FIRST_ITEMS = 4
"""Documents of 16 MB exist."""

_GROWTH = 10
"""How many times more items the next page may have: they may suddenly be larger."""


class PageSize:
    """The number of rows, entries or keys to ask for next: never more than `most`, at least one."""

    def __init__(self, most: int) -> None:
        self._most = most
        self.items = min(_FIRST_ITEMS, most)

    def learn(self, items: int, size: int) -> None:
        """What was read last: the number of items asked for or found, and how many bytes they had together."""
        fitting = PAGE_BYTES * items // max(size, 1)
        self.items = max(1, min(fitting, self.items * _GROWTH, self._most))
