"""A run of several rounds over two sides that can be source and target both: forward, reverse, forward.

Applications write to the side whose routing record says that it is the primary. Orchestrators capture, apply and cut
over, in the phases' own code; some of them are zombies. The oracle is the ledger of acknowledged writes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from itertools import count
from typing import TypeVar

from tests.interleaving.orchestrators import (
    KEYS,
    LANES,
    PLAN,
    RUN,
    LawBrokenError,
    PausingMarkedTarget,
    PausingProgress,
    PausingSource,
    before_commit,
)
from tests.interleaving.steps import KilledError, Step, SteppedClock, SteppedGate, pause
from tests.support import InlineWorkers
from tranship.connectors.batch import KEY, RESIDUE
from tranship.connectors.counting import Counted
from tranship.connectors.detached import DetachedTarget, detached_progress
from tranship.connectors.errors import (
    AmbiguousCommitError,
    ConnectorError,
    EpochMovedError,
    MarkMovedError,
    RefusedError,
    TransientError,
)
from tranship.connectors.memory import (
    Fate,
    MemoryLedger,
    MemoryMarkedTarget,
    MemorySchema,
    MemorySource,
    MemoryStore,
    Postponed,
    TargetState,
)
from tranship.connectors.memory.routing import KeptRecords
from tranship.connectors.protocols import (
    Feed,
    Key,
    Loaded,
    Owner,
    Progress,
    Routing,
    RoutingRecord,
    Scope,
    Span,
)
from tranship.orchestrator.dataplane.applier import Applier
from tranship.orchestrator.dataplane.run import Connect, Run
from tranship.orchestrator.journal.records import Kind
from tranship.orchestrator.journal.rounds import Round
from tranship.orchestrator.phases import RefusedToActError
from tranship.orchestrator.phases.cutover.drain import Drain
from tranship.orchestrator.phases.cutover.fence import Fence
from tranship.orchestrator.phases.cutover.lift import LiftCutover
from tranship.orchestrator.phases.cutover.open import Open
from tranship.orchestrator.phases.cutover.seal import Seal
from tranship.orchestrator.phases.cutover.switch import Switch
from tranship.orchestrator.phases.cutover.verify import Verify
from tranship.orchestrator.retry import Patience
from tranship.orchestrator.services.capture import Follower
from tranship.plans.streams import Column, LogicalType, Stream

T = TypeVar("T")

STREAM = Stream(
    name="things",
    collection="things",
    table="things",
    key=(Column("id", ("_id",), LogicalType.INT64, "int32"),),
    columns=(Column("version", ("version",), LogicalType.INT64, "int32"),),
)
PHASES = (Fence, Drain, Verify, Seal, Switch)
"""The strategy of each round; `Mover.open` follows."""

ROUNDS = 3
MOST_PAUSES = 400
MOST_ATTEMPTS = 20
OWNER = Owner(RUN, RUN, "memory", "state")


class SideStore(MemoryStore):
    """A side that applications write to and to which rows are moved: what a target commits is no event of theirs."""

    def on_source(self, work: Callable[[KeptRecords], T]) -> T:
        """It is one side, whose record is one, whichever it is called."""
        return self.on_target(work)

    def _run(self, body: Callable[[TargetState], T]) -> T:
        result = super()._run(body)
        self.documents._current[STREAM.name] = dict(self.state.rows.get(STREAM.table, {}))
        return result

    def write(self, key: Key, version: int | None) -> None:
        """An application's write; None deletes."""
        rows = self.state.rows[STREAM.table]
        if version is None:
            rows.pop(key, None)
            self.documents.delete(STREAM.name, key)
        else:
            rows[key] = {KEY: key, "id": KEYS.index(key), "version": version, RESIDUE: None}
            self.documents.put(STREAM.name, rows[key])

    def versions(self) -> dict[Key, int]:
        """What the side holds."""
        return {key: row["version"] for key, row in self.state.rows[STREAM.table].items()}

    @property
    def routing(self) -> Routing:
        """What its record says."""
        return self.state.routing.records[RUN].record.state


@dataclass
class Way:
    """One direction of one orchestrator: its connections, as it would open them."""

    scope: Scope
    source: PausingSource
    target: DetachedTarget
    progress: Progress
    ledger: PausingProgress
    schema: MemorySchema
    watcher: MemorySource
    gate: SteppedGate = field(default_factory=SteppedGate)
    follower: Follower | None = None

    def follow(self) -> None:
        """One step of capture; a process that died has left nothing in memory."""
        self.follower = self.follower or Follower(self.watcher, self.progress, self.scope, (STREAM,))
        try:
            self.follower.step()
        except KilledError:
            self.follower = None
            raise

    def apply(self, lane: int) -> None:
        """One step of one lane."""
        Applier(
            self.source, self.target, self.progress, self.scope, {STREAM.name: STREAM}, self.gate, SteppedClock()
        ).step(lane)

    def useful(self, sealed: bool) -> list[str]:
        """What would not be idle now."""
        dirty = [] if sealed else [n for n in range(LANES) if self.ledger.take(self.scope, n, 1)[1]]
        names = [f"apply {self.scope.feed} {lane}" for lane in dirty]
        behind = self.progress.position(self.scope) != self.source.position()
        return [*names, *[f"capture {self.scope.feed}"] * behind]


