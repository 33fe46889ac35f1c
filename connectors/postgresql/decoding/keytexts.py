"""Key columns as PostgreSQL prints them become canonical keys: the same bytes that reading the row gives.

Texts are those of a session of ours (`connections.PINNED`): UTC, ISO dates, bytea in hex.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from decimal import Decimal
from uuid import UUID

from tranship.connectors.errors import ConnectorError
from tranship.connectors.keycodec import decode
from tranship.connectors.keys import KeyForm, TypedValue
from tranship.connectors.postgresql.keyterms import form_of
from tranship.connectors.postgresql.layout import Layout
from tranship.connectors.protocols import Key
from tranship.plans.streams import LogicalType, Stream

_TIME = re.compile(r"(\d+)-(\d\d)-(\d\d)(?: (\d\d):(\d\d):(\d\d)(?:\.(\d{1,6}))?\+00)?( BC)?")
_DAY_US = 86_400_000_000


class KeyTexts:
    """The keys of one table's rows: its stream's root, or a table below it."""

    def __init__(self, stream: Stream, table: Layout) -> None:
        self._form = KeyForm(stream.key)
        self._table = table
        self._is_canonical = stream.key[0].is_canonical
        self._readers = [_READERS[field.type] for field in table.key]

    def key(self, texts: Sequence[str]) -> Key:
        """The canonical key. Raises `ConnectorError` for a row that no document can have become."""
        try:
            values = [read(text) for read, text in zip(self._readers, texts, strict=True)]
            if any(self._is_beyond(place, value) for place, value in enumerate(values)):
                raise ValueError("beyond what the type's values are read as")
            key = self._form.encode(values)
            if self._is_canonical:
                decode(key)
        except (ValueError, ArithmeticError):
            columns = ", ".join(f"{field.name} ({field.native})" for field in self._table.key)
            raise ConnectorError(
                f"table {self._table.table}, key {columns}: a row was written whose key no document's _id becomes "
                "(NaN, infinity, parts of a millisecond, an ObjectId that is not 24 lower-case hex digits), so "
                "it has no place on the other side; remove it, or give it another key"
            ) from None
        return key

    def _is_beyond(self, place: int, value: TypedValue) -> bool:
        form = form_of(self._table.key[place])
        if form.lowest is None or form.highest is None:
            return False
        return not (isinstance(value, int) and form.lowest <= value <= form.highest)


def _bytes(text: str) -> bytes:
    if not text.startswith("\\x"):
        raise ValueError("not in hex")
    return bytes.fromhex(text[2:])


def _decimal(text: str) -> Decimal:
    value = Decimal(text)
    if not value.is_finite():
        raise ValueError("no number")
    return value


def _microseconds(text: str) -> int:
    found = _TIME.fullmatch(text)
    if found is None:
        raise ValueError("no time")
    hours, minutes, seconds = (int(found[group] or 0) for group in (4, 5, 6))
    fraction = int((found[7] or "").ljust(6, "0"))
    return _days(text) * _DAY_US + ((hours * 60 + minutes) * 60 + seconds) * 1_000_000 + fraction


def _days(text: str) -> int:
    """Days since 1970 of the date in a text, in the Gregorian calendar at all times: Python's ends where PostgreSQL's
    goes on."""
    found = _TIME.fullmatch(text)
    if found is None:
        raise ValueError("no date")
    year, month, day = int(found[1]), int(found[2]), int(found[3])
    if found[8]:
        year = 1 - year  # the year before 1 is 1 BC
    # Years from March on, so that the leap day is the last one of a year: 153 days are five months.
    shifted = year - (month < 3)
    since_march = (153 * ((month + 9) % 12) + 2) // 5 + day - 1
    return 365 * shifted + shifted // 4 - shifted // 100 + shifted // 400 + since_march - 719_468


def _text(text: str) -> str:
    return text


_READERS: dict[LogicalType, Callable[[str], TypedValue]] = {
    LogicalType.INT32: int,
    LogicalType.INT64: int,
    LogicalType.DECIMAL: _decimal,
    LogicalType.TEXT: _text,
    LogicalType.BYTES: _bytes,
    LogicalType.UUID: lambda text: UUID(text).bytes,
    LogicalType.OBJECTID: _text,
    LogicalType.TIMESTAMP: _microseconds,
    LogicalType.DATE: _days,
}
