"""Who asks, for journal and requests."""

from __future__ import annotations

import getpass
import os


def person() -> str:
    """The user's name; its number where it has none, as in a container that runs under a number of its own."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # no entry in the user database, and no name in the environment
        return f"uid {os.getuid()}"
