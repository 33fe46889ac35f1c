"""What the suites of targets share: a migration for each test, and calls that are interrupted."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.conformance.target_world import (
    Migration,
    TargetWorld,
)


class Interrupted(Exception):  # noqa: N818 - not an error of the program
    """Raised by a hook or a source in the middle of a call."""


def interrupt_at(wanted: str) -> Callable[[str], None]:
    """A hook that raises at one site."""

    def hook(site: str) -> None:
        if site == wanted:
            raise Interrupted(site)

    return hook


class MigrationSuite:
    """A suite whose tests begin in the middle of a run."""

    @pytest.fixture
    def migration(self, world: TargetWorld) -> Migration:
        """A run whose tables are made and whose capture has started."""
        return Migration(world)
