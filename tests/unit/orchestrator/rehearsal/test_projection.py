"""What is projected from a rehearsal, against runs whose times are made up."""

from __future__ import annotations

from itertools import accumulate

import pytest

from tranship.orchestrator.rehearsal.projection import project


def steps(start: float, unit: float, count: int, workers: int) -> list[float]:
    """When units are done that take as long as each other, by workers that all begin at `start`."""
    return sorted(start + unit * (place // workers + 1) for place in range(count))


@pytest.mark.parametrize("workers", [1, 2, 4])
@pytest.mark.parametrize("phase", ["backfill", "reconcile"])
def test_what_does_not_grow_is_not_scaled(phase: str, workers: int) -> None:
    """Of a tenth: 3 s until the first unit begins, 1 s a unit, 20 units. Of all: 200 units, and the same 3 s."""
    done = steps(100.0, 1.0, 20, workers)
    took = done[-1] - 100.0 + 3.0
    found = project({phase: took}, {phase: done}, workers, 0.1)
    assert found.seconds == pytest.approx(3.0 + 200 / workers, rel=0.06)
    assert found.low <= found.seconds <= found.high
    assert found.phases == {phase: found.seconds}


def test_units_of_several_sizes_give_a_range() -> None:
    done = list(accumulate([1.0] * 10 + [3.0] * 10))
    found = project({"backfill": 40.0}, {"backfill": done}, 1, 0.1)
    assert found.low == pytest.approx(400 / 2, rel=0.1), "if all were as fast as the fastest quarter"
    assert found.high == pytest.approx(400 * 1.5, rel=0.1), "or as slow as the slowest"
    assert found.low < found.seconds < found.high


def test_too_few_units_to_tell_them_from_the_rest() -> None:
    found = project({"backfill": 4.0}, {"backfill": [1.0, 2.0, 3.0]}, 2, 0.25)
    assert (found.low, found.seconds, found.high) == (4.0, 16.0, 16.0)


def test_builds_grow_as_a_whole_and_waits_do_not() -> None:
    found = project({"index": 2.0, "constrain": 1.0, "catch-up": 4.0, "expand": 0.5}, {}, 2, 0.5)
    assert found.phases == {"index": 4.0, "constrain": 2.0, "catch-up": 4.0, "expand": 0.5}
    assert (found.low, found.high) == (2 + 1 + 4 + 0.5, pytest.approx(1.3 * 6 + 4.5))


def test_of_everything_it_is_what_it_took() -> None:
    found = project({"backfill": 7.25, "index": 1.0}, {"backfill": [1.0, 2.0, 9.0]}, 1, 1.0)
    assert (found.low, found.seconds, found.high) == (8.2, 8.2, 8.2)


def test_units_that_all_end_at_once_are_no_division_by_zero() -> None:
    found = project({"backfill": 5.0}, {"backfill": [3.0] * 10}, 2, 0.5)
    assert found.seconds == 5.0, "nothing of it is known to grow"
