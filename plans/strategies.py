"""The phases of a run, and the strategies, which are lists of phases: the one place that names them.

A strategy or phase that the program does not have yet stands in `LATER_…`: a plan that asks for it is refused with a
message that says so, never run without it.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from types import MappingProxyType


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
    CUTOVER = "cutover"


class Trait(StrEnum):
    """What a phase means for the run as a whole: engine, steps and services go by traits, and by no phase's name."""

    FOLLOWS = "follows"
    """Once it is done the source is followed: what changes there is kept."""
    READS = "reads"
    """From its beginning on documents are read, so that some may be in quarantine."""
    APPLIES = "applies"
    """From its beginning on what is kept is applied to the target."""
    COMPARES = "compares"
    """Once it is verified all rows have been compared, and are compared on beside the run until the pivot begins."""
    PIVOT = "pivot"
    """Its end is the switch, behind which nothing is undone. It is one attempt: an interrupted one is approved anew."""


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
        PhaseName.CUTOVER: frozenset({Trait.PIVOT}),
    }
)


def is_pivot(phase: PhaseName | None) -> bool:
    """Whether a phase's end is the switch."""
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
            PhaseName.CUTOVER,
        ),
    }
)

LATER_STRATEGIES = ("dual-write", "blue-green")
LATER_PHASES = ("soak", "contract")
