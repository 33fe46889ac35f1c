"""Random raw BSON from a seed: thousands of documents a second, where Hypothesis gives tens and shrinks them.

Like the strategies, independent of the code under test and biased towards what goes wrong.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping
from random import Random

from tests.unit.mongodb.bson_strategies import Value, decimal128, pack_array, pack_document, pack_string

NAMES = ["a", "b", "c", "sku", "note", "", "$oid", "$a", "a.b", "v", "u", "e", "0", "é", "text", "lines"]
_TEXTS = ["", "a", "b", "a\0b", "\0", "é€", "😀", '"\\\n\x7f\x01', "$", "x" * 300]
_INTEGERS = [0, 1, -1, 5, 100, 2**31 - 1, -(2**31), 2**31, 2**53, 2**53 + 1, 2**63 - 1, -(2**63)]
_DOUBLES = [0.0, -0.0, 1.0, 1.5, -2.0, 0.1, 2.0**31, 2.0**63, 1e16, 1e22, 1e300, 5e-324, 1e-7, float("inf")]
_NANS = [0x7FF8000000000000, 0x7FF8000000000001, 0xFFF8000000000000, 0x7FF4000000000000]
_ODD_DECIMALS = [0x7C << 120, 0x78 << 120, 0xF8 << 120, 0x7E << 120, (0x7C << 120) | 5, 0x6C << 120]
_DATES = [0, 86_400_000, -86_400_000, 1, -1, -(2**63), 2**63 - 1, 253_402_300_800_000, -210_866_803_200_001]


def _integer(random: Random, bits: int) -> int:
    fitting = [n for n in _INTEGERS if -(2 ** (bits - 1)) <= n < 2 ** (bits - 1)]
    return random.choice(fitting) if random.random() < 0.6 else random.getrandbits(bits) - 2 ** (bits - 1)


def _double(random: Random) -> bytes:
    pick = random.random()
    if pick < 0.2:
        return struct.pack("<Q", random.choice(_NANS))
    return struct.pack("<d", random.choice(_DOUBLES) if pick < 0.7 else random.uniform(-1e9, 1e9))


def _decimal(random: Random) -> bytes:
    if random.random() < 0.2:
        return random.choice(_ODD_DECIMALS).to_bytes(16, "little")
    coefficient = random.choice([0, 1, 110, 12345, 10**12, 10**34 - 1, random.randrange(10**34)])
    return decimal128(random.getrandbits(1), coefficient, random.choice([-2, -2, -2, -1, 0, 1, -3, -6176, 6111]))


def _date(random: Random) -> bytes:
    pick = random.random()
    if pick < 0.4:
        return struct.pack("<q", random.choice(_DATES))
    return struct.pack("<q", random.randrange(-(10**13), 10**13) if pick < 0.9 else _integer(random, 64))


def _binary(random: Random) -> bytes:
    content = random.randbytes(random.choice([0, 3, 16, 16, 300]))
    subtype = random.choice([0, 0, 2, 3, 4, 4, 5, 200])
    if subtype == 2 and random.random() < 0.7:  # its length once more
        content = struct.pack("<i", len(content)) + content
    return struct.pack("<i", len(content)) + bytes([subtype]) + content


def _string(random: Random) -> bytes:
    return pack_string(random.choice(_TEXTS))


SCALARS: Mapping[int, Callable[[Random], bytes]] = {
    0x01: _double,
    0x02: _string,
    0x05: _binary,
    0x06: lambda _: b"",
    0x07: lambda random: random.randbytes(12),
    0x08: lambda random: bytes([random.getrandbits(1)]),
    0x09: _date,
    0x0A: lambda _: b"",
    0x0B: lambda random: random.choice([b"a\0i\0", b"\0\0", "é.\0mx\0".encode()]),
    0x0C: lambda random: _string(random) + random.randbytes(12),
    0x0D: _string,
    0x0E: _string,
    0x10: lambda random: struct.pack("<i", _integer(random, 32)),
    0x11: lambda random: random.randbytes(8),
    0x12: lambda random: struct.pack("<q", _integer(random, 64)),
    0x13: _decimal,
    0xFF: lambda _: b"",
    0x7F: lambda _: b"",
}
_KINDS = [*SCALARS, 0x03, 0x04, 0x03, 0x04, 0x0F]


def value(random: Random, depth: int = 0) -> Value:
    """Any value."""
    kind = random.choice(_KINDS) if depth < 3 else random.choice([*SCALARS])
    return kind, of_type(random, kind, depth)


def of_type(random: Random, kind: int, depth: int = 0) -> bytes:
    """The value bytes of a random value of one type."""
    if kind in SCALARS:
        return SCALARS[kind](random)
    if kind == 0x04 and random.random() < 0.8:
        return pack_array([value(random, depth + 1) for _ in range(random.randrange(4))])
    inner = pack_document(_fields(random, depth + 1))
    if kind == 0x0F:
        body = _string(random) + inner
        return struct.pack("<i", len(body) + 4) + body
    return inner


def _fields(random: Random, depth: int) -> list[tuple[int, str, bytes]]:
    found = []
    for _ in range(random.randrange(4)):
        kind, raw = value(random, depth)
        found.append((kind, random.choice(NAMES), raw))
    return found


Shape = int | list["Shape"] | dict[str, "Shape"]
"""What belongs at a place: a value of a type, an array of what belongs there, or a document."""


def document(random: Random, shape: dict[str, Shape], off: float) -> bytes:
    """A document of about this shape: every place strays with probability `off`."""
    return _shaped_document(random, shape, off)


def _shaped(random: Random, shape: Shape, off: float) -> Value:
    if random.random() < off:
        return value(random)
    if isinstance(shape, int):
        return shape, of_type(random, shape)
    if isinstance(shape, dict):
        return 0x03, _shaped_document(random, shape, off)
    return 0x04, pack_array([_shaped(random, shape[0], off) for _ in range(random.randrange(4))])


def _shaped_document(random: Random, shape: dict[str, Shape], off: float) -> bytes:
    fields = []
    for name, inner in shape.items():
        if name == "_id" or random.random() >= off:
            kind, raw = _shaped(random, inner, 0 if name == "_id" else off)
            fields.append((kind, name, raw))
    if random.random() < off:
        fields += _fields(random, 1)
    if random.random() < off:
        random.shuffle(fields)
    if fields and random.random() < off / 2:
        fields.append(random.choice(fields))
    return pack_document(fields)
