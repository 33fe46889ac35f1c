"""Inside a worker process: its connections and its tasks. Imported there, and where workers are started."""

from __future__ import annotations

from contextlib import ExitStack, closing
from functools import partial

from tranship.connectors.errors import ConnectorError
from tranship.connectors.protocols import BatchTarget, Loaded
from tranship.connectors.registry import Source, open_source, open_target
from tranship.orchestrator import logs
from tranship.orchestrator.dataplane import comparison, copier
from tranship.orchestrator.dataplane.processes import settle
from tranship.orchestrator.dataplane.workers import CompareTask, WorkerSetting
from tranship.orchestrator.failpoints import reached


class _Connections:
    """The worker's connections: opened at the first task, and anew after an error."""

    def __init__(self, setting: WorkerSetting) -> None:
        self._setting = setting
        self._stack = ExitStack()
        self._open: tuple[Source, BatchTarget] | None = None

    def get(self) -> tuple[Source, BatchTarget]:
        if self._open is None:
            s = self._setting
            with ExitStack() as stack:
                source = stack.enter_context(closing(open_source(s.source, s.streams)))
                target = stack.enter_context(closing(open_target(s.target, s.streams, s.scope, reached)))
                self._stack = stack.pop_all()
            self._open = (source, target)
        return self._open

    def drop(self) -> None:
        self._open = None
        self._stack.close()


_connections: _Connections | None = None


def start(setting: WorkerSetting) -> None:
    """First code in a worker: end with the parent, and log like it."""
    settle()
    logs.configure(setting.log_format, run=setting.scope.run)
    global _connections  # noqa: PLW0603  one per process, set once: the pool offers tasks no other place
    _connections = _Connections(setting)


def copy(task: copier.CopyTask) -> Loaded:
    """Load one chunk."""
    assert _connections is not None
    try:
        source, target = _connections.get()
        return copier.copy(source, target, task)
    except ConnectorError:
        _connections.drop()
        raise


def compare(task: CompareTask) -> comparison.Comparison:
    """Compare one span."""
    assert _connections is not None
    try:
        source, target = _connections.get()
        expected = source.read(task.stream, task.span, task.after)
        documents = partial(source.documents, task.stream)
        return comparison.compare(task.stream, expected, target.read(task.stream, task.span), documents)
    except ConnectorError:
        _connections.drop()
        raise
