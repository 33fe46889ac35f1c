"""Shadows that dry runs of a plan have left behind when they were killed: each is known by its own record."""

from __future__ import annotations

from contextlib import closing
from dataclasses import replace

from tranship.connectors.registry import discard_shadow
from tranship.orchestrator.engine.session import Session, open_control
from tranship.orchestrator.journal.fold import fold_all
from tranship.orchestrator.journal.records import JournalError
from tranship.orchestrator.journal.store import StoredControl
from tranship.plans import target_endpoint
from tranship.plans.streams import Endpoint


def remove(session: Session) -> tuple[list[str], list[str]]:
    """Remove the plan's shadows, and their markers from the source: (state schemas that are gone, those in use).

    Raises `RefusedError` where others have hung something on a shadow's tables; it stays as it is then.
    """
    gone, used = [], []
    with closing(session.connect.schema()) as schema:
        found = schema.shadows(session.plan.name)
    for state_schema, data_schema, age_s in found:
        endpoint = replace(
            target_endpoint(session.plan),
            schema=data_schema,
            state_schema=state_schema,
            shadow_of=session.plan.name,
        )
        with open_control(endpoint) as control:
            runs = control.all_runs() if control.installed() else []
            # One that is just being made has no lease yet.
            begins = age_s < session.plan.limits.lease and not any(control.journal(run) for run in runs)
            if begins or any(control.is_led(run) for run in runs):
                used.append(state_schema)
                continue
            discard(session, control, endpoint)
        gone.append(state_schema)
    return gone, used


def discard(session: Session, control: StoredControl, endpoint: Endpoint) -> None:
    """Remove one shadow, at which nobody is at work, and its markers. Idempotent."""
    runs = control.all_runs() if control.installed() else []
    # The markers first: their owners are known by the journals, which go with the rest.
    with closing(session.connect.source()) as source:
        for run in runs:
            source.drop_markers(_owner(control, run))
    discard_shadow(endpoint)
    control.purge(list)


def _owner(control: StoredControl, run: str) -> str:
    try:
        return fold_all(entry.record for entry in control.journal(run)).id or run
    except JournalError:
        return run
