"""What the mapper makes of a line of the fidelity table, in the form of the table."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from tests.fidelity_table import COLUMNS, EXACT, KEYS, QUARANTINE, RESIDUE, Line
from tests.residues import residues
from tranship.connectors.mongodb.mapper import Mapper
from tranship.plans.pairs import PAIRS
from tranship.plans.streams import Column, LogicalType, Rest, Stream

KEY = Column("_id", ("_id",), LogicalType.INT32, "int32")


def stream(line: Line) -> Stream:
    """The stream of a line: one column for the value, or its key."""
    if line.is_key:
        return Stream("s", "c", "t", (_column(("_id",), KEYS[line.column]),), (_column(("n",), {"type": "int32"}),))
    return Stream("s", "c", "t", (KEY,), (_column((line.field,), COLUMNS[line.column]),))


def _column(path: tuple[str, ...], declared: dict[str, Any]) -> Column:
    options = dict(declared)
    name = options.pop("type")
    if name == "canonical":
        return Column(path[0], path, LogicalType.BYTES, "any")
    kind = LogicalType(name)
    items = LogicalType(options.pop("items")) if "items" in options else None
    bson = options.pop("bson", PAIRS[items or kind][0])
    return Column(path[0], path, kind, bson, items=items, **options)


def outcome(line: Line) -> tuple[str | None, str, str]:
    """(what PostgreSQL holds, outcome, reason), after checking the projection law."""
    of = stream(line)
    mapper = Mapper(of)
    raw = line.document(7)
    batch = mapper.batch([raw])
    if batch.quarantined:
        [entry] = batch.quarantined
        assert entry.document == raw
        return None, QUARANTINE, entry.reason
    assert mapper.documents(batch.rows) == [raw]
    row = mapper.project(raw)
    [column] = of.key if line.is_key else of.columns
    held = printed(column, row[mapper.schema.names.index(column.name)])
    if not residues(batch):
        assert row[-1] is None
        return held, EXACT, ""
    assert row[-1] is not None
    [(_, reason)] = residues(batch)
    [entry] = Mapper(replace(of, rest=Rest.QUARANTINE)).batch([raw]).quarantined
    assert (entry.document, entry.reason) == (raw, reason), "the policy quarantine keeps aside what else is residue"
    return held, RESIDUE, reason


def printed(column: Column, value: Any) -> str | None:
    """A value of a row as PostgreSQL prints it, in UTC."""
    return None if value is None else _PRINTERS[column.type](column, value)


def _array(column: Column, value: list[Any]) -> str:
    """Of elements that need no quotes."""
    return "{" + ",".join(printed(column.element, inner) or "NULL" for inner in value) + "}"


def _float(_: Column, value: float) -> str:
    words = {"inf": "Infinity", "-inf": "-Infinity", "nan": "NaN"}
    text = repr(value)
    return words.get(text, text.removesuffix(".0"))


def _decimal(column: Column, value: int) -> str:
    assert column.scale is not None
    digits = str(abs(value)).rjust(column.scale + 1, "0")
    return f"{'-' * (value < 0)}{digits[: -column.scale]}.{digits[-column.scale :]}"


def _date(days: int) -> tuple[str, str]:
    """Year, month and day of the Gregorian calendar, and the era."""
    era, day = divmod(days + 719_468, 146_097)  # eras of 400 years from March 1 of the year 0
    year = (day - day // 1460 + day // 36_524 - day // 146_096) // 365
    day -= 365 * year + year // 4 - year // 100
    month = (5 * day + 2) // 153
    day -= (153 * month + 2) // 5
    month = month + 3 if month < 10 else month - 9
    year += 400 * era + (month < 3)
    text = f"{year if year > 0 else 1 - year:04}-{month:02}-{day + 1:02}"
    return text, "" if year > 0 else " BC"


def _timestamp(_: Column, value: int) -> str:
    days, rest = divmod(value, 86_400_000_000)
    date, era = _date(days)
    seconds, fraction = divmod(rest, 1_000_000)
    parts = f"{fraction:06}".rstrip("0")
    clock = f"{seconds // 3600:02}:{seconds // 60 % 60:02}:{seconds % 60:02}{'.' + parts if parts else ''}"
    return f"{date} {clock}+00{era}"


def _uuid(_: Column, value: bytes) -> str:
    text = value.hex()
    return "-".join((text[:8], text[8:12], text[12:16], text[16:20], text[20:]))


_PRINTERS = {
    LogicalType.BOOL: lambda _, value: "true" if value else "false",
    LogicalType.INT32: lambda _, value: str(value),
    LogicalType.INT64: lambda _, value: str(value),
    LogicalType.FLOAT64: _float,
    LogicalType.DECIMAL: _decimal,
    LogicalType.TEXT: lambda _, value: value,
    LogicalType.BYTES: lambda _, value: "\\x" + value.hex(),
    LogicalType.UUID: _uuid,
    LogicalType.OBJECTID: lambda _, value: value,
    LogicalType.TIMESTAMP: _timestamp,
    LogicalType.DATE: lambda _, value: "".join(_date(value)),
    LogicalType.JSON: lambda _, value: value,
    LogicalType.ARRAY: _array,
}
