"""Lines and a picture that changes its height, written by several threads to one terminal."""

from __future__ import annotations

import io
import threading
from itertools import count

import pyte
from rich.console import Console, ConsoleOptions, RenderResult
from rich.text import Text

from tranship.orchestrator.cli.live import Lines, _Live

COLUMNS, ROWS, LINES = 40, 100, 8
BLOCKED_S = 0.02


class Growing:
    """A picture of one to five lines, another height each time it is drawn. Whoever writes a line gives another thread
    the time to refresh the picture before it draws it itself."""

    def __init__(self) -> None:
        self._drawn = count()
        self.wanted, self.refreshed = threading.Event(), threading.Event()

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        if threading.current_thread() is threading.main_thread():
            self.refreshed.clear()
            self.wanted.set()
            self.refreshed.wait(BLOCKED_S)
        yield Text("HEAD")
        for number in range(next(self._drawn) % 5):
            yield Text(f"part {number}")


def test_no_line_of_a_picture_of_before_stays() -> None:
    written, picture, ended = io.StringIO(), Growing(), threading.Event()
    console = Console(file=written, force_terminal=True, width=COLUMNS, height=ROWS)
    live = _Live(picture, console=console, auto_refresh=False, redirect_stdout=False, redirect_stderr=False)
    lines = Lines(live, written)

    def refresh() -> None:
        while picture.wanted.wait() and not ended.is_set():
            picture.wanted.clear()
            live.refresh()
            picture.refreshed.set()

    refreshing = threading.Thread(target=refresh)
    refreshing.start()
    with live:
        for number in range(LINES):
            lines.write(f"line {number}\n")
    ended.set()
    picture.wanted.set()
    refreshing.join()
    screen = pyte.Screen(COLUMNS, ROWS)
    pyte.Stream(screen).feed(written.getvalue().replace("\n", "\r\n"))
    seen = [line.rstrip() for line in screen.display if line.strip()]
    assert seen[: LINES + 1] == [*(f"line {number}" for number in range(LINES)), "HEAD"]
    assert all(line.startswith("part ") for line in seen[LINES + 1 :]), "the last picture is all that is below"
