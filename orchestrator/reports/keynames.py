"""Keys as people name them: shown in lists, given back on the command line.

A key that fits its stream's key columns is shown by their values; any other one, and a text that could be taken for
something else, as `canonical:` and its bytes in hex. So what is shown always names just one key.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from contextlib import suppress
from decimal import Decimal
from typing import Any

from tranship.connectors.keys import KeyForm, TypedValue
from tranship.connectors.protocols import Key
from tranship.plans.streams import Column, LogicalType, Stream

CANONICAL = "canonical:"


class NoKeyError(ValueError):
    """A text names no key of the stream."""


def key_values(stream: Stream, key: Key) -> dict[str, Any]:
    """The key columns by name, JSON-able; `{"canonical": hex}` for a key that does not fit them."""
    values = KeyForm(stream.key).decode(key)
    if values is None:
        return {"canonical": key.hex()}
    return {column.name: _readable(value) for column, value in zip(stream.key, values, strict=True)}


def key_text(stream: Stream, key: Key) -> str:
    """The key as one line of printable text, which `keys_named` reads."""
    values = KeyForm(stream.key).decode(key)
    canonical = CANONICAL + key.hex()
    if values is None or stream.key[0].is_canonical:
        return canonical
    if len(stream.key) > 1:
        text = json.dumps(key_values(stream, key), ensure_ascii=False)
        return text if text.isprintable() else json.dumps(key_values(stream, key))
    text = str(_readable(values[0]))
    is_plain = stream.key[0].type is not LogicalType.TEXT or _is_plain(text)
    return text if is_plain else canonical


def keys_named(stream: Stream, text: str) -> list[Key]:
    """The keys that a text can stand for. Raises `NoKeyError`."""
    keys: list[Key] = []
    if text.startswith(CANONICAL):
        with suppress(ValueError):
            keys.append(bytes.fromhex(text.removeprefix(CANONICAL)))
    if not stream.key[0].is_canonical:
        with suppress(ValueError, ArithmeticError):
            keys.append(KeyForm(stream.key).encode(_values(stream, text)))
    if not keys:
        raise NoKeyError(f"{text} is no key of stream {stream.name}: give it as `tranship quarantine list` shows it")
    return keys


def _values(stream: Stream, text: str) -> list[TypedValue]:
    if len(stream.key) == 1:
        return [_value(stream.key[0], text)]
    given = json.loads(text)
    names = [column.name for column in stream.key]
    if not isinstance(given, dict) or sorted(given) != sorted(names):
        raise ValueError("not an object of the key's columns")
    return [_value(column, str(given[column.name])) for column in stream.key]


def _value(column: Column, text: str) -> TypedValue:
    """A column's value, read from its text. Raises `ValueError` or `ArithmeticError`."""
    return _READERS[column.type](text)


def _object_id(text: str) -> str:
    if not re.fullmatch("[0-9a-f]{24}", text.lower()):
        raise ValueError("not an ObjectId")
    return text.lower()


def _uuid(text: str) -> bytes:
    value = bytes.fromhex(text.replace("-", ""))
    if len(value) != 16:
        raise ValueError("not a UUID")
    return value


_READERS: dict[LogicalType, Callable[[str], TypedValue]] = {
    LogicalType.INT32: int,
    LogicalType.INT64: int,
    LogicalType.DECIMAL: Decimal,
    LogicalType.TEXT: str,
    LogicalType.BYTES: bytes.fromhex,
    LogicalType.UUID: _uuid,
    LogicalType.OBJECTID: _object_id,
    LogicalType.TIMESTAMP: int,
    LogicalType.DATE: int,
}


def _is_plain(text: str) -> bool:
    """Whether a text stands for itself: it is seen, is no option of a command and no canonical key."""
    return bool(text.strip()) and text.isprintable() and not text.startswith((CANONICAL, "-"))


def _readable(value: object) -> object:
    if isinstance(value, bytes):
        return value.hex()
    return value if isinstance(value, str | int) else str(value)