class Mover:
    """One process that owns the lease, or owned it once."""

    def __init__(self, world: Rounds, epoch: int) -> None:
        self.world = world
        self.epoch = epoch
        self.steps: dict[str, Step] = {}
        self.ways = {feed: self._way(feed) for feed in Feed}

    def _way(self, feed: Feed) -> Way:
        source, target = self.world.sides(feed)
        scope = Scope(RUN, feed, self.epoch)
        marked = PausingMarkedTarget(target, scope, before_commit)
        ledger = PausingProgress(self.world.ledger, before_commit, lambda: None)
        return Way(
            scope,
            PausingSource(source, batch_rows=1, idle_s=0),
            DetachedTarget(marked, ledger, scope, before_commit),
            detached_progress(marked, ledger),
            ledger,
            MemorySchema(target),
            MemorySource(source, batch_rows=3, idle_s=0),
        )

    @property
    def connect(self) -> Connect:
        """Both directions, as a run would know them."""
        return replace(_connect(self.ways[Feed.FORWARD]), back=_connect(self.ways[Feed.REVERSE]))

    def begin(self, name: str) -> Step:
        """Start an action by its name, unless this process is at it already."""
        if name not in self.steps:
            verb, _, rest = name.partition(" ")
            feed, _, lane = rest.partition(" ")
            actions: dict[str, Callable[[], None]] = {
                "capture": lambda: self.ways[Feed(feed)].follow(),  # noqa: PLW0108  not every action has a feed
                "apply": lambda: self.ways[Feed(feed)].apply(int(lane)),
                "cutover": self.cut_over,
            }
            self.steps[name] = Step(f"{name} in epoch {self.epoch}", actions[verb])
        return self.steps[name]

    def useful(self) -> list[str]:
        """What this process could do now."""
        names = [name for way in self.ways.values() for name in way.useful(self.world.is_sealed(way.scope.feed))]
        return [name for name in names if name not in self.steps]

    def cut_over(self) -> None:
        """One attempt at the round's cutover: first whatever an earlier one has left is taken back, or completed."""
        world = self.world
        way = self.ways[world.feed]
        run = self._run(way)
        if world.attempted and self._lift(run):
            self.open(run)
            return
        world.attempted = True  # the journal's intent, durable before anything is done
        try:
            for phase in PHASES:
                for record in phase().do(run):
                    pause(record.kind)
        except (RefusedToActError, TransientError, MarkMovedError, RefusedError):
            if not self._lift(run):
                return
        self.open(run)

    def _lift(self, run: Run) -> bool:
        """Take the attempt back; whether it was too late for that."""
        kinds = [record.kind for record in LiftCutover().lift(run, needed=True)]
        if kinds == [Kind.PIVOTED]:
            return True
        self.world.attempted = False
        return False

    def open(self, run: Run) -> None:
        """Behind the pivot: what flows back may be applied, then the other side is the primary."""
        world = self.world
        feed = world.feed
        other = self.ways[Feed.REVERSE if feed is Feed.FORWARD else Feed.FORWARD]
        pause("before the other feed goes on")
        other.progress.unseal(other.scope)
        pause("before the other side opens")
        if world.feed is not feed or world.owner is not self:
            return  # somebody else has opened it
        for _ in Open().do(run):
            pass
        world.turned()

    def _run(self, way: Way) -> Run:
        return Run(
            id=RUN,
            plan=PLAN.model_copy(update={"cutover": PLAN.cutover.model_copy(update={"quiet": 0.0})}),
            streams=(STREAM,),
            scope=way.scope,
            connect=self.connect.toward(way.scope.feed),
            source=way.source,
            progress=way.progress,
            schema=way.schema,
            clock=SteppedClock(),
            patience=Patience(0.0),
            tick=lambda: pause("tick"),
            lanes=LANES,
        )


