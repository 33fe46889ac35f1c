"""What keeps writers from the source during a cutover: the plan's `cutover.fence`.

`external`: the operator has stopped them, which is proven. `router`: the applications go through routers, which let
writes wait by themselves; a writer that does not is not stopped, which is why it has to be asked for. The others are
kept by the source's server, which refuses writes; routers that live let theirs wait before, so that none is refused.
"""

from __future__ import annotations

import math
from typing import Protocol

from tranship.connectors.errors import TakenOverError
from tranship.connectors.protocols import Finding
from tranship.connectors.protocols.fencing import Fenced, Writer
from tranship.connectors.protocols.fencing import FenceKind as ServerFence
from tranship.connectors.registry import Source
from tranship.orchestrator.dataplane.drain import pass_marker
from tranship.orchestrator.dataplane.run import Run
from tranship.orchestrator.failpoints import reached
from tranship.orchestrator.phases import RefusedToActError
from tranship.orchestrator.phases.cutover.checks import MARKER_LIMIT_S, prove_still
from tranship.plans import Plan
from tranship.plans.resolution import writer_logins
from tranship.plans.streams import Stream

HASTE_S = 0.05
"""How often routers are asked to look at the record while a fence may come."""
HEARD_S = 0.3
"""After so long they have heard of it: longer than they leave between two looks (`docs/router-protocol.md`)."""
ACKNOWLEDGED_POLL_S = 0.005
MOST_TOUCHED = 300
"""Keys that may be left to compare behind the fence."""
LOOKS = 10
SHARE_FOR_ROUTERS = 0.5
"""Of the fence's time, for routers to acknowledge: what is left is for all that comes behind it."""


class Fencing(Protocol):
    """A run, or a plan, as far as its fence is about it."""

    @property
    def plan(self) -> Plan: ...

    @property
    def streams(self) -> tuple[Stream, ...]: ...


class FenceKind(Protocol):
    """One way to keep writers away."""

    stops_writers: bool
    """Whether applications wait because of it, so that it needs a deadline and a guard."""
    known_early: bool
    """Whether what is against it is so from the beginning of a run on."""

    def objections(self, run: Fencing, source: Source) -> list[str]:
        """What would keep it from being raised now; reads only."""

    def prepare(self, run: Run) -> FenceKind:
        """Before the guard starts, which takes a while: nobody waits yet. Returns what is to be raised: of several
        kinds the one that was chosen. Raises `RefusedToActError`."""

    def look(self, run: Run) -> None:
        """Directly before the fence is raised: see to it that little is left behind it. Raises `RefusedToActError`."""

    def stop_writers(self, run: Run, version: int) -> None:
        """Behind the record's swap: return once no write can come any more that a marker from now on would not be
        behind. Raises `RefusedToActError`."""

    def prove_still(self, run: Run) -> None:
        """Before the pivot, once more. Raises `RefusedToActError`."""

    def lower(self, run: Run) -> None:
        """Behind the attempt, however it ended. Idempotent."""


class External:
    """The writers were stopped by hand."""

    stops_writers = False
    known_early = False

    def objections(self, run: Fencing, source: Source) -> list[str]:  # noqa: ARG002
        """That the writers have stopped is seen once they have been."""
        return []

    def prepare(self, run: Run) -> FenceKind:  # noqa: ARG002
        """Nothing to prepare."""
        return self

    def look(self, run: Run) -> None:
        """However much is left: the writers stand still already, and not for us."""

    def stop_writers(self, run: Run, version: int) -> None:  # noqa: ARG002
        """No event of a migrated collection for `cutover.quiet`, up to where capture has looked."""
        wanted, limit = run.plan.cutover.quiet, run.plan.cutover.deadline
        # Before it, capture may have looked last before a pause: the quiet time that it knows of would be that of then.
        pass_marker(run, MARKER_LIMIT_S)

        def quiet() -> bool:
            backlog = run.progress.backlog(run.scope)
            return backlog.quiet_s - backlog.capture_age_s >= wanted

        try:
            run.wait(quiet, limit + wanted, f"{wanted:g} s without a write to a migrated collection")
        except TimeoutError as error:
            raise RefusedToActError(
                f"the source is still written to ({error}). Nothing was changed and the target keeps following. "
                "Stop the writers, then approve the cutover again."
            ) from error

    def prove_still(self, run: Run) -> None:
        # Nothing is applied any more: whatever came since is dirty.
        prove_still(run)

    def lower(self, run: Run) -> None:
        """Nobody was stopped."""


class _Raised:
    """What fences that applications wait for have in common."""

    stops_writers = True

    def look(self, run: Run) -> None:
        _look_beforehand(run)

    def lower(self, run: Run) -> None:
        run.source.records.hasten(run.id, None)

    def _get_ready(self, run: Run) -> None:
        _look_beforehand(run)
        run.source.records.hasten(run.id, HASTE_S)
        run.clock.sleep(HEARD_S)


