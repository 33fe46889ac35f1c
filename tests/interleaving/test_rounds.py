"""Forward, reverse, forward, under the interleavings that Hypothesis thinks of: no acknowledged write is lost."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test

from tests.interleaving.orchestrators import KEYS, LawBrokenError
from tests.interleaving.rounds import Rounds
from tranship.connectors.memory import Fate, MemoryLedger
from tranship.connectors.memory.feed import FeedProgress
from tranship.connectors.protocols import Key, Scope
from tranship.orchestrator.journal.records import Record
from tranship.orchestrator.phases.cutover import fences, routing
from tranship.orchestrator.phases.cutover.drain import Drain
from tranship.orchestrator.phases.cutover.verify import Verify

COMMON = settings(deadline=None, database=None, print_blob=True, suppress_health_check=list(HealthCheck))

keys = st.sampled_from(KEYS)
picks = st.sampled_from(range(12))
often = st.sampled_from([True, True, False])
fates = st.sampled_from([*4 * [Fate.APPLY], Fate.POSTPONE, Fate.POSTPONE, Fate.LOSE_ACKNOWLEDGEMENT, Fate.LOSE])


class Turns(RuleBasedStateMachine):
    """Applications write, somebody captures and applies, and the law holds."""

    def __init__(self) -> None:
        super().__init__()
        self.world = Rounds()

    @rule(key=keys, delete=st.sampled_from([False, False, True]))
    def write(self, key: Key, delete: bool) -> None:
        self.world.write(key, delete)

    @rule(which=picks, fate=fates)
    def work(self, which: int, fate: Fate) -> None:
        self.world.work(which, fate)

    @invariant()
    def laws_hold(self) -> None:
        self.world.check()

    def teardown(self) -> None:
        try:
            self.world.complete()
        finally:
            self.world.close()


class HastyMachine(Turns):
    """Nothing goes wrong but that a cutover does not wait for anybody: for a mutant that looks at nothing."""

    @rule(pauses=st.sampled_from([5, 20, 60]))
    def turn(self, pauses: int) -> None:
        self.world.turn(pauses, Fate.APPLY)


class RoundsMachine(Turns):
    """Everything may happen between any two pauses of a cutover."""

    @rule(which=picks)
    def begin(self, which: int) -> None:
        self.world.begin(which)

    @rule(pauses=st.sampled_from([1, 2, 5, 20]), fate=fates)
    def turn(self, pauses: int, fate: Fate) -> None:
        self.world.turn(pauses, fate)

    @rule(which=picks, fate=fates)
    def go_on(self, which: int, fate: Fate) -> None:
        self.world.go_on(which, fate)

    @rule(which=picks)
    def kill(self, which: int) -> None:
        self.world.kill(which)

    @rule(old_one_lives=st.booleans())
    def take_over(self, old_one_lives: bool) -> None:
        self.world.take_over(old_one_lives)

    @rule(which=picks)
    def land(self, which: int) -> None:
        self.world.land(which)

    @rule()
    def round_goes_well(self) -> None:
        """A round to its end, so that later ones are reached; what is late stays late."""
        self.world.go_well()

    @rule(pauses=st.integers(1, 40), apply=often, old_one_lives=st.booleans())
    def die(self, pauses: int, apply: bool, old_one_lives: bool) -> None:
        self.world.die(pauses, apply, old_one_lives)

    @rule(key=keys)
    def be_outlived(self, key: Key) -> None:
        """Two rounds end while a batch of the first is on its way."""
        self.world.outlive(key)


def test_no_acknowledged_write_is_lost() -> None:
    run_state_machine_as_test(RoundsMachine, settings=settings(COMMON, max_examples=100, stateful_step_count=40))


def marks_from_the_beginning(self: FeedProgress) -> None:
    if self.sealed:
        self.lanes = [0 for _ in self.lanes]
        self.sealed = False


def nothing(_self: object, _run: object) -> Iterator[Record]:
    yield from ()


def sealed_whatever_is_left(self: MemoryLedger, scope: Scope, _most_divergences: int) -> None:
    self._store.transact("seal", scope, lambda state: state.feed(scope).seal())


def taken_back_in_any_case(_records: object, _id: object) -> None:
    return None


MACHINES = {"switched without a look": HastyMachine}

MUTANTS: dict[str, tuple[tuple[Any, str, Callable[..., Any]], ...]] = {
    "marks begin anew with a round": ((FeedProgress, "unseal", marks_from_the_beginning),),
    "switched without a look": (
        (Drain, "do", nothing),
        (Verify, "do", nothing),
        (MemoryLedger, "seal", sealed_whatever_is_left),
        (fences, "prove_still", lambda _run: None),
    ),
    "a lift takes no notice of the pivot": ((routing, "take_back", taken_back_in_any_case),),
}


@pytest.mark.parametrize("name", MUTANTS)
def test_a_broken_turn_is_found(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for owner, method, broken in MUTANTS[name]:
        monkeypatch.setattr(owner, method, broken)
    budget = settings(COMMON, max_examples=1000, stateful_step_count=40, derandomize=True, phases=[Phase.generate])
    with pytest.raises(LawBrokenError):
        run_state_machine_as_test(MACHINES.get(name, RoundsMachine), settings=budget)
