"""Filters for spans, keys and the plan's `where`, made of raw BSON so that no value changes on its way."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import bson
from bson import json_util
from bson.codec_options import DatetimeConversion
from bson.errors import BSONError
from bson.raw_bson import RawBSONDocument

from tranship.connectors import keycodec
from tranship.connectors.errors import RefusedError
from tranship.connectors.keynumbers import NAN
from tranship.connectors.mongodb.connection import RAW
from tranship.connectors.protocols import Key, Span
from tranship.plans.filters import is_value, refusals
from tranship.plans.streams import Stream

_JSON = json_util.JSONOptions(datetime_conversion=DatetimeConversion.DATETIME_MS, tz_aware=False)
"""Every date that BSON can hold, also those that Python cannot."""

_COMPARABLE = frozenset({keycodec.NUMBER, keycodec.STRING, keycodec.OBJECT_ID, keycodec.DATE})
"""Types whose `$gte` and `$lt` are just the index's order within the type; NaN among the numbers is not."""


def in_span(stream: Stream, span: Span) -> Mapping[str, Any]:
    """The filter for the stream's documents in a span.

    `$gte` and `$lt` of a filter only find values of the bound's own type, which is all there is between two bounds of
    one type. Other spans compare in `$expr`, which knows one order of all types and may use the index, too.
    """
    lower, upper = span.lower, span.upper
    if lower is None and upper is None:
        return where(stream)
    if lower is not None and upper is not None and _alike(lower, upper):
        bounds = _document(_value(b"$gte", lower), _value(b"$lt", upper))
        return _with_where(stream, _raw(_document(_nested(b"_id", bounds))))
    comparisons = [
        _comparison(operator, key) for operator, key in ((b"$gte", lower), (b"$lt", upper)) if key is not None
    ]
    condition = _document(_array(b"$and", comparisons))
    return _with_where(stream, _raw(_document(_nested(b"$expr", condition))))


def among(stream: Stream, keys: Sequence[Key]) -> Mapping[str, Any]:
    """The filter for the stream's documents with one of these keys."""
    plain = [key for key in keys if not _is_like_operators(key)]
    values = _document(*(_value(b"%d" % place, key) for place, key in enumerate(plain)))
    found = _nested(b"_id", _document(b"\x04$in\0" + values))
    if len(plain) == len(keys):
        return _with_where(stream, _raw(_document(found)))
    alone = (_document(_nested(b"_id", _document(_value(b"$eq", key)))) for key in keys if _is_like_operators(key))
    return _with_where(stream, _raw(_document(_array(b"$or", [_document(found), *alone]))))


def where(stream: Stream) -> Mapping[str, Any]:
    """The plan's own filter. Raises `RefusedError` when it is not Extended JSON."""
    if stream.where is None:
        return {}
    try:
        plain = json.loads(stream.where)
    except ValueError as error:
        raise RefusedError(f"stream {stream.name}: where is not JSON: {error}") from None
    if not isinstance(plain, dict):
        raise RefusedError(f"stream {stream.name}: where must be an object")
    refused = next(refusals(plain), None)
    if refused is not None:
        raise RefusedError(f"stream {stream.name}: where: {refused}")
    try:
        found: Mapping[str, Any] = _decoded(plain)
        bson.encode(found)
    except (ValueError, TypeError, ArithmeticError, BSONError) as error:
        raise RefusedError(f"stream {stream.name}: where is not Extended JSON: {error}") from None
    return found


def _decoded(part: Any) -> Any:
    """Extended JSON's values as BSON's; everything else as it stands.

    Only mappings that are one value and nothing else are given to the library: of others it would take the value and
    drop what stands beside it, and it takes the operators `$regex` and `$options` for a value.
    """
    if isinstance(part, list):
        return [_decoded(one) for one in part]
    if not isinstance(part, dict):
        return part
    decoded = {name: _decoded(one) for name, one in part.items()}
    if not is_value(part):
        return decoded
    value = json_util.object_hook(decoded, _JSON)
    if isinstance(value, dict):
        raise ValueError(f"{', '.join(part)} has no value of that kind")  # noqa: TRY004  the text's mistake, not a type's
    return value


def _with_where(stream: Stream, condition: RawBSONDocument) -> Mapping[str, Any]:
    """Both conditions, side by side where their fields allow it: not every planner looks into `$and`."""
    found = where(stream)
    return {"$and": [condition, found]} if set(found) & set(condition) else {**condition, **found}


def _is_like_operators(key: Key) -> bool:
    """Whether a key is a document that servers refuse in `$in`, as a DBRef: its first name could be an operator's."""
    if keycodec.generic_type(key) != keycodec.OBJECT:
        return False
    _, value = keycodec.decode(key)
    return value[5:6] == b"$"


def _alike(lower: Key, upper: Key) -> bool:
    kind = keycodec.generic_type(lower)
    return kind == keycodec.generic_type(upper) and kind in _COMPARABLE and lower[0] != NAN


def _comparison(operator: bytes, key: Key) -> bytes:
    """The document `{operator: ["$_id", {$literal: value}]}`; without `$literal`, "$a" would be a path."""
    field = b"\x020\0\x05\0\0\0$_id\0"
    literal = _nested(b"1", _document(_value(b"$literal", key)))
    return _document(b"\x04" + operator + b"\0" + _document(field, literal))


def _value(name: bytes, key: Key) -> bytes:
    kind, value = keycodec.decode(key)
    return bytes((kind,)) + name + b"\0" + value


def _nested(name: bytes, document: bytes) -> bytes:
    return b"\x03" + name + b"\0" + document


def _array(name: bytes, documents: Sequence[bytes]) -> bytes:
    elements = (_nested(b"%d" % place, document) for place, document in enumerate(documents))
    return b"\x04" + name + b"\0" + _document(*elements)


def _document(*elements: bytes) -> bytes:
    return keycodec.document(list(elements))


def _raw(document: bytes) -> RawBSONDocument:
    return RawBSONDocument(document, RAW)
