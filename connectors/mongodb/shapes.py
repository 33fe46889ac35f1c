"""Decoded documents to figures, a batch at a time: what is alike is counted together.

Documents with the same fields of the same types in the same order are one shape. Their values are handled as columns,
by the C code of Python's builtins: a profile costs about as much as the decoding before it.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime, time
from itertools import chain, pairwise
from math import isfinite
from typing import Any

from bson import Binary, Code, DBRef, Decimal128, Int64, MaxKey, MinKey, ObjectId, Regex, Timestamp
from bson.datetime_ms import DatetimeMS

from tranship.connectors.profile import START, Distinct, Documents, Lists, Node, Values

_DECIMALS = struct.Struct("<QQ")
_MIDNIGHT = time()
_EPOCH = datetime(1970, 1, 1)
POSTGRESQL_MS = range(-210_866_803_200_000, 9_224_318_016_000_000)
"""Dates that PostgreSQL has: 4713 BC to the year 294247."""

Rows = Sequence[Any]


def count_documents(found: Documents, documents: Iterable[Mapping[str, Any]]) -> None:
    """Count documents of one level, and all below."""
    shapes: dict[tuple[tuple[str, ...], tuple[type, ...]], list[tuple[Any, ...]]] = {}
    for document in documents:
        values = tuple(document.values())
        shapes.setdefault((tuple(document), tuple(map(type, values))), []).append(values)
    for (names, kinds), rows in shapes.items():
        found.count += len(rows)
        _count_names(found, names, len(rows))
        for name, kind, column in zip(names, kinds, zip(*rows, strict=True), strict=True):
            count_values(found.node(name, len(rows)), kind, column)


def _count_names(found: Documents, names: tuple[str, ...], times: int) -> None:
    if not names:
        found.empty += times
    if list(names) == sorted(names, key=_as_in_jsonb):
        found.sorted += times
    if found.next is not None:
        for pair in pairwise((START, *names)):
            found.next[pair] += times


def _as_in_jsonb(name: str) -> tuple[int, bytes]:
    raw = name.encode("utf-8", "surrogatepass")
    return len(raw), raw


def count_values(node: Node, kind: type, values: Rows) -> None:
    """Count values of one Python type at a path."""
    if kind is dict:
        node.documents = node.documents or Documents()
        count_documents(node.documents, values)
    elif kind is list:
        node.lists = node.lists or Lists()
        _count_lists(node.lists, values)
    elif kind is type(None):
        node.nulls += len(values)
    elif kind is DBRef:
        count_values(node, dict, [dict(value.as_doc()) for value in values])
    elif kind in (Binary, bytes):
        _count_binaries(node, values)
    else:
        name, count = _KINDS.get(kind, (kind.__name__.lower(), _count_only))
        count(node.values(name), node.distinct, values)


def _count_lists(lists: Lists, values: Sequence[list[Any]]) -> None:
    sizes = list(map(len, values))
    lists.count += len(sizes)
    lists.empty += sizes.count(0)
    lists.longest = max(lists.longest, *sizes)
    by_type: dict[type, list[Any]] = {}
    for element in chain.from_iterable(values):
        by_type.setdefault(type(element), []).append(element)
    lists.elements = lists.elements or Node()
    for kind, elements in by_type.items():
        count_values(lists.elements, kind, elements)


def _count_binaries(node: Node, values: Rows) -> None:
    by_name: dict[str, list[bytes]] = {}
    for value in values:
        by_name.setdefault(_binary_name(value), []).append(value)
    for name, some in by_name.items():
        found = node.values(name)
        sizes = list(map(len, some))
        found.count += len(sizes)
        found.size += sum(sizes)
        found.longest = max(found.longest, *sizes)
        node.distinct.add({value.hex() for value in some if len(value) <= 64})


def _binary_name(value: bytes) -> str:
    subtype = value.subtype if isinstance(value, Binary) else 0
    if subtype == 4 and len(value) == 16:
        return "uuid"
    return f"binary subtype {subtype}" if subtype else "binary"


# --- one function for each kind of value ------------------------------------------------------------------------------


def _count_only(found: Values, _distinct: Distinct, values: Rows) -> None:
    found.count += len(values)


def _range(found: Values, values: Sequence[float]) -> None:
    least, greatest = min(values), max(values)
    found.least = least if found.least is None else min(found.least, least)
    found.greatest = greatest if found.greatest is None else max(found.greatest, greatest)


def _count_texts(found: Values, distinct: Distinct, values: Sequence[str]) -> None:
    together = "".join(values)
    ascii_only = together.isascii()
    sizes = list(map(len, values)) if ascii_only else [len(v.encode("utf-8", "surrogatepass")) for v in values]
    found.count += len(sizes)
    found.size += sum(sizes)
    found.longest = max(found.longest, *sizes)
    if "\0" in together:
        found.odd += sum("\0" in value for value in values)
    distinct.add(values if ascii_only else (v.encode("utf-8", "replace").decode() for v in values))


def _count_whole(found: Values, distinct: Distinct, values: Sequence[int]) -> None:
    found.count += len(values)
    _range(found, values)
    distinct.add(map(int, values))


def _count_doubles(found: Values, distinct: Distinct, values: Sequence[float]) -> None:
    found.count += len(values)
    finite = [value for value in values if isfinite(value)]
    found.odd += len(values) - len(finite)
    if finite:
        _range(found, finite)
        found.integral += sum(map(float.is_integer, finite))
        distinct.add(finite)


def _count_decimals(found: Values, distinct: Distinct, values: Sequence[Decimal128]) -> None:
    found.count += len(values)
    raw = list(map(_BID, values))
    distinct.add(value.hex() for value in set(raw))
    largest: dict[int, int] = {}
    for low, high in _DECIMALS.iter_unpack(b"".join(raw)):
        if (high >> 61) & 3 == 3:  # infinities and NaN, and forms that hold no more than 34 digits allow: zeros
            found.odd += 1
            continue
        scale = 6176 - ((high >> 49) & 0x3FFF)
        found.scales[scale] += 1
        coefficient = (high & 0x1FFFFFFFFFFFF) << 64 | low
        if coefficient > largest.get(scale, -1):
            largest[scale] = coefficient
    for scale, coefficient in largest.items():
        found.whole[scale] = max(found.whole.get(scale, 0), len(str(coefficient)) - scale)


_BID: Callable[[Decimal128], bytes] = Decimal128.bid.fget  # type: ignore[attr-defined]


def _count_dates(found: Values, distinct: Distinct, values: Sequence[datetime]) -> None:
    found.count += len(values)
    least, greatest = min(values), max(values)
    _range(found, [(moment - _EPOCH).total_seconds() * 1000 for moment in (least, greatest)])
    found.midnight += sum(moment.time() == _MIDNIGHT for moment in values)
    distinct.add(map(str, set(values)))


def _count_far_dates(found: Values, distinct: Distinct, values: Sequence[DatetimeMS]) -> None:
    moments = [int(value) for value in values]
    found.count += len(moments)
    _range(found, moments)
    found.odd += sum(moment not in POSTGRESQL_MS for moment in moments)
    found.midnight += sum(moment % 86_400_000 == 0 for moment in moments)
    distinct.add(moments)


def _count_objectids(found: Values, distinct: Distinct, values: Sequence[ObjectId]) -> None:
    found.count += len(values)
    distinct.add(map(str, set(values)))


_KINDS: Mapping[type, tuple[str, Callable[[Values, Distinct, Any], None]]] = {
    str: ("string", _count_texts),
    bool: ("bool", _count_only),
    int: ("int32", _count_whole),
    Int64: ("int64", _count_whole),
    float: ("double", _count_doubles),
    Decimal128: ("decimal128", _count_decimals),
    datetime: ("date", _count_dates),
    DatetimeMS: ("date", _count_far_dates),
    ObjectId: ("objectid", _count_objectids),
    Regex: ("regex", _count_only),
    Code: ("javascript", _count_only),
    Timestamp: ("timestamp", _count_only),
    MinKey: ("minKey", _count_only),
    MaxKey: ("maxKey", _count_only),
}
