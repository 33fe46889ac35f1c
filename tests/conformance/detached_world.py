"""An empty target that keeps its own marks, and its ledger in another place: two halves that share no transaction.

Each half may be in memory or in a PostgreSQL database of its own. A call of either may meet a fate instead of the
database's answer; one that lands late is carried out then, under the marks and epoch of that moment.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, field
from typing import Any, Protocol, cast

from tests.conformance.postgresql_world import PostgresWorld
from tests.conformance.target_world import STREAMS, Hook
from tranship.connectors.detached import DetachedTarget, detached_progress
from tranship.connectors.errors import AmbiguousCommitError, ConnectorError, TransientError
from tranship.connectors.memory import Fate, MemoryLedger, MemoryMarkedTarget, MemorySchema, MemoryStore
from tranship.connectors.memory.reader import no_hook
from tranship.connectors.postgresql import connect_ledger, connect_marked
from tranship.connectors.protocols import READING, Feed, Key, Progress, Scope, TargetSchema
from tranship.connectors.protocols.detached import Ledger, MarkedTarget


class RowsHalf(Protocol):
    """Where rows and their marks are. What it holds is looked at behind the connector's back."""

    def marked(self, scope: Scope, hook: Hook) -> MarkedTarget: ...

    def schema(self) -> TargetSchema: ...

    def held(self) -> dict[int, str]:
        """Status by number of the orders that are there."""

    def sealed(self, scope: Scope) -> bool:
        """Whether no lane takes a batch."""


class LedgerHalf(Protocol):
    """Where all else is. What it holds is looked at behind the connector's back."""

    def take_over(self, run: str) -> int: ...

    def ledger(self, hook: Hook) -> Ledger: ...

    def dirty(self, scope: Scope) -> set[Key]:
        """Keys that have an entry."""

    def chunk(self, scope: Scope) -> tuple[str, int]:
        """State and rows of the only chunk."""

    def lane(self, scope: Scope, number: int) -> int:
        """The copy of a lane's mark."""


class MemoryRows:
    """`RowsHalf`."""

    def __init__(self) -> None:
        self.store = MemoryStore("rows")

    def marked(self, scope: Scope, hook: Hook) -> MarkedTarget:
        return MemoryMarkedTarget(self.store, scope, hook)

    def schema(self) -> TargetSchema:
        return MemorySchema(self.store)

    def held(self) -> dict[int, str]:
        return {row["number"]: row["status"] for row in self.store.state.rows["orders"].values()}

    def sealed(self, scope: Scope) -> bool:
        return self.store.state.feed(scope).sealed


class MemoryKept:
    """`LedgerHalf`."""

    def __init__(self) -> None:
        self.store = MemoryStore("ledger")

    def take_over(self, run: str) -> int:
        return self.store.take_over(run)

    def ledger(self, hook: Hook) -> Ledger:
        return MemoryLedger(self.store, hook)

    def dirty(self, scope: Scope) -> set[Key]:
        return {found for _, found in self.store.state.feed(scope).dirty}

    def chunk(self, scope: Scope) -> tuple[str, int]:
        (found,) = self.store.state.feed(scope).chunks["orders"]
        return found.state, found.rows

    def lane(self, scope: Scope, number: int) -> int:
        return self.store.state.feed(scope).lanes[number]


class PostgresRows:
    """`RowsHalf`."""

    def __init__(self, world: PostgresWorld) -> None:
        self.world = world

    def marked(self, scope: Scope, hook: Hook) -> MarkedTarget:
        return self.world.stack.enter_context(closing(connect_marked(self.world.endpoint, scope, hook=hook)))

    def schema(self) -> TargetSchema:
        return self.world.schema()

    def held(self) -> dict[int, str]:
        return dict(self.world.sql("SELECT number, status FROM {shop}.orders"))

    def sealed(self, scope: Scope) -> bool:
        return self.world.sql(f"SELECT bool_and(sealed) FROM {{state}}.lane WHERE {_of(scope)}") == [(True,)]


class PostgresKept:
    """`LedgerHalf`."""

    def __init__(self, world: PostgresWorld) -> None:
        self.world = world

    def take_over(self, run: str) -> int:
        return self.world.take_over(run)

    def ledger(self, hook: Hook) -> Ledger:
        return self.world.stack.enter_context(closing(connect_ledger(self.world.endpoint, STREAMS, hook=hook)))

    def dirty(self, scope: Scope) -> set[Key]:
        return {row[0] for row in self.world.sql(f"SELECT key FROM {{state}}.dirty WHERE {_of(scope)}")}

    def chunk(self, scope: Scope) -> tuple[str, int]:
        ((state, rows),) = self.world.sql(f"SELECT state, rows FROM {{state}}.chunk WHERE {_of(scope)}")
        return state, rows

    def lane(self, scope: Scope, number: int) -> int:
        found = self.world.sql(f"SELECT seq FROM {{state}}.lane WHERE {_of(scope)} AND lane = {number}")
        return int(found[0][0])


