"""Numbers inside canonical keys: one byte form per exact value, ordered as the numbers are.

Every int32, int64, double and decimal128 has a finite decimal expansion, so the form is that expansion: a class byte
(NaN, -inf, negative, zero, positive, +inf), then for finite values other than zero the decimal exponent and the
significant digits, two to a byte. Digits carry no leading or trailing zeros, hence equal values have equal bytes
whatever type they came from. Bytes of negative numbers are inverted, hence they sort the other way round.
"""

from __future__ import annotations

import math
import struct
from decimal import Decimal

NAN, NEGATIVE_INFINITY, NEGATIVE, ZERO, POSITIVE, POSITIVE_INFINITY = range(30, 36)

DOUBLE, INT32, INT64, DECIMAL128 = 0x01, 0x10, 0x12, 0x13

_double = struct.Struct("<d")
_int32 = struct.Struct("<i")
_int64 = struct.Struct("<q")
_exponent = struct.Struct(">H")
_EXPONENT_BIAS = 0x8000

# A pair of digits 00..99 is one byte 0x00..0x99 in packed form; adding one leaves 0 free as the end mark.
_SHIFT = bytes((i + 1) & 0xFF for i in range(256))
_UNSHIFT = bytes((i - 1) & 0xFF for i in range(256))
_INVERT = bytes(255 - i for i in range(256))

_MAX_COEFFICIENT = 10**34 - 1
_MIN_EXPONENT, _MAX_EXPONENT = -6176, 6111
_DECIMAL_NAN = 0x7C << 120
_DECIMAL_INFINITY = 0x78 << 120
_SIGN = 1 << 127

_NAN_KEY = bytes([NAN])
_ZERO_KEY = bytes([ZERO])
_POSITIVE_INFINITY_KEY = bytes([POSITIVE_INFINITY])
_NEGATIVE_INFINITY_KEY = bytes([NEGATIVE_INFINITY])


def encode_int(value: int) -> bytes:
    """Key bytes of an integer of any size."""
    if value == 0:
        return _ZERO_KEY
    digits = str(abs(value))
    return _finite(value < 0, digits, len(digits))


def encode_double(value: float) -> bytes:
    """Key bytes of a double, by its exact value."""
    if math.isnan(value):
        return _NAN_KEY
    if math.isinf(value):
        return _POSITIVE_INFINITY_KEY if value > 0 else _NEGATIVE_INFINITY_KEY
    if value.is_integer():
        return encode_int(int(value))
    return encode_decimal(Decimal(value))


def encode_decimal(value: Decimal) -> bytes:
    """Key bytes of a Python decimal, by its exact value."""
    if not value.is_finite():
        if value.is_nan():
            return _NAN_KEY
        return _NEGATIVE_INFINITY_KEY if value.is_signed() else _POSITIVE_INFINITY_KEY
    if value.is_zero():
        return _ZERO_KEY
    sign, digits, exponent = value.as_tuple()
    assert isinstance(exponent, int)  # finite
    text = "".join(map(str, digits))
    return _finite(bool(sign), text, len(text) + exponent)


def encode_decimal128(value: bytes) -> bytes:
    """Key bytes of the 16 bytes of a BSON decimal128."""
    return encode_decimal(decimal128_to_decimal(value))


def _finite(negative: bool, digits: str, exponent: int) -> bytes:
    """Key bytes of ±0.digits · 10^exponent; the first digit is not zero."""
    digits = digits.rstrip("0")
    if len(digits) & 1:
        digits += "0"
    body = _exponent.pack(exponent + _EXPONENT_BIAS) + bytes.fromhex(digits).translate(_SHIFT) + b"\0"
    if negative:
        return bytes([NEGATIVE]) + body.translate(_INVERT)
    return bytes([POSITIVE]) + body


