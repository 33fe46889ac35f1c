"""A `tranship` command on a pseudo-terminal of a given size, and its screen as a person sees it."""

from __future__ import annotations

import os
import pty
import select
import signal
import struct
import termios
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from fcntl import ioctl
from pathlib import Path

import pyte

from tests.integration import forks
from tests.integration.forks import Forked
from tests.integration.route import LIMIT_S, STEADY_S, Route, wait_until

SIZES = [(80, 24), (100, 30)]
STILL_S, DRAWN_S = 0.02, 1.0


@dataclass
class Terminal:
    """A command whose input, output and errors are one terminal of so many columns and lines."""

    process: Forked
    columns: int
    lines: int
    keyboard: int
    raw: bytearray = field(default_factory=bytearray)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def screen(self) -> list[str]:
        """The lines that are to be seen now, without trailing blanks."""
        screen = pyte.Screen(self.columns, self.lines)
        pyte.ByteStream(screen).feed(self._drawn())
        return [line.rstrip() for line in screen.display]

    def _drawn(self) -> bytes:
        """What has come, up to where nothing more came for a moment: no person sees a picture that is half drawn."""
        end, before = time.monotonic() + DRAWN_S, -1
        while True:
            with self._lock:
                now = bytes(self.raw)
            if len(now) == before or time.monotonic() > end:
                return now
            before = len(now)
            time.sleep(STILL_S)

    @property
    def text(self) -> str:
        """The screen as one text."""
        return "\n".join(self.screen)

    @property
    def words(self) -> str:
        """The screen as one line, for what may be wrapped anywhere."""
        return " ".join(self.text.split())

    @property
    def squeezed(self) -> str:
        """The screen without any blanks: long words, such as a path, are wrapped anywhere."""
        return "".join(self.text.split())

    def wait_for(self, condition: Callable[[], bool], what: str) -> None:
        """Wait until the screen is as wanted."""

        def wanted() -> bool:
            assert self.process.poll() is None or condition(), "the command has ended"
            return condition()

        try:
            wait_until(wanted, what=what)
        except AssertionError as error:
            raise AssertionError(f"{error}: {what}\n{self.text}") from None

    def type(self, text: str) -> None:
        """Press keys."""
        os.write(self.keyboard, text.encode())

    def interrupt(self) -> None:
        """What a terminal does at Ctrl-C: the signal goes to the whole group, workers included."""
        os.killpg(self.process.pid, signal.SIGINT)

    def wait(self) -> int:
        """Its exit code, once all it has said is on the screen."""
        code = self.process.wait(LIMIT_S)
        self._reader.join(LIMIT_S)
        return code

    def read(self) -> None:
        """Read what comes, in a thread of its own."""
        self._reader = threading.Thread(target=self._work, daemon=True)
        self._reader.start()

    def _work(self) -> None:
        while True:
            ended = self.process.poll() is not None  # before the look: what it has said last is there then
            ready, _, _ = select.select([self.keyboard], [], [], 0.1)
            if not ready:
                if ended:
                    return
                continue
            try:
                some = os.read(self.keyboard, 65536)
            except OSError:  # the last one who had it open has ended
                return
            with self._lock:
                self.raw += some


@contextmanager
def terminal(route: Route, size: tuple[int, int], *arguments: str | Path, **environment: str) -> Iterator[Terminal]:
    """Start a command on a terminal; it ends with the block."""
    columns, lines = size
    keyboard, device = pty.openpty()
    ioctl(device, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))
    inherited = {name: value for name, value in route.environment.items() if name not in ("COLUMNS", "LINES")}
    surroundings = {forks.STEADY: STEADY_S, **inherited, "TERM": "xterm-256color", **environment}
    process = forks.on_terminal(list(map(str, arguments)), surroundings, device, device)
    os.close(device)
    made = Terminal(process, columns, lines, keyboard)
    made.read()
    try:
        yield made
    finally:
        if process.poll() is None:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        os.close(keyboard)
