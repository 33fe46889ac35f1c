"""The store that the memory connectors share, and how its transactions commit.

A transaction is a function over the target's state. It runs on a private copy that replaces the state if the function
returns, so it is atomic, and whoever holds a state has a snapshot. `MemoryStore.fate` is asked at each COMMIT; with it
a test loses transactions or acknowledgements, or lets a COMMIT land late.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from typing import Any, TypeVar

from tranship.connectors.errors import AmbiguousCommitError, ConnectorError, TransientError
from tranship.connectors.memory.documents import Documents
from tranship.connectors.memory.routing import KeptRecords
from tranship.connectors.memory.state import TargetState
from tranship.connectors.protocols import Scope

T = TypeVar("T")


class Fate(Enum):
    """What becomes of a COMMIT."""

    APPLY = "applied and acknowledged"
    LOSE_ACKNOWLEDGEMENT = "applied, the client never hears of it"
    LOSE = "the connection fails before COMMIT is sent"
    POSTPONE = "the connection fails, COMMIT is on its way and lands when the test says so"


@dataclass(frozen=True)
class Postponed:
    """A COMMIT on its way. Marks and epoch are compared when it lands, as a database would."""

    name: str
    scope: Scope
    body: Callable[[TargetState], Any]


class MemoryStore:
    """Documents of the source, state of the target. Safe for several threads.

    `clock` gives seconds and stands for both databases' clocks. `fate` is asked with the transaction's name, which is
    the name of the protocol's call.
    """

    def __init__(
        self,
        name: str = "memory",
        *,
        clock: Callable[[], float] = time.time,
        history: int = 1_000_000,
    ) -> None:
        self.name = name
        self.clock = clock
        self.documents = Documents(clock, history)
        self.state = TargetState()
        self.fate: Callable[[str], Fate] = lambda _name: Fate.APPLY
        self.postponed: list[Postponed] = []
        self._routing_lock = threading.Lock()
        self._lock = threading.Lock()

    def take_over(self, run: str) -> int:
        """The next epoch of a run; every writer under an earlier one fails from now on."""

        def work(state: TargetState) -> int:
            state.epochs[run] = state.epochs.get(run, 0) + 1
            return state.epochs[run]

        with self._lock:
            return self._run(work)

    def transact(self, name: str, scope: Scope, work: Callable[[TargetState], T]) -> T:
        """Run one transaction; its last statement checks the epoch.

        Raises what `work` raises, `EpochMovedError`, and by `fate` `TransientError` or `AmbiguousCommitError`.
        """

        def body(state: TargetState) -> T:
            result = work(state)
            state.check_epoch(scope)
            return result

        with self._lock:
            fate = self.fate(name)
            if fate is Fate.LOSE:
                raise TransientError(f"{name}: the connection was lost, nothing was committed")
            if fate is Fate.POSTPONE:
                self.postponed.append(Postponed(name, scope, body))
                raise AmbiguousCommitError(f"{name}: the connection was lost while COMMIT was under way")
            result = self._run(body)
            if fate is Fate.LOSE_ACKNOWLEDGEMENT:
                raise AmbiguousCommitError(f"{name}: the connection was lost while COMMIT was under way")
            return result

    def on_source(self, work: Callable[[KeptRecords], T]) -> T:
        """Run a function over the source's routing records, alone."""
        with self._routing_lock:
            return work(self.documents.routing)

    def on_target(self, work: Callable[[KeptRecords], T]) -> T:
        """The same over the target's, as a transaction of its own."""
        with self._lock:
            return self._run(lambda state: work(state.routing))

    def land(self, postponed: Postponed) -> ConnectorError | None:
        """Let a postponed COMMIT arrive; returns why the database refused it, or None when it was applied."""
        with self._lock:
            self.postponed.remove(postponed)
            try:
                self._run(postponed.body)
            except ConnectorError as refusal:
                return refusal
            return None

    def _run(self, body: Callable[[TargetState], T]) -> T:
        draft = self.state.fork()
        result = body(draft)
        self.state = draft
        return result
