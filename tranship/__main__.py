"""The `tranship` command, and `python -m tranship`.

Apart from the command line itself: a worker process imports the module that the main one was started with, and this one
costs it nothing.
"""

from __future__ import annotations

import gc
import os


def main() -> None:
    """Run the command line."""
    # Looking for plugins of pydantic, of which we have none, reads the metadata of every package that is installed.
    os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "__all__")
    # What is imported stays: looking through it for garbage again and again is a tenth of a short command's time.
    gc.disable()
    from tranship.orchestrator.cli.main import main as run

    gc.freeze()
    gc.enable()
    run()


if __name__ == "__main__":
    main()
