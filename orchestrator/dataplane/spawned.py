"""What every process of ours does first: it ends with its parent, and leaves Ctrl-C to it."""

from __future__ import annotations

import ctypes
import os
import signal
import sys

from tranship.orchestrator import stderr


def settle(parent: int) -> None:
    """First code in a spawned process. `parent`: the process that started it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if sys.platform == "linux":
        pr_set_pdeathsig = 1
        ctypes.CDLL(None).prctl(pr_set_pdeathsig, signal.SIGKILL)
    if os.getppid() != parent:  # the parent died before the line above
        os._exit(1)
    stderr.tolerate()
