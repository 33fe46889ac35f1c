"""The plan of a dry run: the plan itself, but for where its tables and its state lie, and for what a person decides."""

from __future__ import annotations

import secrets
from collections.abc import Container, Sequence
from dataclasses import replace

from tranship.plans import Plan, resolve, target_endpoint
from tranship.plans.models import RollbackPlan
from tranship.plans.streams import Child, Column, Endpoint, Stream

NAME_BYTES = 63
"""PostgreSQL cuts longer names."""


def new_id() -> str:
    """What the names of one dry run's schemas end with."""
    return secrets.token_hex(4)


def shadow_plan(plan: Plan, id: str) -> Plan:  # noqa: A002
    """The same meaning in two other schemas; nobody is asked, and what fails is rolled back. It has a name of its own,
    so that nobody takes its run for one of the plan."""
    target = plan.target.model_copy(
        update={
            "schema_name": shadow_name(plan.target.schema_name, id),
            "state_schema": shadow_name(plan.target.state_schema, id),
        }
    )
    changed = {"name": f"{plan.name}-dry", "target": target, "approval": (), "rollback": RollbackPlan()}
    return plan.model_copy(update=changed)


def shadow_endpoint(plan: Plan, of: Plan) -> Endpoint:
    """The target of a shadow plan. Its state says whose shadow it is."""
    return replace(target_endpoint(plan), shadow_of=of.name)


def shadow_name(schema: str, id: str) -> str:  # noqa: A002
    """The schema's name with the dry run's id, as much of it as fits."""
    tail = f"__dry_{id}"
    return schema.encode()[: NAME_BYTES - len(tail)].decode(errors="ignore") + tail


def shadow_streams(plan: Plan, left_out: Container[str]) -> tuple[Stream, ...]:
    """A shadow plan's streams but those that are left out. References to these are not looked at."""
    streams = [stream for stream in resolve(plan) if stream.name not in left_out]
    known = {stream.name for stream in streams}
    return tuple(
        replace(
            stream, columns=_referring(stream.columns, known), children=tuple(_below(c, known) for c in stream.children)
        )
        for stream in streams
    )


def _below(child: Child, known: Container[str]) -> Child:
    children = tuple(_below(one, known) for one in child.children)
    return replace(child, columns=_referring(child.columns, known), children=children)


def _referring(columns: Sequence[Column], known: Container[str]) -> tuple[Column, ...]:
    return tuple(
        column if column.references is None or column.references.stream in known else replace(column, references=None)
        for column in columns
    )
