"""Documents of many fields: what they cost grows as they do, by the CPU's time of four times as many."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Sequence

import pytest

from tests.unit.mongodb.test_mapper import stream
from tranship.connectors.mongodb.mapper import Mapper
from tranship.plans.streams import Column, LogicalType, Stream

COUNT, MOST = 4_000, 8.0
"""Four times as much is expected, sixteen times as much would be quadratic."""

A = Column("a", ("a",), LogicalType.INT32, "int32")
RESIDUE, REST = stream(A), stream(A, rest_column="rest")


def field(name: str, value: int = 1) -> bytes:
    return b"\x10" + name.encode() + b"\0" + value.to_bytes(4, "little")


def document(fields: Sequence[bytes]) -> bytes:
    body = b"".join(fields)
    return (len(body) + 5).to_bytes(4, "little") + body + b"\0"


def many(count: int) -> list[bytes]:
    """Fields that the plan does not name, in no order."""
    names = [f"f{number:06}" for number in range(count)]
    random.Random(count).shuffle(names)
    return [field(name) for name in names]


SHAPES: dict[str, tuple[Stream, Callable[[int], list[bytes]]]] = {
    "unnamed, to the residue": (RESIDUE, many),
    "unnamed, to the rest column": (REST, many),
    "one repeated": (RESIDUE, lambda count: [field("a", n) for n in range(count)]),
    "one repeated behind others": (RESIDUE, lambda count: [field("a"), *many(count), *[field("a")] * count]),
    "a member of the rest column repeated": (REST, lambda count: [*many(count), *[field("f000001")] * count]),
    "the key repeated behind others": (RESIDUE, lambda count: [*many(count), *[field("_id")] * count]),
    "elements of an array": (REST, lambda count: [b"\x04x\0" + document([field(str(n), n) for n in range(5 * count)])]),
}


def cpu_s(of: Stream, raw: bytes) -> float:
    """The least of some tries, there and back."""
    took = []
    for _ in range(3):
        mapper, begun = Mapper(of), time.process_time()
        [back] = mapper.documents(mapper.batch([raw]).rows)
        took.append(time.process_time() - begun)
        assert back == raw
    return min(took)


@pytest.mark.parametrize("shape", SHAPES)
def test_four_times_as_many_fields_cost_four_times_as_much(shape: str) -> None:
    of, fields = SHAPES[shape]
    once, four = (cpu_s(of, document([field("_id"), *fields(count)])) for count in (COUNT, 4 * COUNT))
    assert four < MOST * once
