"""What a target makes of a plan: its tables and columns, for people to look at. No connection is needed for it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class MappedColumn:
    """A column with its native type. `path` is its field's place, from the document or from the array's element down;
    where it holds no field, `about` says what else.

    `null` is what NULL stands for in the field's place; None where the column is never NULL or holds no field. `key`:
    whether it is part of the primary key.
    """

    name: str
    type: str
    path: tuple[str, ...] | None = None
    about: str = ""
    null: str | None = None
    key: bool = False
    unique: bool = False


@dataclass(frozen=True)
class MappedIndex:
    """An index: its columns, each with `desc` where it is descending, and what rows in it must meet, one text each."""

    columns: tuple[str, ...]
    unique: bool = False
    where: tuple[str, ...] = ()


@dataclass(frozen=True)
class MappedTable:
    """A table, with its schema. For the elements of an array: `parent` is the table above, `array` the array's place in
    its rows' documents, and `empty` what no rows stand for.

    `where`: the source's filter, as JSON text. `indexes`: those that the plan lists.
    """

    stream: str
    collection: str
    schema: str
    table: str
    columns: tuple[MappedColumn, ...]
    parent: str | None = None
    array: tuple[str, ...] | None = None
    empty: str | None = None
    where: str | None = None
    indexes: tuple[MappedIndex, ...] = ()
