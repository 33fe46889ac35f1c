"""All that a plan makes in PostgreSQL as one script, as a person writes it for a database in which nothing changes.

A run makes the same in several phases and while rows come: indexes over loaded tables, unique ones concurrently,
foreign keys first NOT VALID. What is there in the end is equal, which the catalog says (`test_postgresql_ddl`).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from tranship.connectors.postgresql import statements
from tranship.connectors.postgresql.layout import layout, quote
from tranship.plans.streams import Endpoint, Stream


def making(endpoint: Endpoint, streams: Sequence[Stream]) -> str:
    """What makes it, in one transaction."""
    parts = [f"CREATE SCHEMA IF NOT EXISTS {quote(endpoint.schema)};"]
    for stream in streams:
        parts += ["", f"-- {_one_line(stream.name)}"]
        parts += [f"{statement};" for statement in _of(stream, endpoint.schema)]
    return _transaction(parts)


def dropping(endpoint: Endpoint, streams: Sequence[Stream]) -> str:
    """What takes it away again, refused by PostgreSQL where others have hung something on it."""
    tables = [table.name for stream in streams for table, _ in layout(stream, endpoint.schema).walk()]
    listed = ",\n    ".join(tables)
    dropped = _transaction([f"DROP TABLE\n    {listed};"])
    if endpoint.schema == "public":  # every database has it
        return dropped
    return f"{dropped}\n-- Refused while something else is in it:\nDROP SCHEMA {quote(endpoint.schema)};\n"


def _of(stream: Stream, schema: str) -> Iterator[str]:
    root = layout(stream, schema)
    for table, parent in root.walk():
        yield from statements.making(table)
        if parent is not None:
            yield statements.referring(table, parent)
    yield from (index.still for index in (*statements.plain([stream], schema), *statements.unique([stream], schema)))


def _transaction(parts: Sequence[str]) -> str:
    return "\n".join(["BEGIN;", "", *parts, "", "COMMIT;", ""])


def _one_line(name: str) -> str:
    """A name in a comment, which ends with its line."""
    return " ".join(name.split())
