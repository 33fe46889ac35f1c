"""What a database holds, as figures: the types, presence, sizes and orders of every path, without any value.

A profile is made of parts of a collection, in whatever order and however they were cut, and is the same for the same
documents: every figure is a count, a least or a greatest, or a set, and what grows too large is given up as a whole.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

from datasketches import hll_sketch, hll_union, tgt_hll_type

MOST_FIELDS = 1000
"""Names of one document level, over all documents; where there are more, names are data, and fields are one `other`."""

START = "\0"
"""What comes before the first field of a document: no field has this name."""

MOST_NAMES = 50_000
"""Names that are counted even so."""

FEW = 64
"""So many distinct values are known by themselves."""

FEW_BYTES = 64
"""A longer value stands for itself only: it is no choice among a few."""

SKETCH_LG_K = 12
"""4,096 registers: distinct values within some 1.6 % (Flajolet et al., HyperLogLog, 2007)."""

Scalar = str | int | float


class Distinct:
    """How many different values there were: exactly, and which ones, while they are few; an estimate beyond."""

    def __init__(self) -> None:
        self.few: set[Scalar] | None = set()
        self._sketch: hll_sketch | None = None

    def add(self, values: Iterable[Scalar]) -> None:
        """Count values; those that were there before change nothing."""
        new = set(values)
        if self.few is not None:
            self.few |= new
            if len(self.few) <= FEW and not any(isinstance(v, str) and len(v) > FEW_BYTES for v in new):
                return
            new, self.few = self.few, None
        sketch = self._sketch = self._sketch or hll_sketch(SKETCH_LG_K, tgt_hll_type.HLL_8)
        for value in new:
            sketch.update(value)

    def merge(self, other: Distinct) -> None:
        """Take in what another one has counted."""
        if other.few is not None:
            self.add(other.few)
            return
        if self.few is not None:
            mine, self.few = self.few, None
            self._sketch = hll_sketch(SKETCH_LG_K, tgt_hll_type.HLL_8)
            for value in mine:
                self._sketch.update(value)
        union = hll_union(SKETCH_LG_K)
        union.update(self._sketch)
        union.update(other._sketch)
        self._sketch = union.get_result(tgt_hll_type.HLL_8)

    @property
    def count(self) -> int:
        """Distinct values; beyond a few, three digits of an estimate."""
        if self.few is not None:
            return len(self.few)
        # A sketch that was never merged estimates by the order of its values; one that was, by its registers only.
        union = hll_union(SKETCH_LG_K)
        union.update(self._sketch)
        union.update(self._sketch)
        return rounded(union.get_estimate())

    def __getstate__(self) -> tuple[set[Scalar] | None, bytes | None]:
        return self.few, self._sketch.serialize_compact() if self._sketch is not None else None

    def __setstate__(self, state: tuple[set[Scalar] | None, bytes | None]) -> None:
        self.few = state[0]
        self._sketch = hll_sketch.deserialize(state[1]) if state[1] is not None else None


def rounded(estimate: float) -> int:
    """An estimate in three digits."""
    whole = round(estimate)
    return round(whole, min(0, 3 - len(str(whole))))


@dataclass(slots=True)
class Values:
    """Values of one type at one path.

    `least` and `greatest`: numbers by value, dates in milliseconds; they stay in memory. `size` and `longest`: bytes
    of texts and binaries. `odd`: what no column of the type holds (U+0000; NaN and infinities among decimals; dates
    that PostgreSQL lacks). `midnight`: dates without a time of day. `integral`: doubles without a fraction. `scales`:
    decimals by their digits after the point; `whole`: the digits before it of the largest of each.
    """

    count: int = 0
    least: float | None = None
    greatest: float | None = None
    size: int = 0
    longest: int = 0
    odd: int = 0
    midnight: int = 0
    integral: int = 0
    scales: Counter[int] = field(default_factory=Counter)
    whole: dict[int, int] = field(default_factory=dict)

    def merge(self, other: Values) -> None:
        """Take in what was seen elsewhere."""
        self.count += other.count
        self.least = _pick(min, self.least, other.least)
        self.greatest = _pick(max, self.greatest, other.greatest)
        self.size += other.size
        self.longest = max(self.longest, other.longest)
        self.odd += other.odd
        self.midnight += other.midnight
        self.integral += other.integral
        self.scales.update(other.scales)
        for scale, digits in other.whole.items():
            self.whole[scale] = max(self.whole.get(scale, 0), digits)


def _pick(choose: Any, one: float | None, other: float | None) -> float | None:
    both = [value for value in (one, other) if value is not None]
    return choose(both) if both else None


@dataclass(slots=True)
class Documents:
    """Documents at one path, or the roots of a collection.

    `fields`: by name; `names`: how often each name occurs, None when these are too many, too. Once there are more than
    `MOST_FIELDS`, `fields` is empty and `other` stands for all of them, beside `kept`, the names that are told apart
    even so. `next`: how often one field came right behind another, the first one behind `START`. `sorted`: documents
    whose fields stand as jsonb keeps them (by length, then bytes). `empty`: those without any.
    """

    count: int = 0
    empty: int = 0
    sorted: int = 0
    fields: dict[str, Node] = field(default_factory=dict)
    other: Node | None = None
    names: Counter[str] | None = field(default_factory=Counter)
    next: Counter[tuple[str, str]] | None = field(default_factory=Counter)
    kept: frozenset[str] = frozenset()

    def node(self, name: str, times: int) -> Node:
        """Where a field is counted, which occurred so many times more."""
        if self.names is not None:
            self.names[name] += times
            if len(self.names) > MOST_NAMES:
                self.names = None
        if self.other is not None and name not in self.kept:
            return self.other
        found = self.fields.get(name)
        if found is None:
            found = self.fields[name] = Node()
            if len(self.fields) > MOST_FIELDS + len(self.kept):
                self._fold()
                return self.fields.get(name) or self._other
        return found

    @property
    def _other(self) -> Node:
        assert self.other is not None
        return self.other

    def _fold(self) -> None:
        self.other = self.other or Node()
        for name in [name for name in self.fields if name not in self.kept]:
            self.other.merge(self.fields.pop(name))
        self.next = None

    def merge(self, other: Documents) -> None:
        """Take in what was seen elsewhere."""
        self.count += other.count
        self.empty += other.empty
        self.sorted += other.sorted
        names = None if self.names is None or other.names is None else self.names + other.names
        for name, node in other.fields.items():
            self.node(name, 0).merge(node)
        if other.other is not None:
            self._fold()
            self._other.merge(other.other)
        self.names = names if names is not None and len(names) <= MOST_NAMES else None
        self.next = None if self.next is None or other.next is None else self.next + other.next


@dataclass(slots=True)
class Lists:
    """Arrays at one path: how many, how long, and what is in them."""

    count: int = 0
    empty: int = 0
    longest: int = 0
    elements: Node | None = None

    def merge(self, other: Lists) -> None:
        """Take in what was seen elsewhere."""
        self.count += other.count
        self.empty += other.empty
        self.longest = max(self.longest, other.longest)
        if other.elements is not None:
            self.elements = self.elements or Node()
            self.elements.merge(other.elements)


@dataclass(slots=True)
class Node:
    """What was seen at one path: values by their BSON type, documents, arrays, nulls."""

    types: dict[str, Values] = field(default_factory=dict)
    documents: Documents | None = None
    lists: Lists | None = None
    nulls: int = 0
    distinct: Distinct = field(default_factory=Distinct)

    @property
    def count(self) -> int:
        """How often there was anything, nulls too."""
        return self.nulls + self.filled

    @property
    def filled(self) -> int:
        """How often there was something but null."""
        scalars = sum(values.count for values in self.types.values())
        return scalars + (self.documents.count if self.documents else 0) + (self.lists.count if self.lists else 0)

    def shares(self) -> list[tuple[str, int]]:
        """What was there but null, with its count, the most frequent first: BSON types, `object`, `array`."""
        found = {kind: values.count for kind, values in self.types.items()}
        found |= {"object": self.documents.count} if self.documents else {}
        found |= {"array": self.lists.count} if self.lists else {}
        return sorted(found.items(), key=lambda share: (-share[1], share[0]))

    def values(self, kind: str) -> Values:
        """Where values of a type are counted."""
        found = self.types.get(kind)
        if found is None:
            found = self.types[kind] = Values()
        return found

    def merge(self, other: Node) -> None:
        """Take in what was seen elsewhere."""
        for kind, values in other.types.items():
            self.values(kind).merge(values)
        self.nulls += other.nulls
        self.distinct.merge(other.distinct)
        if other.documents is not None:
            if self.documents is None:
                self.documents = Documents(kept=other.documents.kept)
            self.documents.merge(other.documents)
        if other.lists is not None:
            self.lists = self.lists or Lists()
            self.lists.merge(other.lists)


@dataclass(frozen=True)
class Asked:
    """A condition of a partial index on the field at a path. `test`: `is` (`present` or `absent`), `type` (the name of
    one), or how it is compared: `eq`, `gt`, `gte`, `lt`, `lte` with a value (an ObjectId is its bytes), `in` with
    several."""

    path: str
    test: str
    value: Any


@dataclass(frozen=True)
class IndexSeen:
    """An index of a collection: fields with their direction (1, -1, or the name of its kind), and its options.
    `partial`: what documents in it must meet; `unclear`: what of that cannot be said so."""

    name: str
    fields: tuple[tuple[str, int | str], ...]
    unique: bool = False
    sparse: bool = False
    expires_s: float | None = None
    partial: tuple[Asked, ...] = ()
    unclear: str = ""
    other: tuple[str, ...] = ()


@dataclass(frozen=True)
class Declared:
    """What a collection's validator says of a field: the only values it may have (none given: any), and a text."""

    values: tuple[Any, ...] = ()
    about: str = ""


