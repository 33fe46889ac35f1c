"""The rules: what can happen next in the world.

Most faults need a few events close together, in the middle of something; `be_overtaken` makes these likely. The other
rules make every schedule possible.
"""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from tests.interleaving.orchestrators import KEYS
from tests.interleaving.world import Event, World
from tranship.connectors.memory import Fate
from tranship.connectors.protocols import Key

keys = st.sampled_from([KEYS[0], KEYS[0], *KEYS])
codes = st.sampled_from(["a", "b", None])
picks = st.sampled_from(range(12))
fates = st.sampled_from([*4 * [Fate.APPLY], Fate.POSTPONE, Fate.POSTPONE, Fate.LOSE_ACKNOWLEDGEMENT, Fate.LOSE])
often = st.sampled_from([True, True, False])
verbs = st.sampled_from(["put", "put", "put", "delete", "reinsert", "move", "spoil"])

hands = st.lists(keys, max_size=2, unique=True)

copies: st.SearchStrategy[list[Fate]] = st.one_of(st.just([]), st.lists(fates, min_size=1, max_size=3))


def weighted(*weights: tuple[int, st.SearchStrategy[Event]]) -> st.SearchStrategy[Event]:
    """One of the strategies, each as often as its weight says (`one_of` counts equal ones once)."""
    options = [strategy for weight, strategy in weights for _ in range(weight)]
    return st.sampled_from(range(len(options))).flatmap(lambda index: options[index])


def event(name: str, *arguments: st.SearchStrategy[Any]) -> st.SearchStrategy[Event]:
    """A method of the world with its arguments."""
    return st.tuples(st.just(name), *arguments)


writes = event("write", verbs, keys, keys, codes, often)
work = event("work", picks, fates)
follow = event("follow")
land = event("land", picks)
undo = event("undo_backfill", st.sampled_from([False, False, True]))

anything = weighted(
    (4, writes),
    (5, work),
    (2, land),
    (2, event("begin", picks)),
    (4, event("go_on", picks, fates)),
    (2, event("end", picks, fates)),
    (1, event("kill", picks)),
    (1, undo),
    (1, event("take_over", st.booleans())),
    (1, event("repair", keys)),
    (1, event("tamper", keys)),
    (1, event("start_again")),
    (1, event("constrain")),
    (1, event("cut_over")),
)
meanwhile = weighted((6, writes), (1, follow), (3, work), (3, event("catch_up")), (1, undo), (1, land))
events = st.lists(meanwhile, min_size=1, max_size=4)
maybe_events = st.lists(meanwhile, max_size=3)
pauses = st.sampled_from([0, 1, 2, 2, 2, 3, 3, 4])


class Laws(RuleBasedStateMachine):
    """A world that begins somehow, its laws after each rule, and its end."""

    detached = False

    def __init__(self) -> None:
        super().__init__()
        self.world = World(detached=self.detached)

    @initialize(fate=fates, copies=copies, copied=st.booleans(), constrained=st.booleans())
    def start(self, fate: Fate, copies: list[Fate], copied: bool, constrained: bool) -> None:
        """Position before read: nothing is copied before a position is durable, however often that takes."""
        self._begin(fate)
        for fate_of_copy in copies:
            self.world.copy_one(fate_of_copy)
        if copied:
            self.world.copy_all()
        if constrained:
            self.world.constrain()

    @invariant()
    def laws_hold(self) -> None:
        """After every rule."""
        self.world.check()

    def teardown(self) -> None:
        """However it went, a cutover succeeds in the end."""
        try:
            self.world.cut_over(seal=True)
        finally:
            self.world.close()

    def _begin(self, fate: Fate = Fate.APPLY) -> None:
        for key, code in zip(KEYS, ("a", "b", None), strict=True):
            self.world.write("put", key, key, code)
        self.world.start(fate)

    def _do(self, *events: Event) -> None:
        for event in events:
            self.world.happen(event)


