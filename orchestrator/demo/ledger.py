"""The writers' ledger: which writes were tried, which of them the server acknowledged, and what is known from that.

A line of JSON per record, in a file that is only appended to:

- `{"try": n, "in": collection, "key": …, "after": …}` is written *before* the write is sent, with the whole document as
  it will be (null: deleted). Key and document are BSON in base64: types and field order count.
  One that goes to PostgreSQL, behind a cutover, says `"on": "target"` as well.
- `{"ack": n}` is written after the server acknowledged it, never earlier.
- `{"refused": n}` is written when the server said that it did not do it.

A try without either has an unknown outcome: the document may be as before or as after. That is what a connection lost
at the wrong moment leaves, and also what a writer that is killed leaves; no case of its own is needed for it. A key
with an unknown outcome is not written again, so that at most two states of it are possible.
"""

from __future__ import annotations

import json
import threading
from base64 import b64decode, b64encode
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, Self, TypeAlias

import bson
from bson.codec_options import CodecOptions, DatetimeConversion

Document: TypeAlias = dict[str, Any]

SOURCE = "source"

_CODEC: CodecOptions[Document] = CodecOptions(tz_aware=True, datetime_conversion=DatetimeConversion.DATETIME_AUTO)


class Place(NamedTuple):
    """Where a document is: its collection and its key as `{_id: …}` in BSON."""

    collection: str
    key: bytes


States: TypeAlias = dict[Place, tuple[bytes | None, ...]]
"""The possible states of each document as BSON, None for absent: one, or two after an unknown outcome."""


class LedgerError(Exception):
    """The ledger contradicts itself or cannot be read: nothing may be concluded from it."""


class Ledger:
    """Appends records; used by all writer threads. Each record is handed to the system before the call returns.

    It survives the end of the process, however that comes; the end of the machine is not in its scope.
    """

    def __init__(self, path: Path) -> None:
        """Open for appending. A line that was cut off by a crash is removed: it is a try that was never sent, or an
        acknowledgement that stays unknown."""
        whole = _whole_lines(path)
        self._file = path.open("ab")
        self._file.truncate(len(whole))
        self._next = whole.count(b"\n")
        self._lock = threading.Lock()

    @property
    def records(self) -> int:
        """A number greater than that of every record so far."""
        return self._next

    def attempt(self, place: Place, after: bytes | None, side: str = SOURCE) -> int:
        """Record that a write is about to be sent to a side; returns its number."""
        with self._lock:
            number = self._next
            tried = {"try": number, "in": place.collection, "key": _text(place.key), "after": after and _text(after)}
            self._append(tried if side == SOURCE else {**tried, "on": side})
            return number

    def acknowledge(self, number: int) -> None:
        """Record that the server acknowledged the write."""
        with self._lock:
            self._append({"ack": number})

    def refuse(self, number: int) -> None:
        """Record that the server did not do the write."""
        with self._lock:
            self._append({"refused": number})

    def _append(self, record: dict[str, object]) -> None:
        self._file.write(json.dumps(record).encode() + b"\n")
        self._file.flush()
        self._next += 1

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, problem: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def read(path: Path) -> Iterator[Document]:
    """The records of a file, without a last line that was cut off. A file that does not exist yet has none."""
    for number, line in enumerate(_whole_lines(path).splitlines(), start=1):
        try:
            yield json.loads(line)
        except ValueError as problem:
            raise LedgerError(f"{path}:{number} is not a record: {problem}") from None


def of_source(records: Iterable[Document]) -> Iterator[Document]:
    """The records of writes to the source: it stays as it was when the applications went on elsewhere."""
    elsewhere: set[int] = set()
    for record in records:
        if record.get("on", SOURCE) != SOURCE:
            elsewhere.add(record["try"])
        elif record.get("ack", record.get("refused")) not in elsewhere:
            yield record


def replay(initial: States, records: Iterable[Document]) -> States:
    """What the documents can be after the recorded writes, from the states before them.

    Raises `LedgerError` when a key was written on although an earlier outcome was unknown, or a number is not known.
    """
    states = dict(initial)
    tried: dict[int, tuple[Place, bytes | None]] = {}
    for record in records:
        if "try" in record:
            after = record["after"]
            place = Place(record["in"], b64decode(record["key"]))
            tried[record["try"]] = (place, None if after is None else b64decode(after))
        elif "ack" in record:
            place, state = _take(tried, record["ack"])
            states[place] = (state,)
        elif "refused" in record:
            _take(tried, record["refused"])
        else:
            raise LedgerError(f"a record of no known kind: {sorted(record)}")
    return _with_unknown(states, tried)


def decode(state: bytes) -> Document:
    """A document: times with their zone, or as milliseconds where Python's end. A name that stands twice has the last
    value."""
    return bson.decode(state, _CODEC)


def is_plain(state: bytes) -> bool:
    """Whether a dictionary holds the document exactly."""
    return bson.encode(decode(state)) == state


def place_of(collection: str, document: Document) -> Place:
    """Where a document belongs."""
    return Place(collection, bson.encode({"_id": document["_id"]}))


def _with_unknown(states: States, tried: dict[int, tuple[Place, bytes | None]]) -> States:
    open_places = [place for place, _ in tried.values()]
    if len(open_places) != len(set(open_places)):
        raise LedgerError("a key was written again although the outcome of an earlier write was unknown")
    for place, after in tried.values():
        states[place] = (*states.get(place, (None,)), after)
    return states


def _take(tried: dict[int, tuple[Place, bytes | None]], number: int) -> tuple[Place, bytes | None]:
    if number not in tried:
        raise LedgerError(f"an outcome of write {number}, which was not tried or had one already")
    place, after = tried.pop(number)
    if any(other == place for other, _ in tried.values()):
        raise LedgerError(f"write {number} was not the only one under way for its key")
    return place, after


def _whole_lines(path: Path) -> bytes:
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return b""
    return content[: content.rfind(b"\n") + 1]


def _text(raw: bytes) -> str:
    return b64encode(raw).decode()
