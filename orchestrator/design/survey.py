"""Reading a database for its profile: in several processes, a part at a time."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from contextlib import contextmanager
from dataclasses import dataclass

from tranship.connectors.errors import RefusedError
from tranship.connectors.profile import MOST_FIELDS, CollectionProfile, Documents, Part
from tranship.connectors.protocols import Span
from tranship.connectors.protocols.profiler import Profiler
from tranship.connectors.registry import open_profiler, worker_modules
from tranship.orchestrator.dataplane.processes import prepared, settle
from tranship.orchestrator.dataplane.work import Work
from tranship.orchestrator.dataplane.workers import outcome
from tranship.orchestrator.design.columns import COMMON
from tranship.orchestrator.design.discriminators import are_apart, candidate
from tranship.plans.streams import Endpoint

PART_BYTES = 16 << 20
PARTS = "parts"
PROCESSES = 2


class UnknownCollectionError(ValueError):
    """A collection was asked for that is not there."""


@dataclass(frozen=True)
class Extent:
    """How much is read: `sample` documents of each collection, chosen by `seed`; None: all."""

    sample: int | None
    seed: int


@dataclass(frozen=True)
class Task:
    """One part of a collection: a span, or, without one, a sample."""

    collection: str
    span: Span | None
    extent: Extent
    split: str = ""
    kept: frozenset[str] = frozenset()


def survey(
    profiler: Profiler, source: Endpoint, only: Sequence[str], extent: Extent, work: Work
) -> list[CollectionProfile]:
    """The profile of every collection, or of those that are named.

    Raises `UnknownCollectionError`, `RefusedError`, `TransientError`. A collection that may not be read is left out.
    """
    work.begin("profile")
    found = profiler.survey()
    unknown = sorted(set(only) - {profile.name for profile in found})
    if unknown:
        there = ", ".join(profile.name for profile in found) or "none"
        raise UnknownCollectionError(f"there is no collection {', '.join(unknown)}, but {there}")
    for profile in found:
        if only and profile.name not in only:
            profile.left_out = "it was not asked for"
    with _processes(source) as pool:
        _first_look(profiler, pool, found, extent, work)
        _second_look(profiler, pool, found, extent, work)
    return found


def _first_look(
    profiler: Profiler, pool: ProcessPoolExecutor, found: list[CollectionProfile], extent: Extent, work: Work
) -> None:
    tasks: dict[str, list[Task]] = {}
    for profile in found:
        if profile.left_out:
            continue
        try:
            tasks[profile.name] = _tasks(profiler, profile, extent)
        except RefusedError as error:
            profile.left_out = str(error)
    parts = _carried_out(pool, found, tasks, work)
    for profile in found:
        part = parts.get(profile.name)
        if part is not None and not profile.left_out:
            profile.read, profile.unread = part.read, part.unread
            profile.documents = max(profile.documents, part.read)
            profile.root = part.roots.get(None, profile.root)


def _second_look(
    profiler: Profiler, pool: ProcessPoolExecutor, found: list[CollectionProfile], extent: Extent, work: Work
) -> None:
    """Collections with several kinds of documents, and those with so many names that some were not told apart."""
    again = {}
    for profile in found:
        split, kept = candidate(profile.root), _frequent(profile.root)
        if not profile.left_out and (split or kept):
            again[profile.name] = _tasks(profiler, profile, extent, split, kept)
    for name, part in _carried_out(pool, found, again, work).items():
        profile = next(profile for profile in found if profile.name == name)
        if part.split and are_apart(part.roots):
            profile.split, profile.kinds = part.split, part.roots
        elif not part.split and None in part.roots:
            profile.root = part.roots[None]


def _frequent(root: Documents) -> frozenset[str]:
    if root.other is None or root.names is None:
        return frozenset()
    frequent = [name for name, times in root.names.items() if times >= COMMON * root.count]
    return frozenset(frequent if len(frequent) <= MOST_FIELDS else ())


def _tasks(
    profiler: Profiler, profile: CollectionProfile, extent: Extent, split: str = "", kept: frozenset[str] = frozenset()
) -> list[Task]:
    if extent.sample is not None and profile.documents > extent.sample:
        return [Task(profile.name, None, extent, split, kept)]
    spans = profiler.parts(profile.name, PART_BYTES)
    return [Task(profile.name, span, extent, split, kept) for span in spans]


def _carried_out(
    pool: ProcessPoolExecutor, found: list[CollectionProfile], tasks: Mapping[str, list[Task]], work: Work
) -> dict[str, Part]:
    """What the tasks saw, by collection. Parts are put together in the order in which they come: it is all the same."""
    if not tasks:
        return {}
    work.expect(PARTS, {name: (0, len(some)) for name, some in tasks.items()})
    under_way: dict[Future[Part], str] = {pool.submit(_look, t): name for name, some in tasks.items() for t in some}
    parts: dict[str, Part] = {}
    for future in as_completed(under_way):
        name = under_way.pop(future)  # its part is not held twice
        try:
            part = outcome(future)
        except RefusedError as error:
            next(profile for profile in found if profile.name == name).left_out = str(error)
            continue
        work.step(name, part.read)
        if name in parts:
            parts[name].merge(part)
        else:
            parts[name] = part
    return parts


# --- in the processes -------------------------------------------------------------------------------------------------


@contextmanager
def _processes(source: Endpoint) -> Iterator[ProcessPoolExecutor]:
    context = prepared((__name__, *worker_modules(source)))
    pool = ProcessPoolExecutor(PROCESSES, mp_context=context, initializer=_start, initargs=(source,))
    try:
        yield pool
    finally:
        pool.shutdown(cancel_futures=True)


_source: Endpoint | None = None
_profiler: Profiler | None = None


def _start(source: Endpoint) -> None:
    settle()
    global _source  # noqa: PLW0603  one per process, set once: the pool offers tasks no other place
    _source = source


def _look(task: Task) -> Part:
    global _profiler  # noqa: PLW0603
    assert _source is not None
    if _profiler is None:
        _profiler = open_profiler(_source)
    if task.span is None:
        assert task.extent.sample is not None
        return _profiler.sample(task.collection, task.extent.sample, task.extent.seed, task.split, task.kept)
    return _profiler.look(task.collection, task.span, task.split, task.kept)
