"""Backfill: copy every chunk, in parallel.

Invariant: a chunk's rows and its mark commit together, so a chunk is either untouched or complete; what a crash leaves
is copied again under a new attempt number. Dirty keys wait until their chunk is loaded.
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import FIRST_COMPLETED, Future, wait

import structlog

from tranship.connectors.errors import AmbiguousCommitError, MarkMovedError
from tranship.connectors.protocols import Chunk, Loaded
from tranship.orchestrator.dataplane import copier, workers
from tranship.orchestrator.dataplane.run import POLL_S, Run
from tranship.orchestrator.dataplane.work import CHUNKS
from tranship.orchestrator.failpoints import reached
from tranship.orchestrator.journal.records import Record
from tranship.orchestrator.phases import Rehearsal, Verdict, observed, verdict
from tranship.plans.strategies import PhaseName
from tranship.plans.streams import Stream

log = structlog.get_logger(__name__)


class Backfill:
    """Copies chunks; undo empties the tables and forgets the chunks."""

    name = PhaseName.BACKFILL
    rehearsal = Rehearsal.BOTH_WAYS
    not_rehearsed: tuple[str, ...] = ()

    def do(self, run: Run) -> Iterator[Record]:
        for stream in run.streams:
            if not run.progress.chunks(run.scope, stream):
                run.progress.plan_chunks(run.scope, stream, run.source.spans(stream, run.plan.limits.chunk))
                reached("backfill.after_plan")
        run.work.expect(CHUNKS, {stream.name: _loaded_of(run, stream) for stream in run.streams})
        for stream in run.streams:
            _copy_all(run, stream)
            chunks = run.progress.chunks(run.scope, stream)
            facts = {"chunks": len(chunks), "rows": sum(c.rows for c in chunks)}
            yield observed(self.name, **{stream.name: facts})
        run.release_workers()

    def verify(self, run: Run) -> Verdict:
        """Every chunk is loaded, and the tables hold as many rows as the chunks say: no applier has run yet."""
        found = []
        for stream in run.streams:
            chunks = run.progress.chunks(run.scope, stream)
            missing = [c.number for c in chunks if c.state != "loaded"]
            if missing or not chunks:
                found.append(f"stream {stream.name}: chunks not loaded: {missing}")
            expected, actual = sum(c.rows for c in chunks), run.schema.count(stream)
            if expected != actual:
                found.append(f"stream {stream.name}: {expected} rows were loaded, the table holds {actual}")
        return verdict(found)

    def undo(self, run: Run) -> Iterator[Record]:
        run.progress.forget_chunks(run.scope, run.streams)
        yield observed(self.name, emptied=[s.name for s in run.streams])


def _loaded_of(run: Run, stream: Stream) -> tuple[int, int]:
    chunks = run.progress.chunks(run.scope, stream)
    return sum(chunk.state == "loaded" for chunk in chunks), len(chunks)


def _copy_all(run: Run, stream: Stream) -> None:
    """Copy the chunks of a stream that are not loaded, with a bounded number of them under way."""
    waiting = [c for c in run.progress.chunks(run.scope, stream) if c.state != "loaded"]
    under_way: dict[Future[Loaded], Chunk] = {}
    while waiting or under_way:
        while waiting and len(under_way) < 2 * run.workers.count:
            chunk = waiting.pop(0)
            task = copier.begin(run.progress, run.scope, stream, chunk)
            if task is not None:
                under_way[run.workers.copy(task)] = chunk
        finished, _ = wait(under_way, timeout=POLL_S, return_when=FIRST_COMPLETED)
        waiting += [chunk for future in finished if not _loaded(run, future, chunk := under_way.pop(future))]
        run.tick()


def _loaded(run: Run, future: Future[Loaded], chunk: Chunk) -> bool:
    """Whether an attempt is known to have loaded its chunk; if not, the next `begin` reads the chunk's mark first."""
    try:
        loaded = workers.outcome(future)
    except (AmbiguousCommitError, MarkMovedError) as error:
        log.info("chunk is begun anew", stream=chunk.stream, chunk=chunk.number, error=type(error).__name__)
        return False
    run.work.step(chunk.stream, loaded.rows)
    return True
