"""The world of the interleaving test: applications, one store, and orchestrators that share it, some of them zombies.

What can happen in it are its methods; each does nothing when it cannot happen now. `check` holds the design's laws; it
looks at the store and not through the code under test.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any, TypeVar

from tests.interleaving.orchestrators import KEYS, LANES, RUN, SPANS, STREAM, LawBrokenError, Orchestrator
from tests.interleaving.steps import Step
from tranship.connectors.batch import KEY, RESIDUE, Quarantined
from tranship.connectors.detached import detached_progress
from tranship.connectors.errors import (
    AmbiguousCommitError,
    ConnectorError,
    EpochMovedError,
    MarkMovedError,
    TransientError,
    UniqueConflictError,
)
from tranship.connectors.memory import (
    Fate,
    MemoryLedger,
    MemoryMarkedTarget,
    MemorySchema,
    MemoryStore,
    Postponed,
    TargetState,
)
from tranship.connectors.memory.rows import Row, holds
from tranship.connectors.protocols import Chunk, Key, Progress, Scope

T = TypeVar("T")

Event = tuple[Any, ...]
"""The name of one of the world's methods, and its arguments."""

MOST_ZOMBIES = 1
MOST_PAUSES = 500
MOST_ROUNDS = 60
"""Far more than any right schedule needs."""