@dataclass
class CollectionProfile:
    """A collection as it was read. `documents` and `size`: all of it, by the server's statistics; `read`: of these so
    many were looked at, `unread` of them could not be decoded. `declared`: what its validator says of fields, by
    path, the elements of an array by the step `[]`. `left_out`: why it cannot be moved; empty if it can.
    `split`: the field that says the kind of a document, where `kinds` have shapes of their own."""

    name: str
    documents: int = 0
    size: int = 0
    read: int = 0
    unread: int = 0
    root: Documents = field(default_factory=Documents)
    indexes: tuple[IndexSeen, ...] = ()
    declared: dict[tuple[str, ...], Declared] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    left_out: str = ""
    split: str = ""
    kinds: dict[str | None, Documents] = field(default_factory=dict)

    @property
    def whole(self) -> bool:
        """Whether every document was read."""
        return self.read >= self.documents


def walk(documents: Documents, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Node]]:
    """Every path below, with what was seen there; the elements of an array have the step `[]`."""
    for name, node in sorted(documents.fields.items()):
        yield from _walk(node, (*path, name))
    if documents.other is not None:
        yield from _walk(documents.other, (*path, "*"))


def _walk(node: Node, path: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], Node]]:
    yield path, node
    if node.documents is not None:
        yield from walk(node.documents, path)
    if node.lists is not None and node.lists.elements is not None:
        yield from _walk(node.lists.elements, (*path, "[]"))


@dataclass
class Part:
    """What was seen in a part of a collection: its documents, told apart by the text in the field `split` if that is
    given (None: no text there)."""

    split: str = ""
    read: int = 0
    unread: int = 0
    roots: dict[str | None, Documents] = field(default_factory=dict)

    def merge(self, other: Part) -> None:
        """Take in what was seen in another part."""
        self.read += other.read
        self.unread += other.unread
        for value, documents in other.roots.items():
            if value not in self.roots:
                self.roots[value] = Documents(kept=documents.kept)
            self.roots[value].merge(documents)
