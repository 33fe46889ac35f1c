"""The journal's chain: a changed, missing or foreign entry is found."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tranship.orchestrator.journal.records import Entry, Head, JournalError, Kind, Record, check_chain, sealed
from tranship.plans.strategies import PhaseName

RUN = "shop-1"

RECORDS = [
    Record(Kind.CLAIMED, data={"epoch": 1}),
    Record(Kind.INTENT, PhaseName.EXPAND),
    Record(Kind.OBSERVED, PhaseName.EXPAND, {"created": ["t"], "ratio": 0.5, "name": "Đorđe"}),
]


def chain() -> list[Entry]:
    entries: list[Entry] = []
    for seq, record in enumerate(RECORDS, start=1):
        head = Head(entries[-1].seq, entries[-1].hash) if entries else Head()
        entries.append(sealed(RUN, head, 1, 1_700_000_000.25 + seq, record))
    return entries


def head_of(entries: list[Entry]) -> Head:
    return Head(entries[-1].seq, entries[-1].hash)


def test_a_whole_chain_is_accepted() -> None:
    assert check_chain(RUN, chain()) == chain()


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
        check_chain(RUN, entries)


@pytest.mark.parametrize("place", range(len(RECORDS) - 1))
def test_a_missing_entry_is_found(place: int) -> None:
    entries = chain()
    del entries[place]
    with pytest.raises(JournalError):
        check_chain(RUN, entries)


def test_a_missing_end_is_found_by_the_head_that_is_kept_apart() -> None:
    entries = chain()
    assert check_chain(RUN, entries, head_of(entries)) == entries
    assert check_chain(RUN, entries, head_of(entries[:-1])) == entries, "one that came after the head was read"
    assert check_chain(RUN, entries, Head()) == entries
    with pytest.raises(JournalError, match="ends at entry 2, but entry 3 was the last"):
        check_chain(RUN, entries[:-1], head_of(entries))
    with pytest.raises(JournalError, match="ends at entry 0"):
        check_chain(RUN, [], head_of(entries))


def test_the_journal_of_another_run_is_no_journal_of_this_one() -> None:
    with pytest.raises(JournalError, match="journal entry 1 "):
        check_chain("shop-2", chain())
