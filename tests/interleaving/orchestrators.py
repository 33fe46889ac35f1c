"""One orchestrator process of the interleaving test: the real data plane over the memory pair, pausing everywhere."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import chain

from tests.interleaving.steps import KilledError, Step, SteppedClock, SteppedGate, pause
from tests.support import InlineWorkers
from tranship.connectors.batch import Batch
from tranship.connectors.detached import DetachedTarget, detached_progress
from tranship.connectors.keys import KeyForm
from tranship.connectors.memory import (
    MemoryLedger,
    MemoryMarkedTarget,
    MemoryProgress,
    MemorySchema,
    MemorySource,
    MemoryStore,
    MemoryTarget,
)
from tranship.connectors.memory.rows import make_batch
from tranship.connectors.protocols import (
    BatchTarget,
    DirtyKey,
    Feed,
    Key,
    LaneMark,
    Position,
    Progress,
    Scope,
    Span,
    TouchedKey,
)
from tranship.orchestrator.dataplane import copier
from tranship.orchestrator.dataplane.applier import Applier
from tranship.orchestrator.dataplane.run import Connect, Run
from tranship.orchestrator.dataplane.touched import Sides
from tranship.orchestrator.phases.reconcile import Reconcile
from tranship.orchestrator.retry import Patience
from tranship.orchestrator.services.capture import Follower
from tranship.plans import Plan
from tranship.plans.streams import Column, LogicalType, Stream

RUN = "run"
LANES = 2
STREAM = Stream(
    name="things",
    collection="things",
    table="things",
    key=(Column("id", ("_id",), LogicalType.INT64, "int32"),),
    columns=(
        Column("version", ("version",), LogicalType.INT64, "int32"),
        Column("code", ("code",), LogicalType.TEXT, "string", unique=True),
    ),
)
KEYS: tuple[Key, ...] = tuple(KeyForm(STREAM.key).encode((n,)) for n in range(3))
SPANS = (Span(None, KEYS[2]), Span(KEYS[2], None))

PLAN = Plan.model_validate(
    {
        "version": 1,
        "plan": RUN,
        "source": {"mongodb": "mongodb://h/", "database": "d"},
        "target": {"postgresql": "postgresql://h/d", "schema": "s"},
        "streams": {STREAM.name: {"key": {"_id": "int64"}, "columns": {"version": "int64"}}},
    }
)
"""What the reconcile phase asks of a plan: its limits, and what becomes of divergences."""


class LawBrokenError(AssertionError):
    """A law of the design does not hold."""


class PausingSource(MemorySource):
    """A source whose every read can be overtaken; nothing that takes more than one batch or key is a snapshot."""

    def read(self, stream: Stream, span: Span, after: Position) -> Iterator[Batch]:
        batches = super().read(stream, span, after)
        while True:
            pause("read")
            batch = next(batches, None)
            if batch is None:
                return
            yield batch

    def read_keys(self, stream: Stream, keys: Sequence[Key], after: Position) -> Batch:
        pause("read_keys")
        half = len(keys) // 2
        first = super().read_keys(stream, keys[:half], after)
        if half:
            pause("read_keys, half of them")
        second = super().read_keys(stream, keys[half:], after)
        pause("read_keys, all of them")
        rows = [*first.rows.to_pylist(), *second.rows.to_pylist()]
        return make_batch(stream, rows, (*first.quarantined, *second.quarantined))


class PausingTarget(MemoryTarget):
    """A target whose reads can be overtaken, so that both sides are seen at different moments."""

    def read_keys(self, stream: Stream, keys: Sequence[Key]) -> Batch:
        pause("target.read_keys")
        return super().read_keys(stream, keys)


class PausingMarkedTarget(MemoryMarkedTarget):
    """The same, of a target that keeps its own marks."""

    def read_keys(self, stream: Stream, keys: Sequence[Key]) -> Batch:
        pause("target.read_keys")
        return super().read_keys(stream, keys)


class PausingProgress(MemoryLedger):
    """Progress that can be overtaken before the exclusive lane's marks are read, and watches who takes which key.

    `on_touched` is called when touched keys are read.
    """

    def __init__(self, store: MemoryStore, hook: Callable[[str], None], on_touched: Callable[[], None]) -> None:
        super().__init__(store, hook)
        self._lanes: dict[Key, int] = {}
        self._on_touched = on_touched

    def touched(self, scope: Scope, stream: Stream, after: Key | None, limit: int) -> list[TouchedKey]:
        self._on_touched()
        return super().touched(scope, stream, after, limit)

    def take(self, scope: Scope, lane: int, limit: int) -> tuple[LaneMark, list[DirtyKey]]:
        mark, dirty = super().take(scope, lane, limit)
        for d in dirty:
            if self._lanes.setdefault(d.key, lane) != lane:
                raise LawBrokenError(f"key {KEYS.index(d.key)} is in two lanes")
        return mark, dirty

    def lane_marks(self, scope: Scope) -> list[LaneMark]:
        pause("lane_marks")
        return super().lane_marks(scope)


def before_commit(site: str) -> None:
    """The connectors' hook: every transaction can be overtaken before its COMMIT."""
    if site.endswith("before_commit"):
        pause(site)


