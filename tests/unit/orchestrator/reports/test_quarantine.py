"""Quarantine as people see it: listed page by page, found by name, written to a file of the owner's own."""

from __future__ import annotations

import base64
import json
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from tranship.connectors.batch import Quarantined
from tranship.connectors.errors import TransientError
from tranship.connectors.keys import from_typed
from tranship.connectors.memory import MemoryProgress, MemoryStore
from tranship.connectors.protocols import NAMELESS, Feed, Key, Scope
from tranship.orchestrator.reports import quarantine as module
from tranship.orchestrator.reports.keynames import NoKeyError
from tranship.orchestrator.reports.quarantine import Quarantine, QuarantineError
from tranship.plans.streams import Column, LogicalType, Stream

SCOPE = Scope("small-1", Feed.FORWARD, 1)
NUMBERED = Stream("things", "things", "things", (Column("_id", ("_id",), LogicalType.INT64, "int64"),), ())
TEXTS = Stream("texts", "texts", "texts", (Column("_id", ("_id",), LogicalType.TEXT, "string"),), ())
STREAMS = (NUMBERED, TEXTS)


def text_key(text: str) -> Key:
    return from_typed(LogicalType.TEXT, text)


ENTRIES = {
    "things": [Quarantined(text_key(f"{n:03}"), "a.b", f"reason {n}", bytes([n] * n)) for n in range(7)],
    "texts": [
        Quarantined(from_typed(LogicalType.INT64, 5), "_id", "int32", b"\0"),
        Quarantined(NAMELESS, "", "m", b""),
    ],
}


@pytest.fixture
def quarantine(monkeypatch: pytest.MonkeyPatch) -> Quarantine:
    monkeypatch.setattr(module, "PAGE", 2)
    store = MemoryStore()
    known = store.state.feed(SCOPE).quarantine
    for name, entries in ENTRIES.items():
        known |= {(name, entry.key): entry for entry in entries}
    return Quarantine(SCOPE.run, MemoryProgress(store), SCOPE)


def test_entries_come_in_order_and_page_by_page(quarantine: Quarantine) -> None:
    found = [(entry.stream.name, entry.aside.key, entry.aside.size) for entry in quarantine.entries(STREAMS)]
    assert found == [(name, q.key, len(q.document)) for name, entries in ENTRIES.items() for q in entries]
    assert [entry.name for entry in quarantine.entries([TEXTS])] == [
        f"canonical:{entry.key.hex()}" for entry in ENTRIES["texts"]
    ]


def test_an_entry_is_found_by_its_name(quarantine: Quarantine) -> None:
    for entry in quarantine.entries(STREAMS):
        assert quarantine.find(entry.stream, entry.name).key == entry.aside.key
    with pytest.raises(QuarantineError, match="nothing in quarantine with the key 77"):
        quarantine.find(NUMBERED, "77")
    with pytest.raises(NoKeyError):
        quarantine.find(NUMBERED, "seven")


def test_a_name_of_two_keys_is_refused(quarantine: Quarantine) -> None:
    number, name = ENTRIES["texts"][0], f"canonical:{ENTRIES['texts'][0].key.hex()}"
    assert isinstance(quarantine.progress, MemoryProgress)
    text = Quarantined(text_key(name), "", "a text like a canonical key", b"")
    quarantine.progress._store.state.feed(SCOPE).quarantine["texts", text.key] = text
    with pytest.raises(QuarantineError, match="two keys") as refusal:
        quarantine.find(TEXTS, name)
    for entry in (number, text):
        assert f"canonical:{entry.key.hex()}" in str(refusal.value)
        assert quarantine.find(TEXTS, f"canonical:{text.key.hex()}") == text


def lines(path: Path) -> Iterator[dict[str, str]]:
    for line in path.read_bytes().splitlines():
        yield json.loads(line)


def test_an_export_has_everything(quarantine: Quarantine, tmp_path: Path) -> None:
    path = tmp_path / "aside.jsonl"
    assert quarantine.export(STREAMS, path) == 9
    head, *rest = lines(path)
    assert head == {"format": "tranship quarantine", "version": 1, "run": "small-1"}
    found = [
        (one["stream"], Quarantined(bytes.fromhex(one["key"]), one["path"], one["reason"], _decoded(one)))
        for one in rest
    ]
    assert found == [(name, entry) for name, entries in ENTRIES.items() for entry in entries]
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert list(tmp_path.iterdir()) == [path]


def _decoded(line: dict[str, str]) -> bytes:
    return base64.b64decode(line["document"])


def test_an_export_overwrites_nothing(quarantine: Quarantine, tmp_path: Path) -> None:
    path = tmp_path / "aside.jsonl"
    path.write_text("mine")
    with pytest.raises(QuarantineError, match="exists already"):
        quarantine.export(STREAMS, path)
    with pytest.raises(QuarantineError, match="No such file"):
        quarantine.export(STREAMS, tmp_path / "nowhere" / "aside.jsonl")
    assert [(one, one.read_text()) for one in tmp_path.iterdir()] == [(path, "mine")]


def test_an_export_that_fails_leaves_nothing(
    quarantine: Quarantine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "aside.jsonl"
    seen: list[Key] = []

    def away(_self: MemoryProgress, _scope: Scope, _stream: Stream, key: Key) -> Quarantined | None:
        seen.append(key)
        if len(seen) == 4:
            raise TransientError("away")
        return Quarantined(key, "", "", b"")

    monkeypatch.setattr(MemoryProgress, "quarantined", away)
    with pytest.raises(TransientError):
        quarantine.export(STREAMS, path)
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_appears_meanwhile_is_not_replaced(
    quarantine: Quarantine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "aside.jsonl"
    whole = MemoryProgress.quarantined

    def slow(self: MemoryProgress, scope: Scope, stream: Stream, key: Key) -> Quarantined | None:
        path.write_text("somebody else's")
        return whole(self, scope, stream, key)

    monkeypatch.setattr(MemoryProgress, "quarantined", slow)
    with pytest.raises(QuarantineError, match="File exists"):
        quarantine.export(STREAMS, path)
    assert path.read_text() == "somebody else's"
    assert list(tmp_path.iterdir()) == [path]
