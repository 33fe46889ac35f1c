"""Names of proposed columns and tables: the field's where it can stand, steps joined by `_`, and none twice."""

from __future__ import annotations

from collections.abc import Container, Sequence

from tranship.orchestrator.design.proposals import Column, Path, Stream, Table
from tranship.plans.names import free_identifier, hashed, is_plain
from tranship.plans.streams import DIGEST_SUFFIX

_ROOT = "_root_"
_MOST = 63


def name_streams(streams: Sequence[Stream], tables: set[str] | None = None) -> None:
    """Give every table and column its name. `tables`: names that others have, in small letters; these join them."""
    tables = set() if tables is None else tables
    for stream in streams:
        stream.table.name = table_name((stream.name,), (stream.collection,), tables)
        _name_table(stream.table, stream.key, tables)


def _name_table(table: Table, key: list[Column], tables: set[str]) -> None:
    taken: set[str] = {"_residue"}
    for column in key:
        column.name = free_identifier(column.path, taken, _MOST - len(_ROOT) - len(DIGEST_SUFFIX))
        taken |= {column.name.casefold(), (column.name + DIGEST_SUFFIX).casefold()}
    # The arrays of a row have names in it, too: child tables come first, because theirs are to be seen.
    for child in table.children:
        child.name = table_name((table.name, *child.path), child.path, tables)
        taken.add(child.name.casefold())
    for column in sorted(table.columns, key=lambda column: len(column.path)):
        column.name = column_name(column.path, taken)
        taken.add(column.name.casefold())
    for child in table.children:
        _name_table(child, [], tables)


def column_name(path: Path, taken: Container[str]) -> str:
    """A column's name that is none of the taken ones (in small letters)."""
    joined = "_".join(path)
    if len(path) > 1 and is_plain((joined,)) and joined.casefold() not in taken:
        return joined
    return free_identifier(path, taken)


def table_name(steps: Path, path: Path, taken: set[str]) -> str:
    """A table's name that no other has in the schema."""
    name = "_".join(steps)
    if not is_plain((name,)) or name.casefold() in taken:
        name = hashed((*steps, *path), name)
    taken.add(name.casefold())
    return name
