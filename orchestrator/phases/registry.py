"""Which file carries out which phase."""

from __future__ import annotations

from collections.abc import Mapping

from tranship.orchestrator.phases import Phase
from tranship.orchestrator.phases.backfill import Backfill
from tranship.orchestrator.phases.capture import Capture
from tranship.orchestrator.phases.catch_up import CatchUp
from tranship.orchestrator.phases.constrain import Constrain
from tranship.orchestrator.phases.cutover import Cutover
from tranship.orchestrator.phases.expand import Expand
from tranship.orchestrator.phases.index import Index
from tranship.orchestrator.phases.preflight import Preflight
from tranship.orchestrator.phases.reconcile import Reconcile
from tranship.plans.strategies import PhaseName

_ALL: tuple[Phase, ...] = (
    Preflight(),
    Expand(),
    Capture(),
    Backfill(),
    Index(),
    CatchUp(),
    Constrain(),
    Reconcile(),
    Cutover(),
)

PHASES: Mapping[PhaseName, Phase] = {phase.name: phase for phase in _ALL}
