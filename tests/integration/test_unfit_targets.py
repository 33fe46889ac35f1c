"""Addresses that lead to no server a run may write to by now: every command says so and records nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager

import pytest

from tests.integration.proxy import postgresql_proxy
from tests.integration.route import STATE, THINGS, Route, things

FINISHED, REFUSED, ROLLED_BACK, PAUSED = 0, 3, 4, 7

RECORDED = ("journal", "request", "lease", "backend", "epoch", "run", "divergence", "touched", "dirty")


def _recorded(route: Route) -> list[list[tuple[object, ...]]]:
    return [route.query(f"select t::text from {STATE}.{table} as t order by 1") for table in RECORDED]


@contextmanager
def _pooler(uri: str) -> Iterator[str]:
    with postgresql_proxy(uri, pooling=True) as (_, through):
        yield through


@contextmanager
def _standby(uri: str) -> Iterator[str]:
    """Of a standby this is what its clients meet."""
    yield f"{uri}{'&' if '?' in uri else '?'}options=-c%20default_transaction_read_only%3Don"


@pytest.mark.parametrize(("unfit", "code"), [(_pooler, "target.pooler"), (_standby, "target.read_only")])
def test_every_command_that_writes_is_refused_and_records_nothing(
    route: Route, unfit: Callable[[str], AbstractContextManager[str]], code: str
) -> None:
    route.documents().insert_many(things(20))
    plan = route.plan(THINGS)
    child = route.run_to_approval(plan)
    with unfit(route.target_uri) as address:
        for command in ("approve", "pause"):
            refused, said = route.tranship(command, plan, TARGET_URI=address)
            assert (refused, code in said) == (REFUSED, True), (command, said)
        assert route.tranship("pause", plan)[0] == FINISHED
        assert child.wait() == PAUSED
        before, target = _recorded(route), route.target()
        for command in ("run", "resume", "rollback", "reseed", "reconcile", "check", "quarantine retry"):
            refused, said = route.tranship(*command.split(), plan, TARGET_URI=address)
            assert (refused, code in said) == (REFUSED, True), (command, said)
        assert route.tranship("status", plan, TARGET_URI=address)[0] == FINISHED
        assert (_recorded(route), route.target()) == (before, target)
        assert route.tranship("rollback", plan)[0] == FINISHED
        before = _recorded(route)
        refused, said = route.tranship("purge", plan, "--yes", TARGET_URI=address)
        assert (refused, code in said) == (REFUSED, True), said
        assert _recorded(route) == before
    assert route.tranship("purge", plan, "--yes")[0] == FINISHED
    assert not route.has_state()
