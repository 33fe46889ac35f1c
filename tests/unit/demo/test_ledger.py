"""What may be concluded from a ledger, whole or cut off."""

from __future__ import annotations

from pathlib import Path

import bson
import pytest

from tranship.orchestrator.demo.ledger import Ledger, LedgerError, Place, States, place_of, read, replay

ONE = place_of("things", {"_id": 1})
TWO = place_of("things", {"_id": 2})
A, B, C = (bson.encode({"_id": 1, "letter": letter}) for letter in "abc")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "ledger"


def after(path: Path, initial: States | None = None) -> States:
    return replay(initial or {}, read(path))


def test_only_acknowledged_writes_count(path: Path) -> None:
    with Ledger(path) as ledger:
        ledger.acknowledge(ledger.attempt(ONE, A))
        ledger.refuse(ledger.attempt(ONE, B))
        ledger.acknowledge(ledger.attempt(TWO, None))
    assert after(path, {TWO: (C,)}) == {ONE: (A,), TWO: (None,)}


def test_the_last_acknowledged_write_of_a_key_wins(path: Path) -> None:
    with Ledger(path) as ledger:
        for state in (A, None, B):
            ledger.acknowledge(ledger.attempt(ONE, state))
    assert after(path) == {ONE: (B,)}


def test_a_try_without_outcome_leaves_both_states_possible(path: Path) -> None:
    with Ledger(path) as ledger:
        ledger.acknowledge(ledger.attempt(ONE, A))
        ledger.attempt(ONE, B)
        ledger.attempt(TWO, C)
    assert after(path) == {ONE: (A, B), TWO: (None, C)}


def test_writes_of_different_keys_may_overlap(path: Path) -> None:
    with Ledger(path) as ledger:
        one, two = ledger.attempt(ONE, A), ledger.attempt(TWO, B)
        ledger.acknowledge(two)
        ledger.acknowledge(one)
    assert after(path) == {ONE: (A,), TWO: (B,)}


def test_every_cut_of_the_file_is_readable_and_only_loses_certainty(path: Path) -> None:
    with Ledger(path) as ledger:
        ledger.acknowledge(ledger.attempt(ONE, A))
        ledger.acknowledge(ledger.attempt(ONE, B))
    whole = path.read_bytes()
    seen = set()
    for size in range(len(whole) + 1):
        path.write_bytes(whole[:size])
        seen.add(after(path).get(ONE, (None,)))
    assert seen == {(None,), (None, A), (A,), (A, B), (B,)}


def test_appending_after_a_cut_line_drops_it_and_uses_no_number_twice(path: Path) -> None:
    with Ledger(path) as ledger:
        first = ledger.attempt(ONE, A)
        ledger.acknowledge(first)
    path.write_bytes(path.read_bytes()[:-3])
    with Ledger(path) as ledger:
        second = ledger.attempt(TWO, B)
        assert second > first
        ledger.acknowledge(second)
    assert after(path) == {ONE: (None, A), TWO: (B,)}


def test_a_broken_line_inside_the_file_is_an_error(path: Path) -> None:
    with Ledger(path) as ledger:
        ledger.attempt(ONE, A)
    path.write_bytes(b"{broken\n" + path.read_bytes())
    with pytest.raises(LedgerError, match=":1 is not a record"):
        after(path)


@pytest.mark.parametrize(
    "records",
    [
        [{"ack": 5}],
        [{"refused": 5}],
        [{"surprise": 1}],
    ],
)
def test_contradictions_are_errors(records: list[dict[str, object]]) -> None:
    with pytest.raises(LedgerError):
        replay({}, records)


def test_a_key_of_unknown_outcome_may_not_be_written_again(path: Path) -> None:
    with Ledger(path) as ledger:
        ledger.attempt(ONE, A)
        ledger.acknowledge(ledger.attempt(ONE, B))
    with pytest.raises(LedgerError, match="not the only one"):
        after(path)


def test_two_unknown_outcomes_of_one_key_are_an_error(path: Path) -> None:
    with Ledger(path) as ledger:
        ledger.attempt(ONE, A)
        ledger.attempt(ONE, B)
    with pytest.raises(LedgerError, match="written again"):
        after(path)


def test_keys_are_told_apart_by_type_and_collection() -> None:
    places = {place_of("things", {"_id": key}) for key in (1, "1", 1.0, bson.Int64(1))}
    assert len(places | {Place("others", ONE.key)}) == 5
