"""A picture that is drawn anew again and again below the lines of a terminal's standard error."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr
from typing import IO, TextIO, cast

from rich.console import Console, RenderableType
from rich.file_proxy import FileProxy
from rich.live import Live

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
    def write_above(self, lines: FileProxy, text: str) -> int:
        """Write lines above the picture, while it is not being drawn.

        Rich locks the display while it asks how far up the cursor has to go, not while it then draws and writes. A
        refresh in between, of a picture that has become higher, left the upper lines of the one before standing.
        """
        with self._lock:
            return FileProxy.write(lines, text)


class Lines(FileProxy):
    """The stream that stands in the place of standard error: whole lines, each above the picture."""

    def __init__(self, live: _Live, file: IO[str]) -> None:
        super().__init__(live.console, file)
        self._live = live

    def write(self, text: str) -> int:
        """Write, as a text stream does."""
        return self._live.write_above(self, text)
