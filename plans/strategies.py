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
