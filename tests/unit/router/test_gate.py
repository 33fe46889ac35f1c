"""The gate: what passes it, what waits, and when nobody knows any more what became of a write."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from tranship.router.gate import Gate, Side


@dataclass
class Time:
    """A clock that a test moves."""

    now: float = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def time() -> Time:
    return Time()


@pytest.fixture
def gate(time: Time) -> Gate:
    made = Gate(time)
    made.renew(0.0, 0.8)
    made.open(Side("source", 0))
    return made


def test_a_write_passes_while_the_lease_lasts(gate: Gate, time: Time) -> None:
    entered = gate.enter()
    assert entered is not None
    assert (entered.side, gate.under_way) == ("source", 1)
    time.now = 0.7
    assert gate.leave(entered) is None
    assert gate.under_way == 0
    time.now = 0.8
    assert gate.enter() is None, "the lease is over"


def test_a_lease_that_is_renewed_in_time_carries_a_long_write(gate: Gate, time: Time) -> None:
    entered = gate.enter()
    assert entered is not None
    for _ in range(10):
        time.now += 0.5
        gate.renew(time.now, time.now + 0.8)
    assert gate.leave(entered) is None


@pytest.mark.parametrize("renewed", [False, True])
def test_a_write_that_outlives_its_lease_is_in_doubt(gate: Gate, time: Time, renewed: bool) -> None:
    """Also where it was renewed later: in between the side may have handed over, and come back."""
    entered = gate.enter()
    assert entered is not None
    time.now = 0.9
    if renewed:
        gate.renew(time.now, time.now + 0.8)
        gate.open(Side("source", 0))
    doubt = gate.leave(entered)
    assert doubt is not None
    assert gate.settle(doubt) is None, "nobody has looked since"


@pytest.mark.parametrize(("version", "counts"), [(0, True), (2, False)])
def test_a_doubt_is_cleared_by_the_same_record_only(gate: Gate, time: Time, version: int, counts: bool) -> None:
    entered = gate.enter()
    assert entered is not None
    time.now = 0.9
    doubt = gate.leave(entered)
    assert doubt is not None
    gate.renew(0.85, 1.65)
    gate.open(Side("source", 0))
    assert gate.settle(doubt) is None, "that look had begun before"
    gate.renew(0.95, 1.75)
    gate.open(Side("source", version))
    assert gate.settle(doubt) is counts


def test_a_doubt_is_not_cleared_behind_a_fence(gate: Gate, time: Time) -> None:
    entered = gate.enter()
    assert entered is not None
    time.now = 0.9
    doubt = gate.leave(entered)
    assert doubt is not None
    gate.renew(1.0, 1.8)
    gate.shut("a cutover is under way", Side("source", 1))
    assert gate.settle(doubt) is False


def test_who_waits_is_woken_when_it_opens(gate: Gate) -> None:
    woken: list[str] = []
    gate.shut("a cutover is under way", Side("source", 1))
    assert gate.enter() is None
    assert gate.why == "a cutover is under way"
    gate.when_looked(lambda: woken.append("once"))
    gate.open(Side("target", 1))
    gate.open(Side("target", 1))
    assert woken == ["once"]
    entered = gate.enter()
    assert entered is not None
    assert (entered.side, entered.side.version) == ("target", 1)


def test_reads_go_where_writes_went_last(gate: Gate) -> None:
    gate.shut("a cutover is under way", Side("target", 1))
    assert gate.last == "source"
    fresh = Gate(Time())
    fresh.shut("a way back is under way", Side("target", 1))
    assert fresh.last == "target"


def test_only_a_write_to_the_target_states_its_version() -> None:
    assert Side("target", 7).statement == "SELECT pg_catalog.set_config('tranship.version', '7', true)"
    with pytest.raises(ValueError, match="only a write to the target"):
        _ = Side("source", 7).statement
