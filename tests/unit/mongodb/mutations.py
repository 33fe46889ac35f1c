"""Documents that are broken, or nearly so: valid ones with flipped bits, lengths that lie, missing ends, deep nesting.

Seeded, so that a failure can be replayed; cheap, so that there can be many.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from random import Random

from tests.unit.mongodb.bson_strategies import pack_array, pack_document, pack_string
from tests.unit.mongodb.random_bson import Shape, document

_LENGTHS = [0, 1, 4, 5, -1, -5, 2**31 - 1, -(2**31), 2**24, 2**16]
_BYTES = [0, 1, 2, 3, 4, 0x0F, 0x13, 0x7F, 0x80, 0xFF]


def flipped(random: Random, raw: bytearray) -> None:
    """Change single bits."""
    for _ in range(random.randrange(1, 4)):
        raw[random.randrange(len(raw))] ^= 1 << random.randrange(8)


def overwritten(random: Random, raw: bytearray) -> None:
    """Change single bytes to ones that mean something."""
    for _ in range(random.randrange(1, 4)):
        raw[random.randrange(len(raw))] = random.choice(_BYTES)


def cut(random: Random, raw: bytearray) -> None:
    """Cut the end off; now and then the length says so."""
    del raw[random.randrange(1, len(raw) + 1) :]
    if len(raw) >= 4 and random.random() < 0.5:
        raw[:4] = struct.pack("<i", len(raw))


def lying(random: Random, raw: bytearray) -> None:
    """Write a length over some four bytes: often enough it is where one stood."""
    at = random.randrange(max(1, len(raw) - 4))
    raw[at : at + 4] = struct.pack("<i", random.choice(_LENGTHS))


def doubled(random: Random, raw: bytearray) -> None:
    """Put a piece of it somewhere else into it; now and then the length says so."""
    start = random.randrange(len(raw))
    at = random.randrange(len(raw))
    raw[at:at] = raw[start : start + random.randrange(1, 40)]
    if random.random() < 0.7:
        raw[:4] = struct.pack("<i", len(raw))


MUTATIONS: list[Callable[[Random, bytearray], None]] = [flipped, overwritten, cut, lying, doubled]


def mutated(random: Random, shape: dict[str, Shape]) -> bytes:
    """A document of about this shape, broken in one way or two."""
    fields = {name: inner for name, inner in shape.items() if name == "_id" or random.random() < 0.3}
    fields["_id"] = random.choice([0x02, 0x03, 0x04, 0x05, 0x07, 0x0B, 0x0C, 0x0F, 0x10, 0x13])
    raw = bytearray(document(random, fields, 0.3))
    for _ in range(random.randrange(1, 3)):
        random.choice(MUTATIONS)(random, raw)
    return bytes(raw)


def garbage(random: Random) -> bytes:
    """Any bytes; half of them with the right length and end."""
    raw = random.randbytes(random.randrange(80))
    return struct.pack("<i", len(raw) + 5) + raw + b"\0" if random.random() < 0.5 else raw


def deep(levels: int, kind: int, name: str) -> bytes:
    """`{_id: 1, name: …}` with a value nested so deep, as documents (3), arrays (4) or scopes of code (15)."""
    inner = pack_document([])
    for _ in range(levels):
        if kind == 0x0F:
            body = pack_string("f") + pack_document([(0x03, "s", inner)])
            inner = pack_document([(0x0F, "c", struct.pack("<i", len(body) + 4) + body)])
        else:
            inner = pack_array([(kind, inner)]) if kind == 0x04 else pack_document([(kind, "d", inner)])
    value = (0x04 if kind == 0x04 else 0x03, name, inner)
    return pack_document([value] if name == "_id" else [(0x10, "_id", struct.pack("<i", 1)), value])


def long_names(levels: int, size: int) -> bytes:
    """Nested documents whose field names are long: a path to the innermost one would take pages."""
    inner = pack_document([(0x08, "b", b"\7")])
    for _ in range(levels):
        inner = pack_document([(0x03, "n" * size, inner)])
    return pack_document([(0x10, "_id", struct.pack("<i", 1)), (0x03, "deep", inner)])
