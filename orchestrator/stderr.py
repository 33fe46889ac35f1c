"""Standard error whose reader may go away: what cannot be written is dropped and counted, and no run ends by it.

Nor does a character end one that a terminal does not have: it is written as its escape, as on standard output.
"""

from __future__ import annotations

import io
import os
import sys
from typing import TextIO


class Tolerant:
    """Writes to a stream's descriptor, unbuffered, so that nothing is left that could fail at the process's end.

    Everything else is the stream's own. Once a line can be written again, it follows one that says how many could not.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self.dropped = 0
        """Lines that could not be written since the last one that could."""

    def write(self, text: str) -> int:
        """As of a text stream; never raises `OSError`."""
        said = f"{self.dropped} lines before this one could not be written\n" if self.dropped else ""
        data = (said + text).encode(self._stream.encoding or "utf-8", "backslashreplace")
        try:
            while data:
                data = data[os.write(self._stream.fileno(), data) :]
        except OSError:
            self.dropped += text.count("\n")
        else:
            self.dropped = 0
        return len(text)

    def flush(self) -> None:
        """Nothing waits."""

    def __getattr__(self, name: str) -> object:
        return getattr(self._stream, name)


def tolerate() -> None:
    """Make this process's standard error tolerant, and both of characters that they cannot show."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")
    if not isinstance(sys.stderr, Tolerant):
        sys.stderr = Tolerant(sys.stderr)
