"""Where writes go, by what both records say: each row of the table in `docs/router-protocol.md`."""

from __future__ import annotations

import pytest

from tranship.router.records import SOURCE, TARGET, Name, Open, Record, Shut, judge, judge_alone

Said = tuple[str, int] | None


def record(said: Said) -> Record | None:
    return None if said is None else Record("run", *said)


def look(at: Name, source: Said, target: Said, initial: Name | None = None) -> tuple[str, int] | str | None:
    """The side and version that writes go to; else what is to be acknowledged, or None."""
    sides = {SOURCE: record(source), TARGET: record(target)}
    verdict = judge(lambda side: sides[side], at, initial)
    if isinstance(verdict, Open):
        return (verdict.side, verdict.version)
    assert isinstance(verdict, Shut)
    return None if verdict.fence is None else f"{verdict.fence[0]} {verdict.fence[2]}"


@pytest.mark.parametrize(
    ("source", "target", "expected"),
    [
        (("primary", 0), None, (SOURCE, 0)),
        (("primary", 4), ("ready", 3), (SOURCE, 4)),
        (("fenced", 1), ("closed", 1), "source 1"),
        (("lifting", 2), ("ready", 1), "source 2"),
        (("handed_over", 1), ("ready", 1), (TARGET, 1)),
        (("handed_over", 1), ("primary", 1), (TARGET, 1)),
        (("handed_over", 1), ("primary", 3), (TARGET, 3)),
        (("handed_over", 3), ("ready", 1), None),
        (("handed_over", 3), ("primary", 1), None),
        (("handed_over", 1), ("closed", 1), None),
        (("handed_over", 1), None, None),
        (("handed_over", 1), ("fenced", 2), "target 2"),
        (("ready", 2), ("fenced", 2), "target 2"),
        (("ready", 2), ("handed_over", 2), (SOURCE, 2)),
        (("ready", 2), ("handed_over", 4), None),
        (("ready", 2), ("primary", 3), None),
    ],
)
def test_who_begins_with_the_source(source: Said, target: Said, expected: object) -> None:
    assert look(SOURCE, source, target) == expected


@pytest.mark.parametrize(
    ("source", "target", "expected"),
    [
        (None, ("primary", 1), (TARGET, 1)),
        (("ready", 2), ("fenced", 2), "target 2"),
        (("primary", 2), ("handed_over", 2), (SOURCE, 2)),
        (("handed_over", 1), ("ready", 1), (TARGET, 1)),
    ],
)
def test_who_begins_with_the_target(source: Said, target: Said, expected: object) -> None:
    assert look(TARGET, source, target) == expected


def test_without_a_record_writes_go_where_the_application_says() -> None:
    assert look(SOURCE, None, None, initial=SOURCE) == (SOURCE, 0)
    assert look(SOURCE, None, None, initial=None) is None


def test_without_any_record_writes_go_on_where_they_went() -> None:
    assert look(TARGET, None, None, initial=TARGET) == (TARGET, 0)
    assert look(TARGET, None, ("closed", 2), initial=TARGET) is None


def test_a_target_alone_decides_only_as_the_primary() -> None:
    assert judge_alone(Record("run", "primary", 3)) == Open(TARGET, 3)
    for state in ("ready", "closed", "fenced", "handed_over"):
        assert judge_alone(Record("run", state, 3)) is None
    assert judge_alone(None) is None


def test_who_writes_to_the_target_does_not_ask_the_source() -> None:
    def read(side: Name) -> Record | None:
        assert side == TARGET
        return Record("run", "primary", 1)

    assert judge(read, TARGET, None) == Open(TARGET, 1)
