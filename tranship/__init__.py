"""tranship moves live data between databases without downtime.

    from tranship import load_plan, run, status

    plan = load_plan("shop.yaml")
    state = run(plan)          # blocks until the run ends, pauses or is held
    print(status(plan))

Importing this module loads nothing else; its names and functions do when they are used.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tranship.orchestrator.journal.state import State
    from tranship.orchestrator.reports.status import Status
    from tranship.plans import Plan, PlanError
    from tranship.router import NoRouteError, OutcomeUnknownError, Router

__all__ = ["NoRouteError", "OutcomeUnknownError", "Plan", "PlanError", "Router", "load_plan", "run", "status"]

_PLANS = ("Plan", "PlanError")


def __getattr__(name: str) -> Any:
    """The names of `__all__` that are no functions, when they are first asked for."""
    if name not in __all__:
        raise AttributeError(f"module tranship has no attribute {name}")
    from importlib import import_module

    return getattr(import_module("tranship.plans" if name in _PLANS else "tranship.router"), name)


def load_plan(path: str | Path, env: Mapping[str, str] = os.environ) -> Plan:
    """Read and check a plan file; secrets come from `env` and files. Raises `PlanError` with every problem found."""
    from tranship.plans import load

    return load(Path(path), env)


def run(plan: Plan) -> State:
    """Start the plan's run, or go on with the one that is not finished; blocks until it ends, pauses or is held.

    Idempotent: called again after any interruption it goes on where the journal stands. Signals are left to the
    caller. Raises `PreflightError` and `PlanChangedError` with nothing changed, `LeaseHeldError` when another
    orchestrator is at work, and `ConnectorError` when the servers cannot be reached.
    """
    from tranship.orchestrator.engine.session import open_session
    from tranship.orchestrator.journal.person import person

    with open_session(plan) as session:
        engine = session.engine()
        name = session.begin()
        session.guard(session.state(name))
        return engine.execute(name, person())


def status(plan: Plan) -> Status | None:
    """Where the plan's newest run stands, or None when it has none. Reads only."""
    from tranship.orchestrator.engine.session import open_session
    from tranship.orchestrator.reports.status import status_of

    with open_session(plan) as session:
        latest = session.latest()
        return None if latest is None else status_of(session, latest)