class Machine(Laws):
    """Applications write; orchestrators copy, capture and apply; things go wrong. The laws hold after each rule."""

    @rule(event=anything)
    def happen(self, event: Event) -> None:
        """Anything."""
        self._do(event)

    @precondition(lambda self: self.world.useful)
    @rule(which=picks, pauses=pauses, events=events, fate=fates)
    def be_overtaken(self, which: int, pauses: int, events: list[Event], fate: Fate) -> None:
        """An orchestrator begins something, stops somewhere while other things happen, and goes on to its end."""
        orchestrator, name = self.world.prepare(which)
        for _ in range(pauses):
            self.world.advance(orchestrator, name)
        self._do(*events)
        self.world.finish(orchestrator, name, fate)

    @precondition(lambda self: self.world.useful)
    @rule(which=picks, before=maybe_events, pauses=pauses, after=events)
    def be_repeated(self, which: int, before: list[Event], pauses: int, after: list[Event]) -> None:
        """A COMMIT seems lost and its step is repeated, in the middle of which the first one lands after all."""
        orchestrator, name = self.world.prepare(which)
        self.world.finish(orchestrator, name, Fate.POSTPONE)
        self._do(*before)
        orchestrator.begin(name)
        for _ in range(pauses):
            self.world.advance(orchestrator, name)
        self.world.land(-1)
        self._do(*after)
        self.world.finish(orchestrator, name)

    @rule(events=events, pauses=pauses)
    def copy_once_more(self, events: list[Event], pauses: int) -> None:
        """The backfill is undone and done again while a load of the first time is on its way."""
        self.world.undo_backfill(False)
        self.world.copy_late()
        self._do(*events)
        self.world.undo_backfill(False)
        self.world.begin(0)
        for _ in range(pauses):
            self.world.go_on(0, Fate.APPLY)
        self.world.land(-1)


class StrangersMachine(Machine):
    """The same among other applications: they hang their rows on ours, and change ours while the run compares.

    A machine of its own, because what these rules cost the others would not have.
    """

    @rule(key=keys)
    def be_referred_to(self, key: Key) -> None:
        """Another application's row refers to one of ours."""
        self.world.refer(key)

    @rule(hands=hands, events=maybe_events)
    def be_compared(self, hands: list[Key], events: list[Event]) -> None:
        """The reconcile phase, in the middle of other things."""
        self.world.reconcile(hands, events)


class DetachedMachine(Machine):
    """The same over a target that keeps its own marks, and a ledger that shares no transaction with it."""

    detached = True

    @rule(key=keys)
    def be_settled_late(self, key: Key) -> None:
        """Between the two commits of a batch a connection is lost, and the second one is late."""
        self.world.settle_late(key)

    @rule()
    def be_loaded_late(self) -> None:
        """The rows of a chunk are on their way while the backfill is undone."""
        self.world.load_late()


class FirstCopiesMachine(Laws):
    """Nothing is copied yet, and each copy is overtaken: for mutants whose fault only the first ones show."""

    @initialize()
    def start(self) -> None:
        """The documents alone."""
        self._begin()

    be_overtaken = Machine.be_overtaken


class Copied(Laws):
    """A world in which all is copied: for mutants that need a few of many events."""

    @initialize()
    def start(self) -> None:
        """A backfill that nothing has disturbed."""
        self._begin()
        self.world.copy_all()


class LateMachine(Copied):
    """What is applied is overtaken and repeated: for mutants that look at something too late, or not at all."""

    @rule(event=writes)
    def write(self, event: Event) -> None:
        """An application writes."""
        self._do(event)

    be_overtaken = Machine.be_overtaken
    be_repeated = Machine.be_repeated


def only(*weights: tuple[int, st.SearchStrategy[Event]], over_detached: bool = False) -> type[Copied]:
    """A machine in which nothing happens but this."""

    class Only(Copied):
        detached = over_detached

        @rule(event=weighted(*weights))
        def happen(self, event: Event) -> None:
            """One of them."""
            self._do(event)

    return Only


RecordMachine = only((2, event("tamper", keys)), (3, work), (2, writes), (1, event("repair", keys)))
"""Foreign hands change rows, and comparisons put them on record."""

CaptureMachine = only((2, writes), (3, work))
"""Changes are captured and applied, and COMMITs meet their fates."""

KillsMachine = only(
    (3, writes), (2, event("begin", picks)), (4, event("go_on", picks, fates)), (1, event("kill", picks))
)
"""What has begun never ends."""

StartsMachine = only((2, writes), (1, event("start_again")), (2, event("end", picks, fates)), (1, follow), (2, work))
"""The capture phase is carried out again and again."""

ValuesMachine = only((4, writes), (3, work), (1, event("constrain")), (1, event("catch_up")))
"""Unique values pass between rows."""

DetachedZombiesMachine = only(
    (2, writes), (2, work), (2, land), (1, undo), (1, event("take_over", st.booleans())), over_detached=True
)
"""Owners of the lease follow one another over a target that keeps its own marks, and COMMITs of old ones land."""
