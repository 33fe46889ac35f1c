"""Watches that are made of a generator."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator

from tranship.connectors.protocols import Changes, Position, Watch


class GeneratedWatch:
    """`Watch` over a generator that ends soon once the event it is given is set. `wake`: what makes it look, where it
    waits for something else; `confirm`: who is told what is kept, where somebody wants to know."""

    def __init__(
        self,
        follow: Callable[[threading.Event], Iterator[Changes]],
        *,
        wake: Callable[[], None] = lambda: None,
        confirm: Callable[[Position], None] = lambda _: None,
    ) -> None:
        self._closed = threading.Event()
        self._changes = follow(self._closed)
        self._wake = wake
        self._confirm = confirm

    def __iter__(self) -> Iterator[Changes]:
        return self

    def __next__(self) -> Changes:
        return next(self._changes)

    def confirm(self, position: Position) -> None:
        self._confirm(position)

    def close(self) -> None:
        self._closed.set()
        self._wake()


def _implements(watch: GeneratedWatch) -> Watch:
    return watch