def _of(scope: Scope) -> str:
    return f"run = '{scope.run}' AND feed = '{scope.feed}'"


# --- fates ------------------------------------------------------------------------------------------------------------


@dataclass
class Way:
    """The way to a half: `fate` is asked at each call that has one, by its name. `late`: those on their way."""

    fate: Callable[[str], Fate] = lambda _name: Fate.APPLY
    late: list[Callable[[], object]] = field(default_factory=list)

    def lead(self, half: Any) -> Any:
        """The half, behind this way."""
        return _Behind(half, self)

    def land(self) -> list[Exception | None]:
        """Let all arrive; returns why each was refused, None where it was applied."""
        late, self.late = self.late, []
        return [_refusal(call) for call in late]


class _Behind:
    def __init__(self, half: Any, way: Way) -> None:
        self._half = half
        self._way = way

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._half, name)
        return self._fated(name, found) if callable(found) else found

    def _fated(self, name: str, call: Callable[..., Any]) -> Callable[..., Any]:
        def called(*given: Any, **named: Any) -> Any:
            fate = self._way.fate(name)
            if fate is Fate.LOSE:
                raise TransientError(f"{name}: the connection was lost, nothing was committed")
            if fate is Fate.POSTPONE:
                sent = [list(one) if isinstance(one, Iterator) else one for one in given]
                self._way.late.append(lambda: call(*sent, **named))
                raise AmbiguousCommitError(f"{name}: the connection was lost while COMMIT was under way")
            result = call(*given, **named)
            if fate is Fate.LOSE_ACKNOWLEDGEMENT:
                raise AmbiguousCommitError(f"{name}: the connection was lost while COMMIT was under way")
            return result

        return called


def _refusal(call: Callable[[], object]) -> Exception | None:
    try:
        call()
    except ConnectorError as refusal:
        return refusal
    return None


# --- both halves ------------------------------------------------------------------------------------------------------


class DetachedWorld:
    """`TargetWorld` of a pair of halves."""

    def __init__(self, rows: RowsHalf, ledger: LedgerHalf) -> None:
        self.rows = rows
        self.ledger = ledger
        self.ways = {"rows": Way(), "ledger": Way()}

    def take_over(self, run: str) -> int:
        epoch = self.ledger.take_over(run)
        scope = Scope(run, Feed.FORWARD, epoch)
        with closing(self.rows.marked(scope, no_hook)) as marked:
            marked.claim(scope, [])
        return epoch

    def target(self, scope: Scope, hook: Hook | None = None) -> DetachedTarget:
        called = hook or no_hook
        return DetachedTarget(self._marked(scope, called), self._ledger(called), scope, called)

    def progress(self, hook: Hook | None = None) -> Progress:
        called = hook or no_hook
        return detached_progress(self._marked(Scope("", Feed.FORWARD, READING), called), self._ledger(called))

    def schema(self) -> TargetSchema:
        return self.rows.schema()

    def _marked(self, scope: Scope, hook: Hook) -> MarkedTarget:
        return cast(MarkedTarget, self.ways["rows"].lead(self.rows.marked(scope, hook)))

    def _ledger(self, hook: Hook) -> Ledger:
        return cast(Ledger, self.ways["ledger"].lead(self.ledger.ledger(hook)))

    @contextmanager
    def fated(self, name: str, fate: Fate, half: str = "") -> Iterator[None]:
        """For the length of the block the next call of this name, of whichever half or of this one, meets its fate."""
        left = [fate]

        def decide(called: str) -> Fate:
            return left.pop() if left and called == name else Fate.APPLY

        for which, way in self.ways.items():
            if half in ("", which):
                way.fate = decide
        try:
            yield
        finally:
            for way in self.ways.values():
                way.fate = lambda _name: Fate.APPLY
        assert not left, f"{name} was never called"

    def land(self) -> list[Exception | None]:
        """Let every call that is on its way arrive; returns why each was refused, None where it was applied."""
        return [refusal for way in self.ways.values() for refusal in way.land()]


PAIRS = ("memory", "postgresql, ledger in postgresql")


def detached_world(pair: str, database: Callable[[str], str], stack: ExitStack) -> DetachedWorld:
    """The world of a pair. `database`: the URI of the database of a half, which is made when it is asked for."""
    rows, _, ledger = pair.partition(", ledger in ")

    def world(half: str) -> PostgresWorld:
        return PostgresWorld(database(half), stack)

    return DetachedWorld(
        PostgresRows(world("target_database")) if rows == "postgresql" else MemoryRows(),
        PostgresKept(world("ledger_database")) if ledger == "postgresql" else MemoryKept(),
    )
