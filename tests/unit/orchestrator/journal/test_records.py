"""The journal's chain: a changed, missing or foreign entry is found."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tranship.orchestrator.journal.records import GENESIS, Entry, JournalError, Kind, Record, check_chain, seal
from tranship.plans.strategies import PhaseName

RECORDS = [
    Record(Kind.CLAIMED, data={"epoch": 1}),
    Record(Kind.INTENT, PhaseName.EXPAND),
    Record(Kind.OBSERVED, PhaseName.EXPAND, {"created": ["t"], "ratio": 0.5, "name": "Đorđe"}),
]


def chain() -> list[Entry]:
    entries: list[Entry] = []
    for seq, record in enumerate(RECORDS, start=1):
        previous = entries[-1].hash if entries else GENESIS
        at = 1_700_000_000.25 + seq
        entries.append(Entry(seq, 1, at, record, previous, seal(previous, seq, 1, at, record)))
    return entries


def test_a_whole_chain_is_accepted() -> None:
    assert check_chain(chain()) == chain()


@pytest.mark.parametrize("place", range(len(RECORDS)))
@pytest.mark.parametrize(
    "change",
    [
        lambda e: replace(e, epoch=2),
        lambda e: replace(e, at=e.at + 0.001),
        lambda e: replace(e, record=Record(Kind.DONE, PhaseName.EXPAND)),
        lambda e: replace(e, previous="f" * 64),
        lambda e: replace(e, hash="f" * 64),
        lambda e: replace(e, seq=e.seq + 1),
    ],
)
def test_a_changed_entry_is_named(place: int, change: object) -> None:
    entries = chain()
    entries[place] = change(entries[place])  # type: ignore[operator]
    with pytest.raises(JournalError, match=f"journal entry {place + 1} "):
        check_chain(entries)


@pytest.mark.parametrize("place", range(len(RECORDS) - 1))
def test_a_missing_entry_is_found(place: int) -> None:
    entries = chain()
    del entries[place]
    with pytest.raises(JournalError):
        check_chain(entries)
