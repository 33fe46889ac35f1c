"""Phases as a dry run carries them out: halfway, taken back, and then as a run does; and what stands in the cutover's
place."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace

from tranship.connectors.fit import Fit
from tranship.connectors.protocols import Finding, Key
from tranship.orchestrator.checks.failures import of_stream
from tranship.orchestrator.checks.fitting import Seen
from tranship.orchestrator.checks.references import missing
from tranship.orchestrator.dataplane.drain import pass_marker
from tranship.orchestrator.dataplane.run import Run
from tranship.orchestrator.engine.inbox import InterruptedRunError
from tranship.orchestrator.failpoints import reached
from tranship.orchestrator.journal.records import Kind, Record
from tranship.orchestrator.phases import Phase, Rehearsal, Verdict, Verified, observed
from tranship.orchestrator.phases.cutover.checks import DRAIN_LIMIT_S, MARKER_LIMIT_S, objections
from tranship.orchestrator.phases.cutover.verify import last_comparison
from tranship.plans.strategies import PhaseName
from tranship.plans.streams import Stream

REASON = "the dry run is over"

LOOKED_UP = 10_000
"""So many keys of each reference that have no row are looked up in the source."""


EXAMPLES = 5
"""So many keys of each kind are named where somebody asks for them."""


class _HalfwayError(Exception):
    """Half of a phase is done."""


class Rehearsed:
    """A phase that is carried out, where it can be taken back after its first half was. `seconds`: what the whole took,
    with its verification; None until then. `failed`: the error with which it ended, if that is about one
    stream."""

    def __init__(self, phase: Phase) -> None:
        self.name = phase.name
        self.rehearsal = phase.rehearsal
        self.not_rehearsed = phase.not_rehearsed
        self.seconds: float | None = None
        self.halfway = False
        self.failed: Finding | None = None
        self._phase = phase

    def do(self, run: Run) -> Iterator[Record]:
        self.seconds = None
        with self._naming():
            if self.rehearsal is Rehearsal.BOTH_WAYS:
                self._half(run)
                self.halfway = True
            began = run.clock.now()
            yield from self._phase.do(run)
            self.seconds = run.clock.now() - began

    def verify(self, run: Run) -> Verdict:
        began = run.clock.now()
        with self._naming():
            verdict = self._phase.verify(run)
        self.seconds = (self.seconds or 0.0) + run.clock.now() - began
        return verdict

    def undo(self, run: Run) -> Iterator[Record]:
        yield from self._phase.undo(run)

    def _half(self, run: Run) -> None:
        """The phase for the first half of the streams, of a backfill up to the first chunk; then its undo."""
        few = replace(run, streams=run.streams[: (len(run.streams) + 1) // 2], tick=lambda: self._tick(run))
        try:
            for _ in self._phase.do(few):
                pass
        except _HalfwayError:
            pass
        # What a worker still has under way cannot commit behind the undo: its mark is gone then.
        run.release_workers()
        reached("rehearsal.halfway")
        for _ in self._phase.undo(run):
            pass

    def _tick(self, run: Run) -> None:
        run.tick()
        if self.name is PhaseName.BACKFILL and any(total.loaded for total in run.progress.totals(run.scope).values()):
            raise _HalfwayError

    @contextmanager
    def _naming(self) -> Iterator[None]:
        try:
            yield
        except Exception as error:
            self.failed = of_stream(error)
            raise


class RehearsedCutover:
    """Stands where the cutover begins: measures what it would wait for, and has everything looked at before it is
    undone."""

    name = PhaseName.FENCE
    rehearsal = Rehearsal.FORWARD
    not_rehearsed: tuple[str, ...] = ()

    def __init__(self, look: Callable[[], None]) -> None:
        self._look = look
        self.examples: dict[str, dict[str, list[tuple[str, Key]]]] = {}
        """Some keys that are referred to in vain, by stream and column, each with the stream that it is not in. They
        are people's data and reach no journal."""
        self.seen: list[Seen] = []

    def do(self, run: Run) -> Iterator[Record]:
        began = run.clock.now()
        pass_marker(run, MARKER_LIMIT_S)

        def applied() -> bool:
            """Whether all that was dirty when this began is applied: under writes there is always something newer."""
            backlog = run.progress.backlog(run.scope)
            return not backlog.dirty or backlog.oldest_s < run.clock.now() - began

        run.wait(applied, DRAIN_LIMIT_S, "what was written up to now to be applied")
        drained = run.clock.now()
        result = last_comparison(run)
        compared = run.clock.now()
        yield observed(
            self.name,
            drained_s=round(drained - began, 3),
            compared_s=round(compared - drained, 3),
            compared=result.total.documents,
            moving=len(result.moving),
            divergences=len(result.divergences),
            objections=objections(run),
            dangling={stream.name: found for stream in run.streams if (found := self._dangling(run, stream))},
            bytes=run.schema.size(run.streams),
            history_s=run.source.history_s(run.position()),
        )
        self.seen = [_seen(run, stream, fit) for stream, fit in self._fits(run)]
        self._look()
        reached("rehearsal.before_end")
        raise InterruptedRunError(Kind.ROLLBACK, REASON)

    def _dangling(self, run: Run, stream: Stream) -> dict[str, int]:
        """Per referencing column, the rows that refer to what the source does not have: a document outside of the
        sample has no row, and is there all the same."""
        counts = {}
        for column, keys in run.schema.dangling_keys(run.scope, stream, LOOKED_UP).items():
            gone = self._absent(run, keys)
            absent = [one for one in keys if (one[0], one[1]) in gone]
            counts[column] = sum(rows for _, _, rows in absent)
            some = [(to, key) for to, key, _ in absent[:EXAMPLES]]
            self.examples.setdefault(stream.name, {})[column] = some
        return counts

    def _fits(self, run: Run) -> Iterator[tuple[Stream, Fit]]:
        fits = run.progress.fit(run.scope)
        yield from ((stream, fits.get(stream.name, Fit())) for stream in run.streams)

    def _absent(self, run: Run, keys: Sequence[tuple[str, Key, int]]) -> set[tuple[str, Key]]:
        named = {to: [key for other, key, _ in keys if other == to] for to, _, _ in keys}
        found = {to: missing(run.source, run.by_name[to], some, run.position()) for to, some in named.items()}
        return {(to, key) for to, absent in found.items() for key in absent}

    def verify(self, run: Run) -> Verdict:  # noqa: ARG002
        return Verified()

    def undo(self, run: Run) -> Iterator[Record]:  # noqa: ARG002
        """Nothing was changed."""
        yield from ()


def _seen(run: Run, stream: Stream, fit: Fit) -> Seen:
    reasons = Counter[str]()
    after: Key | None = None
    while page := run.progress.quarantine(run.scope, stream, after, LOOKED_UP):
        reasons.update(entry.reason for entry in page)
        after = page[-1].key
    return Seen(stream, fit, reasons)
