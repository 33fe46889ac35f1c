"""The phases of a run, and the strategies, which are lists of phases: the one place that names them.

A strategy or phase that the program does not have yet stands in `LATER_…`: a plan that asks for it is refused with a
message that says so, never run without it.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from types import MappingProxyType
from typing import TypeAlias


class PhaseName(StrEnum):
    """A phase, as plans, journal and status call it."""

    PREFLIGHT = "preflight"
    EXPAND = "expand"
    CAPTURE = "capture"
    BACKFILL = "backfill"
    INDEX = "index"
    CATCH_UP = "catch-up"
    CONSTRAIN = "constrain"
    RECONCILE = "reconcile"
    FENCE = "fence"
    DRAIN = "drain"
    VERIFY = "verify"
    SEAL = "seal"
    SWITCH = "switch"
    OPEN = "open"


class Group(StrEnum):
    """Phases that are one attempt together: one approval and one lift, but no undo of their own.

    Undone one by one in reverse they would close the target before the source is the primary again (`rules.md` J10).
    What is approved and what a policy is about is called by the group's name.
    """

    CUTOVER = "cutover"


Stage: TypeAlias = PhaseName | Group
"""What a person approves, and what a plan has a policy for: a group as a whole, and each phase that is in none."""


class Trait(StrEnum):
    """What a phase means for the run as a whole: engine, steps and services go by traits, and by no phase's name."""

    FOLLOWS = "follows"
    """Once it is done the source is followed: what changes there is kept."""
    READS = "reads"
    """From its beginning on documents are read, so that some may be in quarantine."""
    APPLIES = "applies"
    """From its beginning on what is kept is applied to the target."""
    COMPARES = "compares"
    """Once it is verified all rows have been compared, and are compared on beside the run until the pivot's group."""
    EPOCH = "epoch"
    """It begins with a new epoch: what was begun before it cannot commit any more."""
    SEALS = "seals"
    """Once it is done nothing is applied any more, so that what was proven stays true."""
    PIVOT = "pivot"
    """Its end is the switch, behind which nothing is lifted and nothing undone. It ends by what a server says."""


TRAITS: Mapping[PhaseName, frozenset[Trait]] = MappingProxyType(
    {
        PhaseName.PREFLIGHT: frozenset[Trait](),
        PhaseName.EXPAND: frozenset[Trait](),
        PhaseName.CAPTURE: frozenset({Trait.FOLLOWS}),
        PhaseName.BACKFILL: frozenset({Trait.READS}),
        PhaseName.INDEX: frozenset[Trait](),
        PhaseName.CATCH_UP: frozenset({Trait.APPLIES}),
        PhaseName.CONSTRAIN: frozenset[Trait](),
        PhaseName.RECONCILE: frozenset({Trait.COMPARES}),
        PhaseName.FENCE: frozenset({Trait.EPOCH}),
        PhaseName.DRAIN: frozenset[Trait](),
        PhaseName.VERIFY: frozenset[Trait](),
        PhaseName.SEAL: frozenset({Trait.SEALS}),
        PhaseName.SWITCH: frozenset({Trait.PIVOT}),
        PhaseName.OPEN: frozenset[Trait](),
    }
)

GROUPS: Mapping[Group, tuple[PhaseName, ...]] = MappingProxyType(
    {
        # Verified before the seal: what is behind it is proven by the seal's own transaction. Opened behind the switch:
        # a target that takes writes before the source has stopped would be a second primary (`rules.md` J7-J9).
        Group.CUTOVER: (
            PhaseName.FENCE,
            PhaseName.DRAIN,
            PhaseName.VERIFY,
            PhaseName.SEAL,
            PhaseName.SWITCH,
            PhaseName.OPEN,
        ),
    }
)

STAGES: tuple[Stage, ...] = (
    *(phase for phase in PhaseName if not any(phase in phases for phases in GROUPS.values())),
    *Group,
)


def group_of(phase: PhaseName) -> Group | None:
    """The group that a phase is in."""
    return next((group for group, phases in GROUPS.items() if phase in phases), None)


def stage_of(phase: PhaseName) -> Stage:
    """Under which name a phase is approved: its group's, or its own."""
    return group_of(phase) or phase


def begins(phase: PhaseName) -> bool:
    """Whether an intent is written before a phase: behind the first one of a group its attempt has begun already."""
    group = group_of(phase)
    return group is None or GROUPS[group][0] is phase


def named(name: str) -> PhaseName | Group:
    """The phase or group of this name. Raises `ValueError`."""
    return Group(name) if name in set(Group) else PhaseName(name)


def is_pivot(phase: PhaseName | Group | None) -> bool:
    """Whether it, or one of the phases in it, is the switch."""
    if isinstance(phase, Group):
        return any(map(is_pivot, GROUPS[phase]))
    return phase is not None and Trait.PIVOT in TRAITS[phase]


STRATEGIES: Mapping[str, tuple[PhaseName, ...]] = MappingProxyType(
    {
        # Capture stands before backfill, so that every change later than what a chunk holds is still to be applied.
        # Unique indexes stand after catch-up, because correct data breaks them for a moment while chunks are read.
        "expand-contract": (
            PhaseName.PREFLIGHT,
            PhaseName.EXPAND,
            PhaseName.CAPTURE,
            PhaseName.BACKFILL,
            PhaseName.INDEX,
            PhaseName.CATCH_UP,
            PhaseName.CONSTRAIN,
            PhaseName.RECONCILE,
            *GROUPS[Group.CUTOVER],
        ),
    }
)

LATER_STRATEGIES = ("dual-write", "blue-green")
LATER_PHASES = ("soak", "contract")
