"""What a collection's validator says, taken into the proposal: lists of values, and descriptions as comments.

Values that were merely seen are no list: the next one that somebody invents would not fit in the middle of a run.
"""

from __future__ import annotations

from collections.abc import Mapping

from tranship.connectors.profile import Declared
from tranship.orchestrator.design.proposals import Path, Table


def declare(table: Table, known: Mapping[Path, Declared], at: Path = ()) -> None:
    """Give the columns of a table, and of those below, what is declared of their fields."""
    for column in table.columns:
        said = known.get((*at, *column.path))
        if said is None:
            continue
        if said.values and all(_is_listable(one, column.spec["type"]) for one in said.values):
            column.spec["values"] = list(dict.fromkeys(said.values))
            column.notes.append("all that the validator allows")
        if said.about.strip() and "\0" not in said.about:
            column.spec["comment"] = said.about.strip()
    for child in table.children:
        declare(child, known, (*at, *child.path, "[]"))


def _is_listable(value: object, kind: str) -> bool:
    if kind == "text":
        return isinstance(value, str) and "\0" not in value
    bits = {"int32": 32, "int64": 64}.get(kind, 0)
    return isinstance(value, int) and not isinstance(value, bool) and value.bit_length() < bits
