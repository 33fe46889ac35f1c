"""Which connector serves an endpoint. Drivers are imported when the first connection of their kind is opened."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING, Protocol, cast

from tranship.connectors.mapping import MappedTable
from tranship.connectors.protocols import BatchSource, BatchTarget, ChangeSource, Progress, Scope, TargetSchema
from tranship.plans.streams import Endpoint, Stream

if TYPE_CHECKING:
    from tranship.connectors.protocols.control import ControlStore
    from tranship.connectors.protocols.profiler import Profiler

Hook = Callable[[str], None]
"""Called at named sites inside a connector's transactions (failpoints)."""

_MODULES = {
    "mongodb": "tranship.connectors.mongodb",
    "postgresql": "tranship.connectors.postgresql",
}


class Source(BatchSource, ChangeSource, Protocol):
    """What the orchestrator needs of a source: it can be read and watched."""


def open_source(endpoint: Endpoint, streams: Sequence[Stream]) -> Source:
    """Connect to a source. Raises `RefusedError` or `TransientError`."""
    return cast(Source, _module(endpoint).connect(endpoint, streams))


def open_target(endpoint: Endpoint, streams: Sequence[Stream], scope: Scope, hook: Hook) -> BatchTarget:
    """Connect to a target as a writer of `scope`: the session is recorded under its epoch before anything else.

    Under a scope that only reads (`Scope.reading`) nothing is recorded.
    """
    return cast(BatchTarget, _module(endpoint).connect_target(endpoint, streams, scope, hook=hook))


def open_progress(endpoint: Endpoint, streams: Sequence[Stream], hook: Hook) -> Progress:
    """Connect to the durable progress beside the target's data."""
    return cast(Progress, _module(endpoint).connect_progress(endpoint, streams, hook=hook))


def open_control(endpoint: Endpoint, hook: Hook) -> ControlStore:
    """The control store of a state schema. Connects when it is first used; nothing is created by that."""
    return cast("ControlStore", _module(endpoint).connect_control(endpoint, hook=hook))


def open_schema(endpoint: Endpoint, streams: Sequence[Stream]) -> TargetSchema:
    """Connect to the target's catalog."""
    return cast(TargetSchema, _module(endpoint).connect_schema(endpoint, streams))


def open_profiler(endpoint: Endpoint) -> Profiler:
    """Connect to a source as one who looks what there is. Raises `RefusedError` or `TransientError`."""
    return cast("Profiler", _module(endpoint).connect_profiler(endpoint))


def worker_modules(endpoint: Endpoint) -> tuple[str, ...]:
    """The modules that a process which reads or writes there imports: to be imported once for all of them."""
    return (_MODULES[endpoint.kind], *cast(tuple[str, ...], _module(endpoint).WORKER_MODULES))


def mapping(endpoint: Endpoint, streams: Sequence[Stream]) -> list[MappedTable]:
    """What the endpoint makes of the streams as a target. Connects to nothing: it may have no address."""
    return cast(list[MappedTable], _module(endpoint).mapping(endpoint, streams))


def schema_script(endpoint: Endpoint, streams: Sequence[Stream], *, rollback: bool = False) -> str:
    """What makes the streams' tables in the endpoint, or takes them away, as a script. Connects to nothing."""
    return cast(str, _module(endpoint).schema_script(endpoint, streams, rollback=rollback))


def discard_shadow(endpoint: Endpoint) -> None:
    """Remove the tables of a dry run that is over, and their schema; its state is the caller's. Idempotent."""
    _module(endpoint).discard_shadow(endpoint)


def _module(endpoint: Endpoint) -> ModuleType:
    return import_module(_MODULES[endpoint.kind])
