"""Every kind of record has a sentence of its own."""

from __future__ import annotations

import pytest

from tests.unit.orchestrator.journal.test_golden import FINISHED, ROLLED_BACK, golden
from tranship.orchestrator.journal import sentences
from tranship.orchestrator.journal.records import Kind, Record
from tranship.orchestrator.journal.sentences import sentence
from tranship.plans.strategies import Group, PhaseName


def test_every_kind_has_a_sentence() -> None:
    assert set(sentences._SENTENCES) == set(Kind)
    silent = {PhaseName.DRAIN, PhaseName.SEAL, PhaseName.SWITCH, PhaseName.OPEN}
    assert set(sentences._FACTS) == set(PhaseName) - silent, "which observe nothing"


@pytest.mark.parametrize(
    ("record", "said"),
    [
        (Record(Kind.CREATED, data={"run": "shop-1"}), "run shop-1 begins"),
        (Record(Kind.INTENT, PhaseName.EXPAND), "expand begins"),
        (Record(Kind.OBSERVED, PhaseName.EXPAND, {"created": ["a", "b"]}), "expand: 2 tables made"),
        (Record(Kind.OBSERVED, PhaseName.INDEX, {"indexes": 1}), "index: 1 index there"),
        (Record(Kind.OBSERVED, PhaseName.INDEX, {"indexes": 3}), "index: 3 indexes there"),
        (
            Record(Kind.OBSERVED, PhaseName.BACKFILL, {"orders": {"chunks": 2, "rows": 1200}}),
            "backfill: orders (chunks 2, rows 1,200)",
        ),
        (
            Record(Kind.OBSERVED, PhaseName.RECONCILE, {"rows": 1, "quarantined": 0, "divergences": 0, "moving": 2}),
            "reconcile: 1 row compared, 0 in quarantine, 0 divergences, 2 keys never stood still",
        ),
        (Record(Kind.APPROVED, Group.CUTOVER, {"by": "ann@host", "asked": 3}), "cutover was approved by ann@host"),
        (Record(Kind.PAUSED, data={"reason": "a\nb"}), "paused: a b"),
    ],
)
def test_what_is_said(record: Record, said: str) -> None:
    assert sentence(record) == said


@pytest.mark.parametrize("name", [FINISHED, ROLLED_BACK])
def test_no_sentence_needs_more_than_a_journal_has(name: str) -> None:
    """Those of version 1 among them."""
    entries = golden(name, Kind.FINISHED if name == FINISHED else Kind.ROLLED_BACK)
    said = [sentence(entry.record) for entry in entries]
    assert len(said) > 20
    assert all(said)
    assert not [line for line in said if set("{}[]") & set(line)], "no Python in it"
