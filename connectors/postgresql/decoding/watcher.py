"""Following the slot: what was committed becomes dirty root keys, in the order of commits.

Why the order of things here is safe: keys and position are handed out before anything of them is let go, and nothing is
handed out before it is *visible* (`rules.md` E5). The server writes a commit to its history first and shows it to
readers after: behind a synchronous standby that is late, seconds after. A key that was handed out in between would be
read as it was before, found equal, and forgotten. So a transaction is waited for until a new snapshot shows it.

There is nothing on the server to wait for: SQL can only ask how far its history has come. That costs a tenth of a
millisecond; peeking costs more, so that pauses follow what the last peek cost.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, field

from tranship.connectors.errors import SourceChangedError
from tranship.connectors.postgresql.decoding.messages import Begin, Change, Commit, Relation, Truncate, parse
from tranship.connectors.postgresql.decoding.slot import Look, Slot, position_of
from tranship.connectors.postgresql.decoding.tables import Tables, keys_of
from tranship.connectors.protocols import Changes, Key

KEYS_PER_CHANGES = 5000
"""A larger transaction comes in parts: its keys may be kept before its end is there, its position not."""

IDLE_S = 0.8
"""How often an idle source yields; with a pause before and a look behind it, within the second that is promised."""

PAUSE_S = 0.03
MOST_PAUSE_S = 0.3
SHARE = 2
"""A pause is so many times as long as the peek before it: peeking takes a third of one core at most."""

WINDOW = 64 * 2**20
"""How many bytes of history a peek looks through: the server gathers on its disk what it finds in them. More where more
than that has to be decoded anew before them, so that the whole costs no more than twice its length."""


@dataclass
class _Gathered:
    """What was found since the last yield. `at`: everything below it was found."""

    at: int
    keys: dict[tuple[str, Key], None] = field(default_factory=dict)  # ordered and without duplicates
    markers: list[str] = field(default_factory=list)
    committed_us: int = 0

    def changes(self, now_us: int | None) -> Changes:
        """`now_us`: the server's clock, where more is there."""
        behind_s = 0.0 if now_us is None else max(0.0, (now_us - self.committed_us) / 1_000_000)
        return Changes(tuple(self.keys), position_of(self.at), tuple(self.markers), behind_s)


class Follower:
    """Follows one slot from a position on. Not for several threads."""

    def __init__(self, slot: Slot, tables: Tables, since: int, published: int, closed: threading.Event) -> None:
        self._slot = slot
        self._tables = tables
        self._published = published
        self._closed = closed
        self._at = since
        self._snapshot = slot.snapshot()

    def follow(self) -> Iterator[Changes]:
        """Without end, until it is closed."""
        yielded = time.monotonic()
        while not self._closed.is_set():
            look = self._look()
            pause = PAUSE_S
            if look.flushed > self._at:
                for changes in self._peek(look):
                    yield changes
                    yielded = time.monotonic()
                pause = max(pause, SHARE * self._slot.peek_s)
            if time.monotonic() - yielded >= IDLE_S:
                yield _Gathered(self._at).changes(None)
                yielded = time.monotonic()
            self._closed.wait(min(pause, MOST_PAUSE_S))

    def _look(self) -> Look:
        look = self._slot.look(self._at)
        if look.published != self._published:
            raise SourceChangedError(
                "the publication of this run does not have the tables any more that it was made for: one was dropped, "
                "or somebody changed the publication. The way back cannot follow them any more"
            )
        return look

    def _peek(self, look: Look) -> Iterator[Changes]:
        """One look through the history. Yields nothing where nothing of concern was found, but goes on behind it."""
        upto = min(look.flushed, self._at + max(WINDOW, self._at - look.restart))
        gathered = _Gathered(self._at)
        counts = False
        with closing(self._slot.peek(upto, self._closed)) as messages:
            for xid, data in messages:
                if self._closed.is_set():
                    return
                message = parse(data)
                if isinstance(message, Begin):
                    if gathered.markers:  # somebody waits for it, and there is more behind it
                        yield gathered.changes(look.now_us)
                        gathered = _Gathered(self._at)
                    counts = message.lsn >= self._at
                    if counts and not self._is_visible(xid):
                        # Nothing behind it counts as found, so that the next peek begins with it.
                        upto = 0
                        break
                    gathered.committed_us = message.committed_us
                elif isinstance(message, Relation):
                    self._tables.announce(message)
                elif counts and isinstance(message, Commit):
                    gathered.at = self._at = message.end
                elif counts and isinstance(message, Change):
                    self._gather(message, gathered)
                elif counts and isinstance(message, Truncate):
                    self._refuse(message)
                if len(gathered.keys) >= KEYS_PER_CHANGES:
                    yield gathered.changes(look.now_us)
                    gathered = _Gathered(self._at)
        gathered.at = self._at = max(self._at, upto)
        if gathered.keys or gathered.markers:
            yield gathered.changes(look.now_us if upto < look.flushed else None)

    def _is_visible(self, xid: int) -> bool:
        """Whether a transaction can be read by now, waiting a moment for one that is about to be. What one snapshot
        shows, all later ones do: so the server is asked once for most of what a peek brings."""
        deadline = time.monotonic() + PAUSE_S
        while not self._snapshot.shows(xid):
            if time.monotonic() > deadline or self._closed.is_set():
                return False
            self._snapshot = self._slot.snapshot()
        return True

    def _gather(self, change: Change, gathered: _Gathered) -> None:
        known = self._tables.known(change.relation)
        if known.keys is not None:
            found = keys_of(known, known.keys, change, self._tables.called(change.relation))
            gathered.keys.update(dict.fromkeys((known.stream, key) for key in sorted(found)))
        elif known.marks and change.new is not None:
            name = change.new[known.places[0]]
            if isinstance(name, bytes):
                gathered.markers.append(name.decode())

    def _refuse(self, message: Truncate) -> None:
        emptied = sorted(self._tables.called(oid) for oid in message.relations if self._tables.is_watched(oid))
        if emptied:
            raise SourceChangedError(
                f"TRUNCATE of {', '.join(emptied)}: it names no rows, so that it cannot be carried over. Rows that are "
                "deleted can be"
            )
