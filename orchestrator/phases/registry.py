"""Which file carries out which phase, and which lifts which group."""

from __future__ import annotations

from collections.abc import Mapping

from tranship.orchestrator.phases import Lift, Phase
from tranship.orchestrator.phases.backfill import Backfill
from tranship.orchestrator.phases.capture import Capture
from tranship.orchestrator.phases.catch_up import CatchUp
from tranship.orchestrator.phases.constrain import Constrain
from tranship.orchestrator.phases.cutover.drain import Drain
from tranship.orchestrator.phases.cutover.fence import Fence
from tranship.orchestrator.phases.cutover.lift import LiftCutover
from tranship.orchestrator.phases.cutover.open import Open
from tranship.orchestrator.phases.cutover.seal import Seal
from tranship.orchestrator.phases.cutover.switch import Switch
from tranship.orchestrator.phases.cutover.verify import Verify
from tranship.orchestrator.phases.expand import Expand
from tranship.orchestrator.phases.index import Index
from tranship.orchestrator.phases.preflight import Preflight
from tranship.orchestrator.phases.reconcile import Reconcile
from tranship.plans.strategies import Group, PhaseName

_ALL: tuple[Phase, ...] = (
    Preflight(),
    Expand(),
    Capture(),
    Backfill(),
    Index(),
    CatchUp(),
    Constrain(),
    Reconcile(),
    Fence(),
    Drain(),
    Verify(),
    Seal(),
    Switch(),
    Open(),
)

PHASES: Mapping[PhaseName, Phase] = {phase.name: phase for phase in _ALL}

LIFTS: Mapping[Group, Lift] = {Group.CUTOVER: LiftCutover()}
