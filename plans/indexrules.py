"""Rules about indexes: what they name, what they are asked, and what rows can keep of them while they change."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator, Mapping
from datetime import date, datetime
from uuid import UUID

from tranship.plans.levels import Subject, levels
from tranship.plans.problems import Path, Problem, near_spelling
from tranship.plans.streams import Column, Condition, LogicalType


def index_columns_exist(subject: Subject) -> Iterator[Problem]:
    """P108: an index names columns of its table, each once."""
    for stream in subject.streams:
        names = [named.name for named in next(levels(stream)).column_names()]
        for number, index in enumerate(stream.indexes):
            for position, name in enumerate(index.columns):
                path: Path = ("streams", stream.name, "indexes", number, "columns", position)
                if name not in names:
                    near = near_spelling(name, names)
                    yield Problem("P108", path, "no column of this table", name, tuple(names), near)
                elif name in index.columns[:position]:
                    yield Problem("P108", path, "this column is already in the index", name)


INDEX_COLUMNS = 32
"""What an index of PostgreSQL can have."""


def indexes_are_narrow(subject: Subject) -> Iterator[Problem]:
    """P117: no index has more columns than PostgreSQL allows, the primary keys of child tables included."""
    for stream in subject.streams:
        for number, index in enumerate(stream.indexes):
            if len(index.columns) > INDEX_COLUMNS:
                path: Path = ("streams", stream.name, "indexes", number, "columns")
                yield Problem("P117", path, f"an index has at most {INDEX_COLUMNS} columns", str(len(index.columns)))
        for level in levels(stream):
            ordinals = len(level.path) // 2 - 1
            if len(stream.key) + ordinals > INDEX_COLUMNS:
                what = f"{len(stream.key)} key columns" + (f" and {ordinals} ordinals" if ordinals else "")
                yield Problem("P117", level.table_path, f"a primary key has at most {INDEX_COLUMNS} columns", what)


def no_index_over_arrays(subject: Subject) -> Iterator[Problem]:
    """P116: an index holds no arrays: it would answer only for whole ones."""
    for stream in subject.streams:
        arrays = {column.name for column in stream.columns if column.type is LogicalType.ARRAY}
        for number, index in enumerate(stream.indexes):
            for position, name in enumerate(index.columns):
                if name in arrays:
                    path: Path = ("streams", stream.name, "indexes", number, "columns", position)
                    message = "this column holds arrays: for searches inside them make a GIN index after the cutover"
                    yield Problem("P116", path, message, name)


_ORDERED = ("gt", "gte", "lt", "lte")


def conditions_can_be_asked(subject: Subject) -> Iterator[Problem]:
    """P118: a condition of an index names a column of the table, and compares it with values of its type."""
    for stream in subject.streams:
        columns = {column.name: column for column in (*stream.key, *stream.columns)}
        for number, index in enumerate(stream.indexes):
            for condition in index.where:
                path: Path = ("streams", stream.name, "indexes", number, "where", condition.column)
                if condition.column not in columns:
                    near = near_spelling(condition.column, columns)
                    message = "no column of this table that can be asked"
                    yield Problem("P118", path, message, condition.column, tuple(columns), near)
                elif condition.values:
                    yield from _check_values(columns[condition.column], condition, path)


def _check_values(column: Column, condition: Condition, path: Path) -> Iterator[Problem]:
    path = (*path, condition.test)
    test = _VALUES.get(column.type)
    if test is None:
        message = f"a column of the type {column.type} is compared with nothing"
        yield Problem("P118", path, message, allowed=("absent", "present"))
    elif condition.test in _ORDERED and column.type is LogicalType.TEXT:
        yield Problem("P118", path, "the order of texts depends on a collation", allowed=("eq", "in"))
    else:
        is_one, example = test
        for value in condition.values:
            if not is_one(value):
                yield Problem("P118", path, f"not a value of {column.type}", str(value), (example,))


def _whole(bits: int) -> Callable[[object], bool]:
    # The lowest one is left out: it cannot be written as a number with a sign before it.
    return lambda value: isinstance(value, int) and not isinstance(value, bool) and value.bit_length() < bits


def _is_decimal(value: object) -> bool:
    if isinstance(value, str):
        return re.fullmatch(r"-?[0-9]{1,38}(\.[0-9]{1,38})?", value) is not None
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _is_double(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _reads(read: Callable[[str], object]) -> Callable[[object], bool]:
    def test(value: object) -> bool:
        try:
            return isinstance(value, str) and read(value) is not None
        except ValueError:
            return False

    return test


def _instant(text: str) -> datetime | None:
    """One with its zone, to the microsecond."""
    found = datetime.fromisoformat(text)
    return found if found.tzinfo is not None else None


_VALUES: Mapping[LogicalType, tuple[Callable[[object], bool], str]] = {
    LogicalType.BOOL: (lambda value: isinstance(value, bool), "true"),
    LogicalType.INT32: (_whole(32), "5"),
    LogicalType.INT64: (_whole(64), "5"),
    LogicalType.FLOAT64: (_is_double, "1.5"),
    LogicalType.DECIMAL: (_is_decimal, '"1.50"'),
    LogicalType.TEXT: (lambda value: isinstance(value, str) and "\0" not in value, "a text"),
    LogicalType.UUID: (_reads(UUID), '"00112233-4455-6677-8899-aabbccddeeff"'),
    LogicalType.OBJECTID: (_reads(re.compile("[0-9a-f]{24}").fullmatch), '"507f1f77bcf86cd799439011"'),
    LogicalType.TIMESTAMP: (_reads(_instant), '"2024-01-31T12:00:00Z"'),
    LogicalType.DATE: (_reads(date.fromisoformat), '"2024-01-31"'),
}
"""What values of each type look like in a plan, with an example. Others are not compared: bytes, json, arrays."""


def unique_values_can_pass(subject: Subject) -> Iterator[Problem]:
    """P119: a unique index has a column outside of the key, so that a row can give its values up before it is gone."""
    for stream in subject.streams:
        key = {column.name for column in stream.key}
        for number, index in enumerate(stream.indexes):
            if index.unique and key.issuperset(index.columns):
                path: Path = ("streams", stream.name, "indexes", number, "unique")
                message = "a unique index over nothing but key columns: values could not pass between rows"
                yield Problem("P119", path, message, allowed=("false", "a column outside of the key beside them"))
