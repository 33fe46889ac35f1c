"""Where processes of ours come from, and what each does first.

A fork server, a process without connections and threads of ours, imports once what they all need; a process that is
wanted is a fork of it, there in hundredths of a second, and shares its memory. (Drivers do not survive the fork of a
process that has connections, and to import them anew costs a second of CPU for each process.)
"""

from __future__ import annotations

import ctypes
import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from multiprocessing.connection import wait
from multiprocessing.context import ForkServerContext
from multiprocessing.forkserver import ensure_running

from tranship.orchestrator import stderr

SURROUNDINGS = {
    # Until Python 3.12 the fork server looks for modules in the folder it was started in, too: a checkout has one there
    # that bears the package's name.
    "PYTHONSAFEPATH": "1",
    # Else it would have threads before it forks, for arithmetic that nobody does here.
    "OPENBLAS_NUM_THREADS": "1",
}


def prepared(modules: Sequence[str]) -> ForkServerContext:
    """What starts processes that have imported these modules. The first call of a process decides which they are; a
    later one for others gets processes that import them when they begin."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(list(modules))
    with _environment(SURROUNDINGS):
        ensure_running()
    return context


@contextmanager
def _environment(changes: Mapping[str, str]) -> Iterator[None]:
    before = {name: os.environ.get(name) for name in changes}
    os.environ |= changes
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def settle() -> None:
    """First code in a process of ours: it ends with the process that asked for it, and leaves Ctrl-C to it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if sys.platform == "linux":
        pr_set_pdeathsig = 1
        # The kernel's parent is the fork server, which lives as long as somebody may ask it for a process.
        ctypes.CDLL(None).prctl(pr_set_pdeathsig, signal.SIGKILL)
    asked = multiprocessing.parent_process()
    assert asked is not None
    threading.Thread(target=_end_with, args=(asked.sentinel,), name="parent", daemon=True).start()
    stderr.tolerate()


def _end_with(sentinel: int) -> None:
    wait([sentinel])
    os.kill(os.getpid(), signal.SIGKILL)
