"""A picture that is drawn anew again and again below the lines of a terminal's standard error."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr
from typing import IO, TYPE_CHECKING, TextIO, cast

from rich.console import Console, RenderableType
from rich.file_proxy import FileProxy
from rich.live import Live

if TYPE_CHECKING:
    from threading import RLock

TIMES_PER_SECOND = 4


@contextmanager
def drawn(picture: RenderableType, *, transient: bool = False) -> Iterator[None]:
    """Draw the picture for the length of the block, below what any thread writes to standard error meanwhile. At its
    end it is drawn once more and stays, or is gone if `transient`."""
    live = _Live(
        picture,
        console=Console(stderr=True),
        refresh_per_second=TIMES_PER_SECOND,
        transient=transient,
        redirect_stdout=False,
    )
    with redirect_stderr(cast("TextIO", Lines(live, sys.stderr))), live:
        yield


class _Live(Live):
    """Rich locks its display while it asks how far up the cursor has to go, not while it then draws and writes. A
    refresh in between, of a picture that has become higher, left the upper lines of the one before standing."""

    @property
    def drawing(self) -> RLock:
        """Held by whoever writes or draws, from beginning to end."""
        return self._lock


class Lines(FileProxy):
    """The stream that stands in the place of standard error: whole lines, each above the picture."""

    def __init__(self, live: _Live, file: IO[str]) -> None:
        super().__init__(live.console, file)
        self._drawing = live.drawing

    def write(self, text: str) -> int:
        """Write, as a text stream does."""
        with self._drawing:
            return super().write(text)

    def flush(self) -> None:
        """Write what was begun of a line, too."""
        with self._drawing:
            super().flush()