class Rounds:
    """Two sides, a ledger of progress, writers and orchestrators."""

    def __init__(self) -> None:
        ticks = count()
        clock = lambda: next(ticks) * 0.02  # noqa: E731  whoever looks at it sees that time has passed
        self.first, self.second = SideStore("first", clock=clock), SideStore("second", clock=clock)
        self.ledger = MemoryStore("ledger", clock=clock)
        self.stores: Sequence[MemoryStore] = (self.first, self.second, self.ledger)
        for store in self.stores:
            store.fate = self._fate
        self.acknowledged: dict[Key, int] = {}
        self.round = 1
        self.attempted = False
        self._version = 0
        self._next_fate = Fate.APPLY
        self.owner = Mover(self, self.ledger.take_over(RUN))
        self.zombies: list[Mover] = []
        self._prepare()

    def _prepare(self) -> None:
        """Tables on both sides, both feeds captured from the beginning, and nothing to be copied."""
        for feed, way in self.owner.ways.items():
            source, target = self.sides(feed)
            ledger = MemoryLedger(self.ledger)
            marked = MemoryMarkedTarget(target, way.scope)
            progress = detached_progress(marked, ledger)
            progress.lane_marks(way.scope)
            MemorySchema(target).create_tables(way.scope, [STREAM])
            progress.start_capture(way.scope, MemorySource(source).position(), LANES)
            progress.plan_chunks(way.scope, STREAM, [Span(None, None)])
            (chunk,) = progress.chunks(way.scope, STREAM)
            mark = progress.begin_chunk(way.scope, chunk)
            assert mark is not None
            ledger.settle_chunk(STREAM, mark, Loaded(0, 0, 0), Counted(STREAM))
        for side in (self.first, self.second):
            MemorySource(side).records.forget(RUN)
        MemorySource(self.first).records.begin(OWNER, RoutingRecord(Routing.PRIMARY, 0))
        MemorySource(self.second).records.begin(OWNER, RoutingRecord(Routing.CLOSED, 0))

    def sides(self, feed: Feed) -> tuple[SideStore, SideStore]:
        """Source and target of a direction."""
        return (self.first, self.second) if feed is Feed.FORWARD else (self.second, self.first)

    @property
    def feed(self) -> Feed:
        """The round's direction."""
        return Round(self.round).feed

    def is_sealed(self, feed: Feed) -> bool:
        """Whether the direction's lanes are."""
        return self.ledger.state.feeds[RUN, feed].sealed

    def turned(self) -> None:
        """The other side is the primary; the next round begins."""
        self.attempted = False
        self.round += 1

    @property
    def primary(self) -> SideStore | None:
        """To which side applications write; None: they wait."""
        found = [side for side in (self.first, self.second) if side.routing is Routing.PRIMARY]
        if len(found) > 1:
            raise LawBrokenError("both sides are primaries")
        return found[0] if found else None

    # --- what can happen

    def write(self, key: Key, delete: bool) -> None:
        """An application writes to the primary, if there is one, and hears that it has."""
        primary = self.primary
        if primary is None:
            return
        self._version += 1
        primary.write(key, None if delete else self._version)
        self.acknowledged.pop(key, None)
        if not delete:
            self.acknowledged[key] = self._version

    def work(self, which: int, fate: Fate) -> None:
        """Somebody captures or applies from beginning to end."""
        able = [(mover, name) for mover in (self.owner, self.owner, *self.zombies) for name in mover.useful()]
        if able:
            mover, name = able[which % len(able)]
            mover.begin(name)
            self.finish(mover, name, fate)

    def begin(self, which: int) -> None:
        """Somebody begins to, and stops at its first pause."""
        able = [(mover, name) for mover in (self.owner, *self.zombies) for name in mover.useful()]
        if able:
            mover, name = able[which % len(able)]
            mover.begin(name)
            self._advance(mover, name)

    def turn(self, pauses: int, fate: Fate) -> None:
        """The owner goes on with a cutover for a while."""
        if self.round <= ROUNDS:
            self.owner.begin("cutover")
            self._next_fate = fate
            for _ in range(pauses):
                self._advance(self.owner, "cutover")
            self._next_fate = Fate.APPLY

    def go_on(self, which: int, fate: Fate) -> None:
        """Something that has begun goes on a little."""
        if self.under_way:
            self._next_fate = fate
            self._advance(*self.under_way[which % len(self.under_way)])
            self._next_fate = Fate.APPLY

    def kill(self, which: int) -> None:
        """Something that has begun never ends."""
        if self.under_way:
            mover, name = self.under_way[which % len(self.under_way)]
            mover.steps.pop(name).kill()

    def take_over(self, old_one_lives: bool) -> None:
        """Another process takes the lease."""
        old, self.owner = self.owner, Mover(self, self.ledger.take_over(RUN))
        # One zombie at the most: the steps of all share a number of threads.
        for dead in self.zombies if old_one_lives else [old]:
            self._kill(dead)
        if old_one_lives:
            self.zombies = [old]

    def land(self, which: int) -> None:
        """A COMMIT that was on its way arrives."""
        if self._on_their_way:
            store, postponed = self._on_their_way[which % len(self._on_their_way)]
            store.land(postponed)

    # --- time

    @property
    def under_way(self) -> list[tuple[Mover, str]]:
        """All that has begun."""
        return [(mover, name) for mover in (self.owner, *self.zombies) for name in mover.steps]

    @property
    def _on_their_way(self) -> list[tuple[MemoryStore, Postponed]]:
        return [(store, postponed) for store in self.stores for postponed in store.postponed]

    def finish(self, mover: Mover, name: str, fate: Fate = Fate.APPLY) -> None:
        """Let it go on to its end; its next COMMIT meets this fate."""
        self._next_fate = fate
        for _ in range(MOST_PAUSES):
            if name not in mover.steps:
                break
            if mover.steps[name].where == "gate":
                for other in list(mover.steps):
                    self._advance(mover, other)
            else:
                self._advance(mover, name)
        else:
            raise LawBrokenError(f"{mover.steps[name]} never ends")
        self._next_fate = Fate.APPLY

    def outlive(self, key: Key) -> None:
        """A batch is on its way through two rounds, and lands when its direction has come again."""
        feed = self.feed
        self.write(key, delete=False)
        self._serve(apply=False)
        for lane in range(LANES):
            name = f"apply {feed} {lane}"
            self.owner.begin(name)
            self.finish(self.owner, name, Fate.POSTPONE)
        self.go_well()
        self.write(key, delete=False)
        self.go_well()
        while self._on_their_way:
            self.land(0)

    def die(self, pauses: int, apply: bool, old_one_lives: bool) -> None:
        """A cutover gets so far, then its process is taken for dead. Without `apply` nobody applies meanwhile."""
        if self.round > ROUNDS:
            return
        self.owner.begin("cutover")
        for _ in range(pauses):
            if "cutover" in self.owner.steps:
                self._serve(apply=apply)
                self._advance(self.owner, "cutover")
                self.check()
        self.take_over(old_one_lives)

    def complete(self) -> None:
        """All goes well from here on, up to the end of the last round; then all that is late comes."""
        while self._on_their_way:
            self.land(0)
        while self.round <= ROUNDS:
            self.go_well()
        for mover, name in self.under_way:
            self.finish(mover, name)
        while self._on_their_way:
            self.land(0)
        self.check()

    def go_well(self) -> None:
        """The round to its end, undisturbed but by what is under way."""
        before = self.round
        for _ in range(MOST_ATTEMPTS):
            if self.round > min(before, ROUNDS):
                return
            self.owner.begin("cutover")
            for _ in range(MOST_PAUSES):
                if "cutover" not in self.owner.steps:
                    break
                self._serve()
                self._advance(self.owner, "cutover")
                self.check()
        raise LawBrokenError(f"round {self.round} does not end")

    def _serve(self, *, apply: bool = True) -> None:
        for name in self.owner.useful():
            if apply or name.startswith("capture"):
                self.owner.begin(name)
        for name in [name for name in self.owner.steps if name != "cutover"]:
            self.finish(self.owner, name)

    def check(self) -> None:
        """The primary holds all that was acknowledged, and nothing else."""
        primary = self.primary
        if primary is not None and primary.versions() != self.acknowledged:
            raise LawBrokenError(
                f"round {self.round}: {primary.name} holds {_named(primary.versions())}, "
                f"acknowledged were {_named(self.acknowledged)}"
            )

    def close(self) -> None:
        """End all threads."""
        for mover in (self.owner, *self.zombies):
            self._kill(mover)

    def _kill(self, mover: Mover) -> None:
        for name in list(mover.steps):
            mover.steps.pop(name).kill()

    def _advance(self, mover: Mover, name: str) -> None:
        step = mover.steps.get(name)
        if step is not None:
            step.advance()
            if step.finished:
                del mover.steps[name]
                _judge(step)

    def _fate(self, _name: str) -> Fate:
        fate, self._next_fate = self._next_fate, Fate.APPLY
        return fate


def _connect(way: Way) -> Connect:
    return Connect(
        source=lambda: way.source,
        target=lambda _: way.target,
        progress=lambda: way.progress,
        schema=lambda: way.schema,
        workers=lambda _: InlineWorkers(way.source, way.target),  # type: ignore[arg-type]
    )


def _judge(step: Step) -> None:
    """What a step may end with; its service, or the engine, would try again."""
    error = step.error
    if isinstance(error, TimeoutError | TransientError | AmbiguousCommitError | MarkMovedError | EpochMovedError):
        return
    if isinstance(error, RefusedToActError | ConnectorError):
        raise LawBrokenError(f"{step.name}: {error}") from error
    if error is not None:
        raise error


def _named(versions: dict[Key, int]) -> dict[int, int]:
    return {KEYS.index(key): version for key, version in sorted(versions.items())}
