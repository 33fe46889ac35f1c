"""Looking at quarantine: its entries page by page, one of them whole, all of them into a file.

Documents are shown and written here, because a person asked for them, and nowhere else: neither logs nor the journal
ever hold one.
"""

from __future__ import annotations

import base64
import json
import os
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tranship.connectors.batch import Quarantined
from tranship.connectors.protocols import Aside, Key, Progress, Scope
from tranship.orchestrator.engine.session import Session
from tranship.orchestrator.reports.keynames import CANONICAL, key_text, keys_named
from tranship.plans.streams import Stream

PAGE = 500

FORMAT = {"format": "tranship quarantine", "version": 1}
"""What the first line of an export says, beside the run."""


class QuarantineError(Exception):
    """What was asked for cannot be shown or written: says why."""


@dataclass(frozen=True)
class Entry:
    """One entry without its document."""

    stream: Stream
    aside: Aside

    @property
    def name(self) -> str:
        """The key as people name it."""
        return key_text(self.stream, self.aside.key)


@dataclass(frozen=True)
class Quarantine:
    """The quarantine of one run."""

    run: str
    progress: Progress
    scope: Scope

    def entries(self, streams: Sequence[Stream]) -> Iterator[Entry]:
        """The entries of some streams, in key order. Holds a page of them at a time, and no document."""
        for stream in streams:
            last: Key | None = None
            while page := self.progress.quarantine(self.scope, stream, last, PAGE):
                yield from (Entry(stream, aside) for aside in page)
                last = page[-1].key

    def count(self, streams: Sequence[Stream]) -> int:
        """How many entries some streams have."""
        counts = self.progress.quarantine_count(self.scope)
        return sum(counts.get(stream.name, 0) for stream in streams)

    def find(self, stream: Stream, name: str) -> Quarantined:
        """The entry whose key is named so. Raises `NoKeyError` and `QuarantineError`."""
        found = [self.progress.quarantined(self.scope, stream, key) for key in keys_named(stream, name)]
        entries = [entry for entry in found if entry is not None]
        if not entries:
            raise QuarantineError(f"stream {stream.name} has nothing in quarantine with the key {name}")
        if len(entries) > 1:
            choice = " or ".join(CANONICAL + entry.key.hex() for entry in entries)
            raise QuarantineError(f"{name} is the name of two keys in quarantine: say {choice}")
        return entries[0]

    def export(self, streams: Sequence[Stream], path: Path) -> int:
        """Write the entries of some streams to a new file that only its owner can read; returns how many.

        JSON lines: first `FORMAT` with the run, then an object per entry, its key in hex and its document in base64.
        The file is there whole or not at all. Raises `QuarantineError`, also when the file exists already.
        """
        count = 0
        with _new_file(path) as file:
            _write_line(file, {**FORMAT, "run": self.run})
            for entry in self.entries(streams):
                whole = self.progress.quarantined(self.scope, entry.stream, entry.aside.key)
                if whole is not None:  # it has left quarantine meanwhile
                    _write_line(file, _exported(entry.stream, whole))
                    count += 1
        return count


@contextmanager
def open_quarantine(session: Session, run: str) -> Iterator[Quarantine]:
    """The quarantine of a run; reads only, and needs no orchestrator."""
    state = session.state(run)
    with closing(session.connect.progress()) as progress:
        yield Quarantine(run, progress, Scope(run, state.feed, state.epoch))


def _exported(stream: Stream, entry: Quarantined) -> dict[str, str]:
    return {
        "stream": stream.name,
        "key": entry.key.hex(),
        "path": entry.path,
        "reason": entry.reason,
        "document": base64.b64encode(entry.document).decode(),
    }


def _write_line(file: int, values: dict[str, Any]) -> None:
    line = memoryview(json.dumps(values).encode() + b"\n")
    while line:
        line = line[os.write(file, line) :]


@contextmanager
def _new_file(path: Path) -> Iterator[int]:
    """A file that appears under its name, complete and on disk, at the end of the block, unless the block fails."""
    if path.exists():
        raise QuarantineError(f"{path} exists already, and is left as it is: name another file")
    try:
        file, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)  # for the owner only
        try:
            try:
                yield file
                os.fsync(file)
            finally:
                os.close(file)
            os.link(name, path)  # unlike a renaming it never replaces a file that somebody has made meanwhile
        finally:
            os.unlink(name)
    except OSError as error:
        raise QuarantineError(f"{path} cannot be written: {error.strerror}") from None
