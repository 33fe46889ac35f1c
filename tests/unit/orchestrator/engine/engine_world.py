"""An engine over the memory pair, for tests of its life."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, replace
from typing import Any

import pytest

from tests.support import MemoryControl, scope_of
from tranship.connectors.batch import Quarantined
from tranship.connectors.keys import from_typed
from tranship.connectors.memory import MemoryProgress, MemoryStore
from tranship.connectors.protocols import NAMELESS, Routing, RoutingRecord
from tranship.orchestrator.engine.engine import Engine
from tranship.orchestrator.journal.control import RequestKind
from tranship.orchestrator.journal.records import Kind, Record
from tranship.orchestrator.journal.state import State
from tranship.plans import Plan, resolve
from tranship.plans.strategies import Group, PhaseName
from tranship.plans.streams import LogicalType, Rest

PLAN = """
version: 1
plan: small
source: {mongodb: "mongodb://h/", database: d}
target: {postgresql: "postgresql://h/d", schema: s}
streams:
  things:
    key: {_id: int64}
    columns: {name: text, code: {type: text, unique: true}}
cutover: {quiet: 100ms, deadline: 2s}
rollback: {on_failure: rollback}
limits: {chunk: 64KiB, lease: 2s, patience: 1s}
"""

RUN = "small-1"
LIMIT_S = 20.0


def thing(number: int, name: str) -> dict[str, object]:
    key = from_typed(LogicalType.INT64, number)
    return {"_key": key, "_id": number, "name": name, "code": f"code {number}", "_residue": None}


@dataclass
class World:
    """An engine in a thread, and what it works on."""

    plan: Plan
    store: MemoryStore
    control: MemoryControl
    engine: Engine
    result: list[State | Exception]

    def start(self, *, held_too: bool = False) -> threading.Thread:
        def work() -> None:
            try:
                self.result.append(self.engine.execute(RUN, "test", held_too=held_too))
            except Exception as error:  # noqa: BLE001  handed to the test's thread
                self.result.append(error)

        thread = threading.Thread(target=work, daemon=True)
        thread.start()
        return thread

    def again(self) -> None:
        """A new engine, as after a restart of the process."""
        self.engine = Engine(self.plan, self.engine.streams, self.engine.connect, self.control, 2.0)
        self.result.clear()

    def finish(self, thread: threading.Thread) -> State:
        thread.join(LIMIT_S)
        assert not thread.is_alive(), (
            f"still {self.engine.state.status}: {[e.record.kind for e in self.control.entries]}"
        )
        outcome = self.result[0]
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    def wait(self, condition: Callable[[], bool]) -> None:
        pulse = threading.Event()
        for _ in range(int(LIMIT_S / 0.02)):
            if condition():
                return
            assert not self.result, self.result
            pulse.wait(0.02)
        raise AssertionError(f"did not come: {[e.record.kind for e in self.control.entries]}")

    def wait_for_approval(self) -> None:
        self.wait(lambda: self.engine.state.asked is Group.CUTOVER)

    def approve(self) -> None:
        """Somebody says yes to what is asked now."""
        self.wait_for_approval()
        self.control.request(RUN, RequestKind.APPROVE, self.engine.state.asking)

    def put(self, number: int, name: str) -> None:
        """Somebody writes to the source."""
        self.store.documents.put("things", thing(number, name))

    def rows(self) -> dict[object, object]:
        stream = self.engine.streams[0]
        return {row["_id"]: row["name"] for row in self.store.state.table(stream).values()}


def spoilt(number: int, document: bytes = b"...") -> Quarantined:
    return Quarantined(from_typed(LogicalType.INT64, number), "name", "double instead of string", document)


NAMELESS_ONE = Quarantined(NAMELESS + bytes(32), "", "malformed", b"\xff")


def fits_now(world: World, number: int, name: str) -> None:
    """A document fits without having changed, as after a change of the plan: there is no event of it."""
    row = thing(number, name)
    world.store.documents._current["things"][row["_key"]] = row  # type: ignore[index]


def in_quarantine(world: World) -> set[bytes]:
    entries = MemoryProgress(world.store).quarantine(scope_of(world.store, RUN), world.engine.streams[0], None, 100)
    return {entry.key for entry in entries}


def records(world: World, kind: Kind) -> list[Mapping[str, Any]]:
    return [entry.record.data for entry in world.control.entries if entry.record.kind is kind]


def with_rest(world: World, rest: Rest) -> None:
    """The plan's file is edited."""
    stream = world.plan.streams["things"]
    changed = stream.model_copy(update={"rest": stream.rest.model_copy(update={"policy": rest})})
    world.plan = world.plan.model_copy(update={"streams": {"things": changed}})
    world.engine = Engine(world.plan, resolve(world.plan), world.engine.connect, world.control, 2.0)


def approved(world: World) -> threading.Thread:
    """A run whose cutover has just been approved."""
    thread = world.start()
    world.wait_for_approval()
    world.approve()
    return thread


def crashed_after(
    world: World, request: RequestKind, last: Kind, phase: PhaseName | None = None, *, keep_route: bool = False
) -> None:
    """The journal is as if the process had died right after a record that a request at the approval led to. The source
    has the routing record of then, that of a fence, the target that of a seal; with `keep_route`, those of the end."""
    thread = world.start()
    world.wait_for_approval()
    world.control.request(RUN, request, world.engine.state.asking)
    world.finish(thread)
    found = [(e.record.kind, phase and e.record.phase) for e in world.control.entries]
    del world.control.entries[found.index((last, phase)) + 1 :]
    # Nor has it come to clean up the source.
    if not keep_route:
        sides = (world.store.documents.routing, Routing.FENCED), (world.store.state.routing, Routing.READY)
        for kept_records, state in sides:
            routing, record = kept_records.records, RoutingRecord(state, 1)
            routing.update({id: replace(kept, record=record) for id, kept in routing.items()})  # noqa: A001
    world.store.documents.markers.update(world.store.state.feed(scope_of(world.store, RUN)).markers)
    world.result.clear()


@contextmanager
def done_behind(
    monkeypatch: pytest.MonkeyPatch, chosen: Callable[[Record], bool], deed: Callable[[], None]
) -> Iterator[None]:
    """Something happens when the first record of a kind is durable, and the engine does not know it yet."""
    append, left = MemoryControl.append, [deed]

    def slow(self: MemoryControl, *entry: Any) -> None:
        append(self, *entry)
        if left and any(isinstance(part, Record) and chosen(part) for part in entry):
            left.pop()()

    with monkeypatch.context() as patch:
        patch.setattr(MemoryControl, "append", slow)
        yield


def change_target(world: World, number: int, name: str) -> None:
    """Somebody writes to the target."""
    table = world.store.state.table(world.engine.streams[0])
    key = from_typed(LogicalType.INT64, number)
    table[key] = {**table[key], "name": name}


def behind_index(monkeypatch: pytest.MonkeyPatch, deed: Callable[[], None]) -> AbstractContextManager[None]:
    """Something happens between the backfill and the comparison."""
    return done_behind(monkeypatch, lambda r: (r.kind, r.phase) == (Kind.VERIFIED, PhaseName.INDEX), deed)
