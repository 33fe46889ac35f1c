"""Column programs: the program of each logical type, and that of arrays, which is made of their elements' one."""

from __future__ import annotations

from collections.abc import Callable

from tranship.connectors.keycodec import document
from tranship.connectors.mongodb import bsonwalk as b
from tranship.connectors.mongodb.values import (
    BinaryProgram,
    BoolProgram,
    DateProgram,
    DecimalProgram,
    DoubleProgram,
    IntegerProgram,
    JsonProgram,
    ObjectIdProgram,
    Program,
    TextProgram,
    Value,
    off_type,
)
from tranship.plans.streams import Column, LogicalType
from tranship.plans.targetprofile import TargetProfile


class ArrayProgram(Program):
    """Array columns: lists of the elements' values, None for null. One element that does not fit leaves all NULL.

    An array that is equal but of another form (an int32 among int64, other names than "0", "1", …) fills the column.
    """

    kind = b.ARRAY

    def __init__(self, item: Program) -> None:
        self._item = item

    def read(self, raw: bytes, start: int, end: int) -> Value:
        item = self._item
        try:
            elements = b.split(raw, start, end)
        except b.MalformedBSONError:
            return None  # `judge` has it kept, and the check of kept values reports the path
        if [element[1] for element in elements] != b.array_names(len(elements)):
            return None
        values = []
        for kind, _, at, stop in elements:
            value = item.read(raw, at, stop) if kind == item.kind else None
            if value is None and kind != b.NULL:
                return None
            values.append(value)
        return values

    def judge(self, kind: int, raw: bytes, start: int, end: int) -> tuple[Value, str]:
        if kind != b.ARRAY:
            return None, off_type(kind)
        try:
            elements = b.split(raw, start, end)
        except b.MalformedBSONError as error:
            return None, error.reason
        values = []
        for inner, _, at, stop in elements:
            value, reason = self._judge_item(inner, raw, at, stop)
            if value is None and reason:
                return None, f"element: {reason}"
            values.append(value)
        return self._kept(values, kind, raw, start, end)

    def _judge_item(self, kind: int, raw: bytes, start: int, end: int) -> tuple[Value, str]:
        if kind == b.NULL:
            return None, ""
        value = self._item.read(raw, start, end) if kind == self._item.kind else None
        return self._item.judge(kind, raw, start, end) if value is None else (value, "")

    def emit(self, value: Value) -> tuple[int, bytes]:
        parts: list[bytes] = []
        for place, inner in enumerate(value):
            kind, content = (b.NULL, b"") if inner is None else self._item.emit(inner)
            parts += (bytes((kind,)), b"%d\0" % place, content)
        return b.ARRAY, document(parts)

    def same(self, left: Value, right: Value) -> bool:
        if left is None or right is None:
            return left is right
        return len(left) == len(right) and all(map(self._item.same, left, right))

    def size(self, value: Value) -> int:
        return 24 + sum(0 if inner is None else self._item.size(inner) + 8 for inner in value)


_PROGRAMS: dict[LogicalType, Callable[[Column, TargetProfile], Program]] = {
    LogicalType.BOOL: lambda *_: BoolProgram(),
    LogicalType.INT32: lambda column, _: IntegerProgram(32, column.bson),
    LogicalType.INT64: lambda column, _: IntegerProgram(64, column.bson),
    LogicalType.FLOAT64: lambda column, _: DoubleProgram(column.bson),
    LogicalType.DECIMAL: lambda column, _: DecimalProgram(column.precision or 38, column.scale or 0, column.bson),
    LogicalType.TEXT: lambda _, target: TextProgram(target.nul_in_text),
    LogicalType.BYTES: lambda *_: BinaryProgram(0),
    LogicalType.UUID: lambda *_: BinaryProgram(4, 16),
    LogicalType.OBJECTID: lambda *_: ObjectIdProgram(),
    LogicalType.TIMESTAMP: lambda _, target: DateProgram(1, 1000, *target.times),
    LogicalType.DATE: lambda _, target: DateProgram(86_400_000, 1, *target.days),
}


class LimitedProgram(Program):
    """A column that does not hold every value of its type: one that does not fit leaves it NULL, for the reason."""

    def __init__(self, inner: Program, fits: Callable[[Value], bool], reason: str) -> None:
        self.kind = inner.kind
        self._inner = inner
        self._fits = fits
        self._reason = reason

    def read(self, raw: bytes, start: int, end: int) -> Value:
        value = self._inner.read(raw, start, end)
        return value if value is None or self._fits(value) else None

    def judge(self, kind: int, raw: bytes, start: int, end: int) -> tuple[Value, str]:
        value, reason = (self._inner.read(raw, start, end) if kind == self.kind else None), ""
        if value is None:
            value, reason = self._inner.judge(kind, raw, start, end)
        return (value, reason) if value is None or self._fits(value) else (None, self._reason)

    def emit(self, value: Value) -> tuple[int, bytes]:
        return self._inner.emit(value)

    def same(self, left: Value, right: Value) -> bool:
        return self._inner.same(left, right)

    def size(self, value: Value) -> int:
        return self._inner.size(value)


TOO_LONG = "too long for an index"
UNLISTED = "not one of the listed values"


def compile_column(column: Column, depth: int, target: TargetProfile, room: int | None = None) -> Program:
    """The program of a column, whose values lie in a document so many levels below the root.

    `room`: how many bytes a value may have, where an index has to hold it.
    """
    program = _program(column, depth, target)
    if column.values:
        program = LimitedProgram(program, frozenset(column.values).__contains__, UNLISTED)
    if room is None:
        return program
    size = program.size
    return LimitedProgram(program, lambda value: size(value) <= room, TOO_LONG)


def _program(column: Column, depth: int, target: TargetProfile) -> Program:
    if column.type is LogicalType.ARRAY:
        return ArrayProgram(compile_column(column.element, depth + 1, target))
    if column.type is LogicalType.JSON:
        return JsonProgram(depth)
    return _PROGRAMS[column.type](column, target)
