"""How long a run would take, by what its rehearsal took.

What grows with the documents is scaled by the share of the bytes that was looked at; what does not, is not. Where a
phase goes through units of work (chunks, spans), the time that passes between the first of them and the last is what
grows, and the rest (processes that start, waits) is what does not. An index build grows as a whole.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

from tranship.plans.strategies import PhaseName

IN_UNITS = {PhaseName.BACKFILL.value, PhaseName.RECONCILE.value}
AS_A_WHOLE = {PhaseName.INDEX.value, PhaseName.CONSTRAIN.value}

SORTS = 1.3
"""By so much more than the rows the work of a sort may grow, from a twentieth of them to all."""

_QUARTERS = 4


@dataclass(frozen=True)
class Projection:
    """How long a run would take to its cutover, in seconds: about, at best and at worst, on servers that are loaded as
    they were. `phases`: about, by phase."""

    seconds: float
    low: float
    high: float
    phases: Mapping[str, float]


@dataclass(frozen=True)
class _Grown:
    about: float
    low: float
    high: float


def project(
    seconds: Mapping[str, float], steps: Mapping[str, Sequence[float]], workers: int, share: float
) -> Projection:
    """`seconds`: of the phases as rehearsed. `steps`: when the units of a phase were done. `share`: of the bytes that
    were looked at, above 0 and at most 1."""
    grown = {phase: _grow(phase, took, steps.get(phase, ()), workers, 1 / share) for phase, took in seconds.items()}
    return Projection(
        seconds=round(sum(one.about for one in grown.values()), 1),
        low=round(sum(one.low for one in grown.values()), 1),
        high=round(sum(one.high for one in grown.values()), 1),
        phases={phase: round(one.about, 1) for phase, one in grown.items()},
    )


def _grow(phase: str, took: float, steps: Sequence[float], workers: int, factor: float) -> _Grown:
    if factor == 1 or phase not in IN_UNITS | AS_A_WHOLE:
        return _Grown(took, took, took)
    if phase in AS_A_WHOLE or len(steps) <= 2 * workers:
        return _Grown(took * factor, took, took * factor * (SORTS if phase in AS_A_WHOLE else 1.0))
    # The first of each worker's units ends with what precedes all of them; the others say what a unit takes.
    first, last = steps[workers - 1], steps[-1]
    of_units = min((last - first) * len(steps) / (len(steps) - workers), took)
    best, worst = _extremes(steps[workers - 1 :])
    fixed = took - of_units
    return _Grown(
        fixed + of_units * factor, fixed + of_units * factor * best, fixed + of_units * factor * max(worst, 1.0)
    )


def _extremes(steps: Sequence[float]) -> tuple[float, float]:
    """How fast the fastest and the slowest quarter of the units were done: their time, where all took 1."""
    bounds = [quarter * (len(steps) - 1) // _QUARTERS for quarter in range(_QUARTERS + 1)]
    whole = (steps[-1] - steps[0]) / (len(steps) - 1)
    paces = [(steps[end] - steps[start]) / (end - start) for start, end in pairwise(bounds) if end > start]
    if not whole:
        return 1.0, 1.0
    return min(paces) / whole, max(paces) / whole