class Orchestrator:
    """One process that owns the lease, or owned it once."""

    def __init__(
        self,
        store: MemoryStore,
        ledger: MemoryStore,
        epoch: int,
        on_touched: Callable[[], None],
        doubted: Callable[[], bool],
    ) -> None:
        self._doubted = doubted
        self.scope = Scope(RUN, Feed.FORWARD, epoch)
        self.source = PausingSource(store, batch_rows=1, idle_s=0)
        self.ledger = PausingProgress(ledger, before_commit, on_touched)
        self.target: BatchTarget = PausingTarget(store, self.scope, before_commit)
        self.progress: Progress = self.ledger
        if ledger is not store:
            marked = PausingMarkedTarget(store, self.scope, before_commit)
            self.target = DetachedTarget(marked, self.ledger, self.scope, before_commit)
            self.progress = detached_progress(marked, self.ledger)
        self._schema = MemorySchema(store)
        self.steps: dict[str, Step] = {}
        self._watcher = MemorySource(store, batch_rows=3, idle_s=0)
        self._gate = SteppedGate()
        self._follower = self._follow()

    def begin(self, name: str) -> None:
        """Start an action by its name, unless this process is at it already."""
        if name not in self.steps:
            verb, _, number = name.partition(" ")
            actions: dict[str, Callable[[], object]] = {
                "start": self.start_capture,
                "capture": self.capture,
                "copy": lambda: self.copy(int(number)),
                "apply": lambda: self.apply(int(number)),
                "settle": self.settle,
                "look": self.look,
                "reconcile": self.reconcile,
            }
            self.steps[name] = Step(f"{name} in epoch {self.scope.epoch}", actions[verb])

    def useful(self) -> list[str]:
        """What would not be idle now, as far as this process knows."""
        chunks = self.progress.chunks(self.scope, STREAM)
        names = [f"copy {chunk.number}" for chunk in chunks if chunk.state != "loaded"]
        if self.progress.position(self.scope) is not None:
            names += 2 * [f"apply {lane}" for lane in range(LANES) if self.ledger.take(self.scope, lane, 1)[1]]
            touched = MemoryProgress.touched(self.ledger, self.scope, STREAM, None, 1)
            names += ["settle"] * bool(touched or self.recorded())
            names += ["look"] * (self._doubted() and all(chunk.state == "loaded" for chunk in chunks))
            names += ["capture"] * (self.progress.position(self.scope) != self.source.position())
        return [name for name in names if name not in self.steps]

    def start_capture(self) -> None:
        """The capture phase, as often as one likes."""
        position = self.source.position()
        pause("start")
        self.progress.start_capture(self.scope, position, LANES)

    def capture(self) -> None:
        """One step of the capture service; a process that died has left nothing in memory."""
        try:
            self._follower.step()
        except KilledError:
            self._follower = self._follow()
            raise

    def copy(self, number: int) -> None:
        """One attempt at one chunk."""
        chunks = self.progress.chunks(self.scope, STREAM)
        task = copier.begin(self.progress, self.scope, STREAM, chunks[number])
        if task is not None:
            copier.copy(self.source, self.target, task)

    def apply(self, lane: int) -> None:
        """One step of one lane."""
        streams = {STREAM.name: STREAM}
        clock = SteppedClock()
        Applier(self.source, self.target, self.progress, self.scope, streams, self._gate, clock).step(lane)

    def settle(self) -> None:
        """What the reconciler service does at each of its looks."""
        sides = Sides(self.source, self.target, self.progress, self.scope)
        for _ in chain(sides.forget_equal(STREAM), sides.settle_recorded(STREAM)):
            pause("settle")

    def look(self) -> None:
        """A comparison of all keys, which puts on record what differs and is not to be applied."""
        sides = Sides(self.source, self.target, self.progress, self.scope)
        for keys, comparison in sides.compare(STREAM, KEYS):
            dirty = self.progress.still_dirty(self.scope, STREAM, keys)
            found = [mismatch for mismatch in comparison.apart if mismatch.key not in dirty]
            self.progress.note_divergences(self.scope, found, [])

    def reconcile(self) -> None:
        """What the reconcile phase does."""
        run = Run(
            id=RUN,
            plan=PLAN,
            streams=(STREAM,),
            scope=self.scope,
            connect=Connect(
                source=lambda: self.source,
                target=lambda _: self.target,
                progress=lambda: self.progress,
                schema=lambda: self._schema,
                workers=lambda _: InlineWorkers(self.source, self.target),
            ),
            source=self.source,
            progress=self.progress,
            schema=self._schema,
            clock=SteppedClock(),
            patience=Patience(0.0),
            tick=lambda: pause("tick"),
            lanes=LANES,
        )
        for _ in Reconcile().do(run):
            pause("reconciled")

    def recorded(self) -> set[Key]:
        """Keys on record as different."""
        return {one.key for one in self.progress.divergences(self.scope)}

    def _follow(self) -> Follower:
        return Follower(self._watcher, self.progress, self.scope, (STREAM,))