class ByRouter(_Raised):
    """Routers let writes wait."""

    known_early = False

    def objections(self, run: Fencing, source: Source) -> list[str]:
        if source.records.routers(run.plan.name):
            return []
        return [
            f"no router of plan {run.plan.name} lives: `fence: router` stops only applications that write through one "
            "(docs/router-protocol.md)"
        ]

    def prepare(self, run: Run) -> FenceKind:
        for why in self.objections(run, run.source):
            raise RefusedToActError(f"{why}. Nothing was switched")
        self._get_ready(run)
        return self

    def stop_writers(self, run: Run, version: int) -> None:
        await_routers(run, version)

    def prove_still(self, run: Run) -> None:
        """The routers have said so, and what was written since the seal is shown behind the switch."""


class ByServer(_Raised):
    """The source's server refuses what applications write: by the first of some kinds that can be raised."""

    known_early = True

    def __init__(self, *kinds: ServerFence) -> None:
        self._kinds = kinds

    def objections(self, run: Fencing, source: Source) -> list[str]:
        chosen, found = self._choose(run, source)
        return [] if chosen is not None else found

    def prepare(self, run: Run) -> FenceKind:
        chosen, found = self._choose(run, run.source)
        if chosen is None:
            raise RefusedToActError(f"{'; '.join(found)}. Nothing was switched")
        self._get_ready(run)
        return ByServer(chosen)

    def stop_writers(self, run: Run, version: int) -> None:
        (kind,), fences = self._kinds, run.source.fences
        assert fences is not None
        # Theirs first: what waits is not refused (`rules.md` J5).
        await_routers(run, version)
        try:
            command = fences.register_raise(run.id, version, kind, fenced_of(run))
            reached("raise.after_register")
            fences.send(command)
        except TakenOverError as error:
            raise RefusedToActError(f"{error}; nothing was switched") from error
        reached("raise.after_command")
        if passing := fences.try_writers(kind, fenced_of(run)):
            raise RefusedToActError(f"the fence ({kind}) does not hold: {'; '.join(passing)}. Nothing was switched")

    def prove_still(self, run: Run) -> None:
        """What a fence lets through, deletes behind validators or users that are not declared, would be seen here."""
        prove_still(run)

    def _choose(self, run: Fencing, source: Source) -> tuple[ServerFence | None, list[str]]:
        """The first kind that nothing is against, or all that is against each of them."""
        if source.fences is None:
            return None, ["the source's server keeps no fences"]
        found = []
        for kind in self._kinds:
            against = source.fences.objections(kind, fenced_of(run))
            if not against:
                return kind, []
            found += [f"fence {kind}: {why}" for why in against]
        return None, found


def left_s(run: Run) -> float:
    """For how long the fence may still stand: what takes longer would only keep writers waiting for nothing."""
    if not fence_of(run).stops_writers:
        return math.inf
    return max(0.0, run.fenced_at + run.plan.cutover.deadline - run.clock.now())


def findings(run: Fencing, source: Source) -> list[Finding]:
    """What is against the plan's fence already now: for preflight."""
    kind = fence_of(run)
    against = kind.objections(run, source) if kind.known_early else []
    hint = "docs/privileges.md lists what a fence needs; or name another one (docs/plans.md)"
    return [Finding("source.fence", "error", why, hint) for why in against]


def fenced_of(run: Fencing) -> Fenced:
    """Whom and what a fence of the source's server is about."""
    writers = (Writer(user, database, login) for user, database, login in writer_logins(run.plan))
    return Fenced(tuple(writers), run.streams)


def await_routers(run: Run, version: int) -> None:
    """Return once every router that lives has let its writes end. Raises `RefusedToActError`."""
    limit = SHARE_FOR_ROUTERS * run.plan.cutover.deadline

    def missing() -> list[str]:
        living = run.source.records.routers(run.plan.name)
        return [one.instance for one in living if one.acknowledged != (run.id, version)]

    try:
        run.wait(lambda: not missing(), limit, "routers to let their writes end", poll_s=ACKNOWLEDGED_POLL_S)
    except TimeoutError as error:
        raise RefusedToActError(
            f"{error}: {', '.join(missing())}; nothing was switched. A write of theirs takes longer than that"
        ) from error


def _look_beforehand(run: Run) -> None:
    """Compare touched keys while nobody waits for it, until few are left to be compared behind the fence."""
    from tranship.orchestrator.dataplane.touched import Sides  # with Arrow: who only asks about a fence needs none

    sides = Sides(run.source, run.target, run.progress, run.scope)
    for _ in range(LOOKS):
        for stream in run.streams:
            for _ in sides.forget_equal(stream):
                run.tick()
        left = sum(len(run.progress.touched(run.scope, s, None, MOST_TOUCHED + 1)) for s in run.streams)
        if left <= MOST_TOUCHED:
            return
    raise RefusedToActError(
        f"more than {MOST_TOUCHED} keys change between two comparisons: writers would wait for too long behind a "
        "fence. Nothing was switched; try again when less is written"
    )


_KINDS: dict[str, FenceKind] = {
    "external": External(),
    "router": ByRouter(),
    "auto": ByServer(ServerFence.WRITE_BLOCK, ServerFence.ROLES),
    **{kind.value: ByServer(kind) for kind in ServerFence},
}


def fence_of(run: Fencing) -> FenceKind:
    """What the plan says."""
    return _KINDS[run.plan.cutover.fence]
