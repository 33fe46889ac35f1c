"""How far work is: percentages, a rate of the last half minute, and what is left."""

from __future__ import annotations

from tranship.orchestrator.dataplane.work import CHUNKS, WINDOW_S, Part, Report, Work


class Hand:
    """A clock that is set by hand."""

    now = 100.0

    def __call__(self) -> float:
        return self.now


def report(work: Work) -> Report:
    found = work.report()
    assert found is not None
    return found


def test_nothing_is_under_way_at_first() -> None:
    assert Work(Hand()).report() is None


def test_without_units_only_the_time_is_known() -> None:
    clock = Hand()
    work = Work(clock)
    work.begin("index")
    clock.now += 7
    assert report(work) == Report("index", 7.0)


def test_units_by_stream_rate_and_time_left() -> None:
    clock = Hand()
    work = Work(clock)
    work.begin("backfill")
    work.expect(CHUNKS, {"orders": (2, 6), "customers": (0, 2)})
    assert (report(work).done, report(work).total, report(work).rows_per_second) == (2, 8, None)
    clock.now += 4
    work.step("orders", 100)
    work.step("customers", 20)
    found = report(work)
    assert found.parts == {"orders": Part(3, 6, 100), "customers": Part(1, 2, 20)}
    assert (found.done, found.rows, found.elapsed_s) == (4, 120, 4.0)
    assert (found.rows_per_second, found.left_s) == (30.0, 8.0), "what was done before it began counts for neither"


def test_the_rate_is_that_of_the_last_half_minute() -> None:
    clock = Hand()
    work = Work(clock)
    work.begin("backfill")
    work.expect(CHUNKS, {"orders": (0, 1000)})
    for _ in range(100):
        clock.now += 1
        work.step("orders", 1000)
    assert report(work).rows_per_second == 1000
    for _ in range(40):
        clock.now += 1
        work.step("orders", 10)
    assert report(work).rows_per_second == 10
    clock.now += 2 * WINDOW_S
    assert (report(work).rows_per_second, report(work).left_s) == (0.0, None), "nothing moves, and it says so"


def test_other_work_begins_anew() -> None:
    clock = Hand()
    work = Work(clock)
    work.begin("backfill")
    work.expect(CHUNKS, {"orders": (0, 2)})
    work.step("orders", 10)
    clock.now += 5
    work.begin("undoing backfill")
    assert report(work) == Report("undoing backfill", 0.0), "no rate of before, and none below zero"


def test_trouble_stays_until_it_is_over() -> None:
    """Each attempt begins the phase anew, and somebody wants to know since when it fails."""
    clock = Hand()
    work = Work(clock)
    work.begin("index")
    work.stumbled("a lock")
    clock.now += 10
    work.begin("index")
    work.stumbled("another lock")
    assert (report(work).trouble, report(work).trouble_s) == ("another lock", 10.0)
    work.recovered()
    assert (report(work).trouble, report(work).trouble_s) == ("", 0.0)


def test_as_data() -> None:
    clock = Hand()
    work = Work(clock)
    work.begin("reconcile")
    work.expect(CHUNKS, {"orders": (1, 2)})
    assert report(work).as_dict() == {
        "doing": "reconcile",
        "elapsed_s": 0.0,
        "unit": "chunks",
        "parts": {"orders": {"done": 1, "total": 2, "rows": 0}},
        "rows_per_second": None,
        "left_s": None,
        "trouble": "",
        "trouble_s": 0.0,
        "done": 1,
        "total": 2,
    }