def read_number(key: bytes, at: int) -> tuple[Decimal, int]:
    """The number whose class byte is at `at`, and the place behind it. Raises ValueError or IndexError."""
    kind = key[at]
    at += 1
    if kind in _SPECIAL:
        return _SPECIAL[kind], at
    negative = kind == NEGATIVE
    end = key.index(b"\xff" if negative else b"\0", at + 2) + 1
    body = key[at:end]
    if negative:
        body = body.translate(_INVERT)
    packed = body[2:-1].translate(_UNSHIFT).hex()
    if not packed.isdecimal() or packed[0] == "0" or packed.endswith("00"):
        raise ValueError("number is not in canonical form")
    digits = packed.rstrip("0")
    exponent = _exponent.unpack_from(body)[0] - _EXPONENT_BIAS - len(digits)
    return Decimal((int(negative), tuple(map(int, digits)), exponent)), end


_SPECIAL = {
    NAN: Decimal("NaN"),
    NEGATIVE_INFINITY: Decimal("-Infinity"),
    ZERO: Decimal(0),
    POSITIVE_INFINITY: Decimal("Infinity"),
}


def to_element(value: Decimal) -> tuple[int, bytes]:
    """A BSON number (type byte, value bytes) of exactly this value: the simplest type that can hold it.

    Raises ValueError when none can, which no key made from BSON leads to.
    """
    if not value.is_finite():
        return DOUBLE, _double.pack(float(value))
    integer = _as_int64(value)
    if integer is not None:
        return (INT32, _int32.pack(integer)) if -(2**31) <= integer < 2**31 else (INT64, _int64.pack(integer))
    approximate = float(value) if -400 < value.adjusted() < 309 else 0.0
    if Decimal(approximate) == value:
        return DOUBLE, _double.pack(approximate)
    return DECIMAL128, decimal_to_decimal128(value)


def _as_int64(value: Decimal) -> int | None:
    if value.adjusted() > 18:
        return None
    exponent = value.as_tuple().exponent
    assert isinstance(exponent, int)
    if exponent < 0 and not value.is_zero():  # digits carry no trailing zeros
        return None
    integer = int(value)
    return integer if -(2**63) <= integer < 2**63 else None


def decimal128_to_decimal(value: bytes) -> Decimal:
    """The value of the 16 bytes of a BSON decimal128, with its exponent; all NaNs become one."""
    bits = int.from_bytes(value, "little")
    sign = bits >> 127
    if (bits >> 125) & 0b11 == 0b11:
        top = (bits >> 122) & 0b11111
        if top == 0b11111:
            return Decimal("NaN")
        if top == 0b11110:
            return Decimal("-Infinity" if sign else "Infinity")
        return Decimal((sign, (0,), ((bits >> 111) & 0x3FFF) + _MIN_EXPONENT))  # coefficient too large: zero
    coefficient = bits & ((1 << 113) - 1)
    if coefficient > _MAX_COEFFICIENT:
        coefficient = 0
    digits = tuple(map(int, str(coefficient)))
    return Decimal((sign, digits, ((bits >> 113) & 0x3FFF) + _MIN_EXPONENT))


def decimal_to_decimal128(value: Decimal) -> bytes:
    """The 16 bytes of the decimal128 of this value and exponent. Raises ValueError when there is none."""
    sign, digits, power = value.as_tuple()
    if not isinstance(power, int):
        bits = _DECIMAL_INFINITY if value.is_infinite() else _DECIMAL_NAN
        return (bits | (_SIGN if sign else 0)).to_bytes(16, "little")
    coefficient, exponent = int("".join(map(str, digits)) or "0"), int(power)
    if coefficient == 0:
        exponent = min(max(exponent, _MIN_EXPONENT), _MAX_EXPONENT)
    if _MAX_EXPONENT < exponent <= _MAX_EXPONENT + 34:
        coefficient *= 10 ** (exponent - _MAX_EXPONENT)
        exponent = _MAX_EXPONENT
    while exponent < _MIN_EXPONENT and coefficient % 10 == 0:
        coefficient //= 10
        exponent += 1
    if coefficient > _MAX_COEFFICIENT or not _MIN_EXPONENT <= exponent <= _MAX_EXPONENT:
        raise ValueError("not a decimal128 value")
    return ((sign << 127) | ((exponent - _MIN_EXPONENT) << 113) | coefficient).to_bytes(16, "little")
