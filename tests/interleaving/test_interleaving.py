"""The protocol under the interleavings that Hypothesis thinks of, and proof that it would notice a broken one."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import run_state_machine_as_test

from tests.interleaving.machine import DetachedMachine, Machine, StrangersMachine
from tests.interleaving.mutants import MUTANTS, Mutant
from tests.interleaving.orchestrators import LawBrokenError
from tranship.orchestrator.dataplane import reconcile

COMMON = settings(deadline=None, database=None, print_blob=True, suppress_health_check=list(HealthCheck))


@pytest.fixture(autouse=True)
def _few_rounds(monkeypatch: pytest.MonkeyPatch) -> None:
    """A comparison under foreign hands looks at a key so often; more rounds show nothing else here."""
    monkeypatch.setattr(reconcile, "ROUNDS", 2)
    monkeypatch.setattr(reconcile, "MOST_ROUNDS", 3)


@pytest.mark.parametrize(("machine", "examples"), [(Machine, 150), (StrangersMachine, 40), (DetachedMachine, 50)])
def test_the_laws_hold(machine: type[Machine], examples: int) -> None:
    run_state_machine_as_test(machine, settings=settings(COMMON, max_examples=examples, stateful_step_count=50))


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_a_broken_protocol_is_found(mutant: Mutant, monkeypatch: pytest.MonkeyPatch) -> None:
    for owner, name, broken in mutant.places:
        monkeypatch.setattr(owner, name, broken)
    steps = mutant.steps
    budget = settings(COMMON, max_examples=5000, stateful_step_count=steps, derandomize=True, phases=[Phase.generate])
    with pytest.raises(LawBrokenError):
        run_state_machine_as_test(mutant.machine, settings=budget)
