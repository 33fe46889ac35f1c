"""The demo's judgement of what a comparison named: by hand-written sets."""

from __future__ import annotations

from tranship.orchestrator.demo.corruption import Row, judge

A, B, C = (Row("orders", key) for key in "abc")


def test_all_planted_rows_named_and_no_other() -> None:
    assert judge({A, B}, set(), {A, B}).broken is None


def test_a_planted_row_that_nobody_wrote_has_to_be_named() -> None:
    finding = judge({A, B}, {C}, {A})
    assert (finding.missed, finding.strange) == ({B}, set())


def test_a_planted_row_written_later_may_be_named_or_not() -> None:
    assert judge({A, B}, {B}, {A}).broken is None
    assert judge({A, B}, {B}, {A, B}).broken is None


def test_a_row_never_planted_may_not_be_named_even_when_written() -> None:
    finding = judge({A}, {B}, {A, B})
    assert (finding.missed, finding.strange) == (set(), {B})
    assert finding.broken == "planted nothing not found, orders b named wrongly"
