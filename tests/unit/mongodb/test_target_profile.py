"""What a mapper makes of documents for targets that hold more or less than PostgreSQL."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import bson
import pytest

from tranship.connectors.batch import Batch
from tranship.connectors.mongodb.mapper import Mapper
from tranship.plans.streams import Column, LogicalType, Stream
from tranship.plans.targetprofile import POSTGRESQL, TargetProfile

KEY = Column("_id", ("_id",), LogicalType.TEXT, "string")
COLUMNS = (
    Column("text", ("text",), LogicalType.TEXT, "string"),
    Column("at", ("at",), LogicalType.TIMESTAMP, "date"),
    Column("day", ("day",), LogicalType.DATE, "date"),
)
STREAM = Stream("things", "things", "things", (KEY,), COLUMNS)


def mapped(target: TargetProfile, **fields: Any) -> tuple[Batch, list[str]]:
    """The batch of one document, and why parts of it are residue."""
    mapper = Mapper(replace(STREAM, target=target))
    batch = mapper.batch([bson.encode({"_id": "a", **fields})])
    return batch, [note.reason for notes in mapper.notes(batch.rows).values() for note in notes]


@pytest.mark.parametrize(
    ("fields", "narrow", "wide", "reason"),
    [
        ({"text": "a\0b"}, POSTGRESQL, TargetProfile(nul_in_text=True), "U+0000 in text"),
        ({"at": datetime(1999, 1, 1, tzinfo=UTC)}, TargetProfile(times=(946_684_800_000, 10**15)), POSTGRESQL, ""),
        ({"day": datetime(1999, 1, 1, tzinfo=UTC)}, TargetProfile(days=(10_957, 10**6)), POSTGRESQL, ""),
    ],
)
def test_what_one_target_holds_another_does_not(
    fields: dict[str, Any], narrow: TargetProfile, wide: TargetProfile, reason: str
) -> None:
    (name,) = fields
    batch, reasons = mapped(narrow, **fields)
    assert (batch.rows.column(name).null_count, len(reasons)) == (1, 1)
    assert reason in reasons[0]
    batch, reasons = mapped(wide, **fields)
    assert (batch.rows.column(name).null_count, reasons) == (0, [])


def test_how_long_a_key_may_be() -> None:
    mapper = Mapper(replace(STREAM, target=TargetProfile(long_key_bytes=5)))
    batch = mapper.batch([bson.encode({"_id": key}) for key in ("short", "longer")])
    assert batch.rows.column("_id").to_pylist() == ["short"]
    (aside,) = batch.quarantined
    assert "longer than 5 bytes" in aside.reason
