"""What a run takes, roughly, and whether the source's history lasts so long."""

from __future__ import annotations

import pytest

from tranship.connectors.clocks import finding
from tranship.connectors.mongodb.oplog import keeps_s
from tranship.orchestrator.checks.estimate import too_short

MINUTE, HOUR, DAY = 60.0, 3600.0, 86_400.0


@pytest.mark.parametrize(
    ("keeps", "takes", "codes"),
    [
        (DAY, HOUR, []),
        (3 * HOUR, HOUR, []),
        (2 * HOUR, HOUR, ["source.oplog_short"]),
        (MINUTE, HOUR, ["source.oplog_short"]),
        (None, HOUR, ["source.oplog_unknown"]),
    ],
)
def test_the_history_has_to_be_ample(keeps: float | None, takes: float, codes: list[str]) -> None:
    assert [found.code for found in too_short(keeps, takes)] == codes


@pytest.mark.parametrize(
    ("age", "stats", "keeps"),
    [
        # As a server replies whose oplog is full: what comes in pushes the oldest out.
        (HOUR, {"size": 990, "maxSize": 1000}, HOUR),
        # A young one keeps more than it has: at this pace a day's worth.
        (HOUR, {"size": 1000, "maxSize": 24_000}, DAY),
        (HOUR, {"size": 0, "maxSize": 1000}, None),
        (HOUR, {"size": 10}, None),
        (HOUR, {"size": "10", "maxSize": "1000"}, None),
    ],
)
def test_how_long_changes_are_kept(age: float, stats: dict[str, object], keeps: float | None) -> None:
    assert keeps_s(age, stats) == keeps


@pytest.mark.parametrize(
    ("told", "said"),
    [(100.0, ""), (104.9, ""), (101.5, ""), (96.0, ""), (120.0, "18 s ahead of"), (60.0, "40 s behind")],
)
def test_clocks(told: float, said: str) -> None:
    """Asked at 100, answered at 102: what was told in between is no difference."""
    found = finding("source.clock", "source", told, 100.0, 102.0)
    assert [said in one.message for one in found] == ([True] if said else [])
