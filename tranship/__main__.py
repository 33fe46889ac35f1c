"""The `tranship` command, and `python -m tranship`.

Apart from the command line itself: a worker process imports the module that the main one was started with, and this one
costs it nothing.
"""

from __future__ import annotations


def main() -> None:
    """Run the command line."""
    from tranship.orchestrator.cli.main import main as run

    run()


if __name__ == "__main__":
    main()
