"""The control tables of a state schema (SQLAlchemy Core).

They stand beside the progress tables (`statetables`), so that a point-in-time restore of the target rewinds data,
progress and journal together.
"""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import (
    BigInteger,
    Column,
    DateTime,
    Float,
    Identity,
    Integer,
    MetaData,
    Table,
    Text,
    UniqueConstraint,
    func,
)
from sqlalchemy.dialects.postgresql import JSON


@dataclass(frozen=True)
class ControlTables:
    """The tables of one state schema. `json`, not `jsonb`: the journal's hashes cover the text's numbers as written."""

    metadata: MetaData
    run: Table
    journal: Table
    request: Table
    lease: Table


def control_tables(schema: str) -> ControlTables:
    """Describe the control tables of a state schema."""
    metadata = MetaData(schema=schema)
    run = Table(
        "run",
        metadata,
        Column("run", Text, primary_key=True),
        Column("plan", Text, nullable=False),
        Column("number", Integer, nullable=False),
        Column("version", Integer, nullable=False),
        # The journal's end: beside it, so that one whose last entries were removed is found out.
        Column("head", Integer, nullable=False),
        Column("head_hash", Text, nullable=False),
        Column("created_at", DateTime(timezone=True), nullable=False, server_default=func.now()),
        UniqueConstraint("plan", "number"),
    )
    journal = Table(
        "journal",
        metadata,
        Column("run", Text, primary_key=True),
        Column("seq", Integer, primary_key=True),
        Column("epoch", BigInteger, nullable=False),
        Column("at", Float(53), nullable=False),
        Column("kind", Text, nullable=False),
        Column("phase", Text),
        Column("data", JSON, nullable=False),
        Column("previous", Text, nullable=False),
        Column("hash", Text, nullable=False),
        Column("version", Integer, nullable=False),
    )
    request = Table(
        "request",
        metadata,
        Column("id", BigInteger, Identity(), primary_key=True),
        Column("run", Text, nullable=False),
        Column("kind", Text, nullable=False),
        Column("asking", Integer),
        Column("stream", Text),
        Column("by", Text, nullable=False),
        Column("made_at", DateTime(timezone=True), nullable=False, server_default=func.now()),
        Column("consumed_at", DateTime(timezone=True)),
    )
    lease = Table(
        "lease",
        metadata,
        Column("run", Text, primary_key=True),
        Column("holder", Text, nullable=False),
        Column("expires_at", DateTime(timezone=True), nullable=False),
        # What the holder was at, and when it said so.
        Column("work", JSON),
        Column("said_at", DateTime(timezone=True)),
    )
    return ControlTables(metadata, run, journal, request, lease)