class WatchedStore(MemoryStore):
    """A store that notices when a transaction of an old epoch commits, and when a touched key is forgotten too early.

    `applied` counts how often each key was applied, `seen` is that count when the touched keys were read last.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        super().__init__(clock=clock)
        self.applied: Counter[Key] = Counter()
        self.seen: Counter[Key] = Counter()
        self.sealed = False

    def look_at_touched(self) -> None:
        """The touched keys are being read."""
        self.seen = Counter(self.applied)

    def transact(self, name: str, scope: Scope, work: Callable[[TargetState], T]) -> T:
        before = self.state
        try:
            return super().transact(name, scope, work)
        finally:
            self._watch(name, scope, before)

    def land(self, postponed: Postponed) -> ConnectorError | None:
        before = self.state
        refusal = super().land(postponed)
        self._watch(f"late {postponed.name}", postponed.scope, before)
        return refusal

    def _watch(self, name: str, scope: Scope, before: TargetState) -> None:
        if self.sealed and name.endswith(("replace", "settle")) and self.state is not before:
            raise LawBrokenError(f"{name} committed behind the seal")
        if self.state is not before and scope.epoch != self.state.epochs[RUN]:
            raise LawBrokenError(f"{name} of epoch {scope.epoch} committed in epoch {self.state.epochs[RUN]}")
        old, new = before.feed(scope).touched, self.state.feed(scope).touched
        self.applied.update(key for (_, key), touch in new.items() if old.get((STREAM.name, key)) != touch)
        for _, key in old.keys() - new.keys() if name.endswith("forget_equal") else ():
            if self.applied[key] > self.seen[key]:
                raise LawBrokenError(f"key {KEYS.index(key)} is forgotten, and was applied since it was looked at")


class World:
    """Everything, and its laws. `detached`: the target keeps its own marks, and progress is in a ledger elsewhere."""

    def __init__(self, *, detached: bool = False) -> None:
        self.detached = detached
        self.store = WatchedStore(clock=lambda: 0.0)
        self.ledger = WatchedStore(clock=lambda: 0.0) if detached else self.store
        self.store.fate = self.ledger.fate = self._fate
        self._schema = MemorySchema(self.store)
        self._version = 0
        self._marker = 0
        self._events: list[tuple[int, Key]] = []
        self._next_fate = Fate.APPLY
        self._foreign: dict[Key, Row] = {}
        self._named: dict[Key, Row] = {}
        self._wrong: set[Key] = set()
        self._gone: set[Key] = set()
        self._referred: set[Key] = set()
        self.owner = self._orchestrator()
        self.zombies: list[Orchestrator] = []
        self._undisturbed().lane_marks(self.owner.scope)
        self._schema.create_tables(self.owner.scope, [STREAM])
        self._plan()

    # --- what applications do

    def write(self, verb: str, key: Key, other: Key, code: str | None, captured: bool = False) -> None:
        """One or two writes, which capture may keep at once. The source's unique index keeps codes apart."""
        if verb in ("delete", "reinsert", "spoil"):
            self._gone.add(key)
        if verb in ("delete", "reinsert"):
            self._note(key, self.store.documents.delete(STREAM.name, key))
        if verb in ("put", "reinsert"):
            taken = any(self._code(k) == code for k in KEYS if k != key)
            self._put(key, None if taken else code)
        if verb == "move" and other != key:
            code = self._code(key)
            self._put(key, None)
            self._put(other, code)
        if verb == "spoil":
            self._version += 1
            entry = Quarantined(key, "version", "not a number", str(self._version).encode())
            self._note(key, self.store.documents.put_unmappable(STREAM.name, entry))
        if captured:
            self.follow()

    def tamper(self, key: Key) -> None:
        """A foreign hand changes a row of the target, which no event tells of."""
        rows = self.store.state.rows[STREAM.table]
        if key in rows:
            self._version += 1
            rows[key] = self._foreign[key] = {**rows[key], "version": -self._version}

    def refer(self, key: Key) -> None:
        """Another application hangs a row of its own on one of ours, to be deleted with it."""
        if key in self.store.state.rows[STREAM.table]:
            self.store.state.referred.add((STREAM.table, key))
            self._referred.add(key)

    def _orchestrator(self) -> Orchestrator:
        epoch = self.ledger.take_over(RUN)
        doubted = lambda: bool(self._foreign)  # noqa: E731
        return Orchestrator(self.store, self.ledger, epoch, self.ledger.look_at_touched, doubted)

    def _undisturbed(self) -> Progress:
        """The owner's progress, for what happens at once."""
        ledger = MemoryLedger(self.ledger)
        return detached_progress(MemoryMarkedTarget(self.store, self.owner.scope), ledger) if self.detached else ledger

    def _put(self, key: Key, code: str | None) -> None:
        self._version += 1
        row = {KEY: key, "id": KEYS.index(key), "version": self._version, "code": code, RESIDUE: None}
        self._note(key, self.store.documents.put(STREAM.name, row))

    def _note(self, key: Key, sequence: int) -> None:
        self._events.append((sequence, key))

    def _current(self, key: Key) -> Row | Quarantined | None:
        return self.store.documents.get(STREAM.name, key)

    def _code(self, key: Key) -> str | None:
        document = self._current(key)
        code: str | None = document["code"] if isinstance(document, dict) else None
        return code

    # --- what orchestrators do

    @property
    def under_way(self) -> list[tuple[Orchestrator, str]]:
        """All steps that have begun."""
        return [(o, name) for o in (self.owner, *self.zombies) for name in o.steps]

    @property
    def useful(self) -> list[tuple[Orchestrator, str]]:
        """All steps that may begin and would find something to do; the lease owner's come twice, being likelier."""
        return [(o, name) for o in (self.owner, self.owner, *self.zombies) for name in o.useful()]

    def prepare(self, which: int) -> tuple[Orchestrator, str]:
        """Begin something useful, and stop before its first statement."""
        orchestrator, name = _pick(self.useful, which)
        orchestrator.begin(name)
        return orchestrator, name

    def begin(self, which: int) -> None:
        """Begin something useful, and stop at its first pause."""
        if self.useful:
            self.advance(*self.prepare(which))

    def work(self, which: int, fate: Fate) -> None:
        """Do something useful from beginning to end."""
        if self.useful:
            self.finish(*self.prepare(which), fate)

    def go_on(self, which: int, fate: Fate) -> None:
        """Something that has begun goes on a little."""
        if self.under_way:
            self.advance(*_pick(self.under_way, which), fate)

    def end(self, which: int, fate: Fate) -> None:
        """Something that has begun goes on to its end."""
        if self.under_way:
            self.finish(*_pick(self.under_way, which), fate)

    def kill(self, which: int) -> None:
        """Something that has begun never ends."""
        if self.under_way:
            self._kill_step(*_pick(self.under_way, which))

    def follow(self) -> None:
        """Capture catches up."""
        while "capture" in self.owner.useful():
            self._run("capture")

    def catch_up(self) -> None:
        """All goes well for a while."""
        self.copy_all()
        self.follow()
        for _ in range(MOST_ROUNDS):
            applicable = [name for name in self.owner.useful() if name.startswith("apply")]
            if not applicable:
                return
            self._run(applicable[0])
        raise LawBrokenError("catching up does not end")

    def copy_one(self, fate: Fate) -> None:
        """Copy the first chunk that is not loaded."""
        waiting = [chunk.number for chunk in self._chunks() if chunk.state != "loaded"]
        if waiting:
            self._run(f"copy {waiting[0]}", fate)

    def copy_late(self) -> None:
        """The rows of the first chunk are on their way: not its begin, which is a COMMIT, too."""
        self._commit(f"copy {self._chunks()[0].number}", "load.before_commit", Fate.POSTPONE)

    def copy_all(self) -> None:
        """The backfill phase, undisturbed."""
        for _ in self._chunks():
            self.copy_one(Fate.APPLY)

    def settle_late(self, key: Key) -> None:
        """What the ledger was to settle of a batch lands when its key has been applied again, and changed once more."""
        self.write("put", key, key, None, captured=True)
        for lane in range(LANES):
            self._commit(f"apply {lane}", "settle.before_commit", Fate.POSTPONE)
        self.catch_up()
        self.write("put", key, key, None, captured=True)
        self._let_all_land()

    def load_late(self) -> None:
        """Rows of a chunk land when their table has been emptied."""
        self.undo_backfill(False)
        for chunk in self._chunks():
            self._commit(f"copy {chunk.number}", "load.before_commit", Fate.POSTPONE)
        self.undo_backfill(False)
        self._let_all_land()

    def _commit(self, name: str, where: str, fate: Fate) -> None:
        """From beginning to end; the COMMIT at that place meets its fate."""
        self.owner.begin(name)
        for _ in range(MOST_PAUSES):
            step = self.owner.steps.get(name)
            if step is None:
                return
            self.advance(self.owner, name, fate if step.where == where else Fate.APPLY)
        raise LawBrokenError(f"{name} never ends")

    def start(self, fate: Fate) -> None:
        """The capture phase: repeated until its position is durable, also when a first attempt may land later."""
        self._run("start", fate)
        self._run("start")

    def start_again(self) -> None:
        """The capture phase is resumed, and this attempt is slow."""
        self.owner.begin("start")
        self.advance(self.owner, "start")

    def constrain(self) -> None:
        """Build the unique constraints if the chunks are loaded and no value is on its way between two rows."""
        if all(chunk.state == "loaded" for chunk in self._chunks()):
            self._undisturbed().lane_marks(self.owner.scope)
            with suppress(UniqueConflictError):
                self._schema.create_constraints(self.owner.scope, [STREAM])

    def reconcile(self, hands: Sequence[Key], events: Sequence[Event]) -> None:
        """The reconcile phase over what is loaded, while foreign hands change rows before each look at the target.

        Once it has ended, a key that was wrong from its beginning to its end is known: it is on record, or will be
        looked at by the cutover, because it is dirty or touched.
        """
        self.catch_up()
        owner, left = self.owner, list(events)
        for key in hands:
            self.tamper(key)
        self._wrong = set(KEYS)
        owner.begin("reconcile")
        step = owner.steps["reconcile"]
        for _ in range(MOST_PAUSES):
            self.check()
            if owner.steps.get("reconcile") is not step or owner is not self.owner:
                break
            if step.where == "sleep":
                for event in left[:1]:
                    self.happen(event)
                del left[:1]
                self.catch_up()
            if step.where == "target.read_keys":
                for key in hands:
                    self.tamper(key)
            self.advance(owner, "reconcile")
        else:
            raise LawBrokenError(f"{step} never ends")
        if step.finished and step.error is None:
            self._check_known()

    def happen(self, event: Event) -> None:
        """One of the methods here, and the laws."""
        name, *arguments = event
        getattr(self, name)(*arguments)
        self.check()

    def repair(self, key: Key) -> None:
        """Reconcile doubts a key."""
        self.owner.progress.mark_dirty(self.owner.scope, [(STREAM.name, key)])

    def undo_backfill(self, and_do_again: bool) -> None:
        """Empty the tables and plan the chunks again, in the same epoch: marks alone have to be enough.

        Our own steps are stopped, but what they have sent may still land. Constraints, built later, are undone before.
        """
        self._referred.clear()
        for name in list(self.owner.steps):
            self._kill_step(self.owner, name)
        progress = self._undisturbed()
        progress.lane_marks(self.owner.scope)
        self._schema.drop_constraints(self.owner.scope, [STREAM])
        progress.forget_chunks(self.owner.scope, [STREAM])
        self._plan()
        if and_do_again:
            self.copy_all()

    def _plan(self) -> None:
        self.owner.progress.plan_chunks(self.owner.scope, STREAM, SPANS)

    def _run(self, name: str, fate: Fate = Fate.APPLY) -> None:
        self.owner.begin(name)
        self.finish(self.owner, name, fate)

    # --- time and accidents

    def advance(self, orchestrator: Orchestrator, name: str, fate: Fate = Fate.APPLY) -> None:
        """Let a step go on to its next pause; if it commits, its COMMIT meets this fate."""
        self._next_fate = fate
        self._go_on(orchestrator, name)
        self._next_fate = Fate.APPLY

    def finish(self, orchestrator: Orchestrator, name: str, fate: Fate = Fate.APPLY) -> None:
        """Let a step go on to its end; its next COMMIT meets this fate. Who is in its way at the gate goes on too."""
        self._next_fate = fate
        for _ in range(MOST_PAUSES):
            if name not in orchestrator.steps:
                break
            if orchestrator.steps[name].where == "gate":
                for other in list(orchestrator.steps):
                    self._go_on(orchestrator, other)
            else:
                self._go_on(orchestrator, name)
        else:
            raise LawBrokenError(f"{orchestrator.steps[name]} never ends")
        self._next_fate = Fate.APPLY

    def land(self, which: int) -> None:
        """A COMMIT that was on its way arrives."""
        if self._on_their_way:
            store, postponed = _pick(self._on_their_way, which)
            store.land(postponed)

    @property
    def _on_their_way(self) -> list[tuple[WatchedStore, Postponed]]:
        stores = [self.store, self.ledger] if self.detached else [self.store]
        return [(store, postponed) for store in stores for postponed in store.postponed]

    def take_over(self, old_one_lives: bool) -> None:
        """Another process takes the lease: the old one is dead, or goes on as a zombie."""
        old = self.owner
        self.owner = self._orchestrator()
        self.zombies.append(old)
        if not old_one_lives:
            self._kill(old)
        while len(self.zombies) > MOST_ZOMBIES:
            self._kill(self.zombies[0])

    def _kill_step(self, orchestrator: Orchestrator, name: str) -> None:
        """A worker dies with what it has in memory."""
        orchestrator.steps.pop(name).kill()

    def _kill(self, orchestrator: Orchestrator) -> None:
        for name in list(orchestrator.steps):
            self._kill_step(orchestrator, name)
        self.zombies.remove(orchestrator)

    def close(self) -> None:
        """End all threads."""
        for orchestrator, name in self.under_way:
            self._kill_step(orchestrator, name)

    def _go_on(self, orchestrator: Orchestrator, name: str) -> None:
        step = orchestrator.steps.get(name)
        if step is not None:
            step.advance()
            if step.finished:
                del orchestrator.steps[name]
                _judge(step)

    def _fate(self, _name: str) -> Fate:
        fate, self._next_fate = self._next_fate, Fate.APPLY
        return fate

    # --- cutover and laws

    def cut_over(self, seal: bool = False) -> None:
        """Writers stand still: drain to a marker, compare; then all that is late comes, compare again. With
        `seal` it comes while the lanes are sealed, and somebody writes all the same."""
        self._drain()
        self._compare("after the drain")
        if seal:
            with self._sealed():
                self.write("put", KEYS[0], KEYS[0], None, captured=True)  # a writer that nobody stopped
                for lane in range(LANES):
                    self._run(f"apply {lane}")
                self._let_all_come()
            self._drain()
        self._let_all_come()
        self._compare("after the drain and everything late")

    @contextmanager
    def _sealed(self) -> Iterator[None]:
        """What was compared stays as it is, whatever is on its way (`rules.md` I5)."""
        progress, scope = self._undisturbed(), self.owner.scope
        progress.forget_touched(scope)
        progress.seal(scope, len(KEYS))
        self.store.sealed = self.ledger.sealed = True
        yield
        self.store.sealed = self.ledger.sealed = False
        progress.unseal(scope)

    def _let_all_come(self) -> None:
        for orchestrator, name in self.under_way:
            self.finish(orchestrator, name)
        self._let_all_land()

    def _let_all_land(self) -> None:
        while self._on_their_way:
            self.land(0)

    def check(self) -> None:
        """Every change later than what a row holds is still to be applied, or already is."""
        pending = self._pending()
        self._wrong = {key for key in self._wrong if self._held(key) != self._current(key)}
        loaded = [chunk.span for chunk in self._chunks() if chunk.state == "loaded"]
        # Its rows are there before a ledger says so. None of them is seen as data: the next attempt clears its span.
        maybe = [chunk.span for chunk in self._chunks() if chunk.state == "pending" and self.detached]
        for key in KEYS:
            held = self._held(key)
            if not any(holds(span, key) for span in loaded):
                if held is not None and not any(holds(span, key) for span in maybe):
                    raise LawBrokenError(f"key {KEYS.index(key)} is on the target before its chunk is loaded: {held}")
            elif held != self._current(key) and key not in pending and not self._is_foreign(key):
                raise LawBrokenError(f"key {KEYS.index(key)} stays {held}, the source has {self._current(key)}")

        self._check_record()
        self._check_strangers()

    def _pending(self) -> set[Key]:
        """Keys of changes that are still to be applied."""
        progress, scope = self.owner.progress, self.owner.scope
        position = progress.position(scope)
        kept = -1 if position is None else int.from_bytes(position.token, "big")
        return progress.still_dirty(scope, STREAM, KEYS) | {key for sequence, key in self._events if sequence > kept}

    def _check_strangers(self) -> None:
        """Rows of others go only with a document that was gone."""
        for key in self._referred - self._gone:
            if (STREAM.table, key) not in self.store.state.referred:
                raise LawBrokenError(f"a stranger's row went with key {KEYS.index(key)}, whose document was never gone")

    def _check_known(self) -> None:
        touched = {key for _, key in self.ledger.state.feed(self.owner.scope).touched}
        for key in self._wrong - self.owner.recorded() - touched - self._pending():
            raise LawBrokenError(f"key {KEYS.index(key)} was wrong all the time, and no cutover will look at it")

    def _check_record(self) -> None:
        """What a comparison has named stays named while the row is as it was."""
        recorded = self.owner.recorded()
        for key in KEYS:
            if self._is_foreign(key) and key in recorded:
                self._named[key] = self._foreign[key]
            if key in self._named and self._held(key) == self._named[key] and key not in recorded:
                raise LawBrokenError(f"key {KEYS.index(key)} is off the record, and still wrong: {self._named[key]}")

    def _is_foreign(self, key: Key) -> bool:
        """Whether the row is as a foreign hand has left it."""
        return key in self._foreign and self._held(key) == self._foreign[key]

    def _drain(self) -> None:
        owner = self.owner
        for name in list(owner.steps):
            self.finish(owner, name)
        self._run("start")
        self._marker += 1
        owner.source.put_marker(str(self._marker))
        for _ in range(MOST_ROUNDS):
            for chunk in self._chunks():
                if chunk.state != "loaded":
                    self._run(f"copy {chunk.number}")
            self._run("capture")
            for lane in range(LANES):
                self._run(f"apply {lane}")
            loaded = all(chunk.state == "loaded" for chunk in self._chunks())
            captured = owner.progress.marker_seen(owner.scope, str(self._marker))
            if loaded and captured and owner.progress.backlog(owner.scope).dirty == 0:
                return
        raise LawBrokenError(f"the drain does not end: {owner.progress.backlog(owner.scope).dirty} dirty keys are left")

    def _compare(self, when: str) -> None:
        self.check()
        for key in KEYS:
            held, current = self._held(key), self._current(key)
            if held != current and not self._is_foreign(key):
                raise LawBrokenError(f"{when}: key {KEYS.index(key)} is {held}, the source has {current}")

    def _chunks(self) -> list[Chunk]:
        return self.owner.progress.chunks(self.owner.scope, STREAM)

    def _held(self, key: Key) -> Row | Quarantined | None:
        """What the target holds: a row or a quarantine entry, never both."""
        row = self.store.state.rows[STREAM.table].get(key)
        entry = self.owner.progress.quarantined(self.owner.scope, STREAM, key)
        if row is not None and entry is not None and not (self.detached and key in self._pending()):
            raise LawBrokenError(f"key {KEYS.index(key)} is both a row and in quarantine")
        return row or entry


def _pick(items: Sequence[T], which: int) -> T:
    return items[which % len(items)]


def _judge(step: Step) -> None:
    """What a step may end with; its service would try again."""
    error = step.error
    if isinstance(error, TimeoutError | TransientError | AmbiguousCommitError | MarkMovedError | EpochMovedError):
        return
    if isinstance(error, ConnectorError):
        raise LawBrokenError(f"{step.name}: {error}") from error
    if error is not None:
        raise error
