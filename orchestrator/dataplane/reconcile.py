"""Reconcile: compare every row of both sides, while both change, and tell divergence from motion.

A mismatch is first of all a key that somebody is writing to. It becomes a divergence only when, over `ROUNDS` rounds
that each began with a fresh marker through capture and with no dirty entry for the key, neither side's row changed and
they still differ: whatever made the source's row came before a marker that has passed, so it was applied, and nothing
is on its way (`rules.md` D4).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from dataclasses import dataclass, field

import structlog

from tranship.connectors.fit import Cell
from tranship.connectors.protocols import (
    BatchTarget,
    Chunk,
    Key,
    Mismatch,
    Progress,
    Scope,
    Span,
    Tally,
    TouchedKey,
    is_nameless,
)
from tranship.orchestrator.dataplane import TooManyApartError
from tranship.orchestrator.dataplane.comparison import (
    NOTHING,
    Comparison,
    Nameless,
    compare_nameless,
    row_digests,
)
from tranship.orchestrator.dataplane.drain import pass_marker
from tranship.orchestrator.dataplane.run import POLL_S, Run
from tranship.orchestrator.dataplane.touched import Sides, recorded
from tranship.orchestrator.dataplane.work import SPANS
from tranship.orchestrator.dataplane.workers import CompareTask, outcome
from tranship.plans.streams import Stream

log = structlog.get_logger(__name__)

ROUNDS = 3
MOST_ROUNDS = 15
"""After so many rounds a key that still moves is left to the cutover's final pass, where the source is still."""

MOST_APART = 250_000
"""So many keys that differ at once are no longer single rows: they are kept in memory, and each is looked at again."""

MARKER_LIMIT_S = 60.0
CLEAN_LIMIT_S = 5.0


@dataclass
class Reconciled:
    """What a comparison found. `moving` keys never stood still, so nothing is known of them (`rules.md` K1).

    `recorded` are the divergences that were on record before and that the comparison has looked at. `whole`: whether it
    has looked at every key of both sides.

    `agreed` counts, per stream, the keys that were found equal, each at the look that found it so; `apart` what the two
    sides hold of the others. So as long as nothing diverges or moves, *documents = rows + quarantined* holds exactly,
    however much was written meanwhile. `filled`: the values that the target's columns had at the first look.
    """

    suspects: int = 0
    divergences: list[Mismatch] = field(default_factory=list)
    moving: list[Mismatch] = field(default_factory=list)
    recorded: list[Mismatch] = field(default_factory=list)
    whole: bool = False
    agreed: dict[str, Tally] = field(default_factory=dict)
    apart: dict[Mismatch, Tally] = field(default_factory=dict)
    filled: dict[str, Counter[Cell]] = field(default_factory=dict)

    def add(self, stream: Stream, comparison: Comparison) -> None:
        """Count what agrees."""
        self.agreed[stream.name] = self.agreed.get(stream.name, NOTHING) + comparison.agreed

    def tallies(self) -> dict[str, Tally]:
        """What both sides hold, per stream."""
        tallies = dict(self.agreed)
        for mismatch, tally in self.apart.items():
            tallies[mismatch.stream] = tallies.get(mismatch.stream, NOTHING) + tally
        return tallies

    def note(self, progress: Progress, scope: Scope) -> None:
        """Put what diverges on record; take off it only what was on it and has been found equal now (`rules.md` K2).

        A comparison of all keys is put on record with its counts, too.
        """
        if self.whole:
            progress.note_comparison(scope, self.tallies(), len(self.moving), self.filled)
        unequal = {(one.stream, one.key) for one in (*self.divergences, *self.moving)}
        equal = [one for one in self.recorded if (one.stream, one.key) not in unequal]
        progress.note_divergences(scope, self.divergences, equal)

    @property
    def total(self) -> Tally:
        """What both sides hold of all streams."""
        return sum(self.tallies().values(), NOTHING)


def compare_all(run: Run, seen: Callable[[Stream, Comparison], None]) -> None:
    """Compare all that is loaded of every stream once, in the workers; then each stream's nameless documents."""
    under_way: dict[Future[Comparison], Stream] = {}
    nameless = {stream.name: Nameless() for stream in run.streams}
    spans = {stream.name: _spans(run, stream) for stream in run.streams}
    run.work.expect(SPANS, {name: (0, len(some)) for name, some in spans.items()})
    todo = (CompareTask(stream, span, run.position()) for stream in run.streams for span in spans[stream.name])
    task = next(todo, None)
    while task is not None or under_way:
        while task is not None and len(under_way) < 2 * run.workers.count:
            under_way[run.workers.compare(task)] = task.stream
            task = next(todo, None)
        finished, _ = wait(under_way, timeout=POLL_S, return_when=FIRST_COMPLETED)
        for future in finished:
            stream = under_way.pop(future)
            comparison = outcome(future)
            nameless[stream.name] |= comparison.nameless
            run.work.step(stream.name, comparison.documents)
            seen(stream, comparison)
        run.tick()
    for stream in run.streams:
        seen(stream, compare_nameless(stream, nameless[stream.name]))


def _spans(run: Run, stream: Stream) -> list[Span]:
    """Spans of what is loaded, each work for one worker.

    Those of the chunks were tiled before the backfill, and all new ObjectIds have come into the last one since. So the
    source is tiled anew, unless a reseed comes in the middle of a backfill: chunks that are not loaded then will be
    read after the new position.
    """
    chunks = run.progress.chunks(run.scope, stream)
    if _is_loaded(chunks):
        return run.source.spans(stream, run.plan.limits.chunk) if chunks else []
    return [chunk.span for chunk in chunks if chunk.state == "loaded"]


def _is_loaded(chunks: Sequence[Chunk]) -> bool:
    return all(chunk.state == "loaded" for chunk in chunks)


def full(run: Run, target: BatchTarget) -> Reconciled:
    """Compare everything, then recheck what differed. Raises `TooManyApartError`."""
    result = once(run)
    _settle(run, target, result)
    return result


def once(run: Run) -> Reconciled:
    """Compare everything and take each difference as it is: for when nothing is applied that could even it out.

    Raises `TooManyApartError`.
    """
    # A comparison in the middle of a backfill has not looked at every key: it takes nothing off the record.
    whole = all(_is_loaded(run.progress.chunks(run.scope, stream)) for stream in run.streams)
    result = Reconciled(recorded=run.progress.divergences(run.scope) if whole else [], whole=whole)

    def seen(stream: Stream, comparison: Comparison) -> None:
        result.add(stream, comparison)
        result.filled.setdefault(stream.name, Counter()).update(comparison.filled)
        result.apart |= comparison.apart
        if len(result.apart) > MOST_APART:
            raise TooManyApartError(
                f"more than {MOST_APART} keys differ, stream {stream.name} among the last; the comparison ended there. "
                "If much is written just now, try again later; if rows were lost, `tranship reseed` brings them back"
            )

    compare_all(run, seen)
    result.divergences = list(result.apart)
    return result


def touched(run: Run, target: BatchTarget) -> Reconciled:
    """Compare the keys that were applied since the last full reconcile began, and those that are on record.

    Those that are equal are touched no more, unless they were applied again since they were noted.
    """
    result = Reconciled(recorded=recorded(run.progress, run.scope))
    unequal: dict[str, list[TouchedKey]] = {}
    for stream in run.streams:
        left = {one.key for one in result.recorded if one.stream == stream.name}
        sides = _sides(run, target)
        for noted, comparison in sides.compare_touched(stream):
            left -= {one.key for one in noted}
            differing = {mismatch.key for mismatch in comparison.apart}
            unequal.setdefault(stream.name, []).extend(one for one in noted if one.key in differing)
            run.progress.forget_equal(run.scope, stream, [one for one in noted if one.key not in differing])
            _seen(run, result, stream, comparison)
        for _, comparison in sides.compare(stream, sorted(left)):
            _seen(run, result, stream, comparison)
    _settle(run, target, result)
    still = {(one.stream, one.key) for one in (*result.divergences, *result.moving)}
    for name, noted in unequal.items():
        equal = [one for one in noted if (name, one.key) not in still]
        run.progress.forget_equal(run.scope, run.by_name[name], equal)
    return result


def _seen(run: Run, result: Reconciled, stream: Stream, comparison: Comparison) -> None:
    result.add(stream, comparison)
    result.apart |= comparison.apart
    result.divergences.extend(comparison.apart)
    run.tick()


def repair(run: Run, target: BatchTarget, result: Reconciled) -> None:
    """Mark what diverges dirty, let the applier make it equal, and look again: what is left then diverges still."""
    run.progress.mark_dirty(run.scope, [(d.stream, d.key) for d in result.divergences])
    recheck(run, target, result)


def _sides(run: Run, target: BatchTarget) -> Sides:
    return Sides(run.source, target, run.progress, run.scope)


def _settle(run: Run, target: BatchTarget, result: Reconciled) -> None:
    result.suspects = len(result.divergences)
    recheck(run, target, result)


# --- recheck -----------------------------------------------------------------------------------------------------


@dataclass
class _Suspect:
    """A key under observation: how its two sides looked last time, and for how many rounds that has been so."""

    mismatch: Mismatch
    tally: Tally = NOTHING
    seen: tuple[bytes | None, bytes | None] | None = None
    rounds: int = 0


def recheck(run: Run, target: BatchTarget, result: Reconciled) -> None:
    """Tell divergences from keys in motion: what the result takes for divergent is looked at again."""
    found = set(result.divergences)
    moving = {mismatch: tally for mismatch, tally in result.apart.items() if mismatch not in found}
    # No query finds a nameless document, so it cannot be looked at again; nor can it have moved: capture would have
    # stopped there.
    confirmed = {m: result.apart[m] for m in result.divergences if is_nameless(m.key)}
    suspects = {(m.stream, m.key): _Suspect(m) for m in result.divergences if not is_nameless(m.key)}
    for number in range(MOST_ROUNDS):
        if not suspects:
            break
        pass_marker(run, MARKER_LIMIT_S)
        _wait_clean(run, suspects)
        for stream in run.streams:
            keys = sorted(key for name, key in suspects if name == stream.name)
            sides = _sides(run, target)
            for some in sides.pages(keys):
                result.add(stream, _look_again(run, stream, sides, some, suspects))
        still = [place for place, suspect in suspects.items() if suspect.rounds >= ROUNDS]
        confirmed |= {suspect.mismatch: suspect.tally for suspect in map(suspects.pop, still)}
        log.info("rechecked", round=number + 1, suspects=len(suspects), confirmed=len(confirmed))
    moving |= {suspect.mismatch: suspect.tally for suspect in suspects.values()}
    result.divergences, result.moving = list(confirmed), list(moving)
    result.apart = confirmed | moving


def _wait_clean(run: Run, suspects: dict[tuple[str, Key], _Suspect]) -> None:
    """Give the applier time for the suspects; a key that stays dirty just does not count this round."""

    def clean() -> bool:
        return not any(_dirty(run, stream, suspects) for stream in run.streams)

    try:
        run.wait(clean, CLEAN_LIMIT_S, "the applier")
    except TimeoutError:
        log.info("some keys keep changing", suspects=len(suspects))


def _dirty(run: Run, stream: Stream, suspects: dict[tuple[str, Key], _Suspect]) -> set[Key]:
    keys = [key for name, key in suspects if name == stream.name]
    return run.progress.still_dirty(run.scope, stream, keys) if keys else set()


def _look_again(
    run: Run, stream: Stream, sides: Sides, keys: list[Key], suspects: dict[tuple[str, Key], _Suspect]
) -> Comparison:
    """Read both sides of some suspects once more, note how they look, and drop those that are equal."""
    dirty = run.progress.still_dirty(run.scope, stream, keys)
    expected, actual = sides.read(stream, keys)
    before, after = row_digests(expected), row_digests(actual)
    comparison = sides.compared(stream, expected, actual)
    differing = {mismatch.key: (mismatch, tally) for mismatch, tally in comparison.apart.items()}
    for key in keys:
        if key not in differing:
            del suspects[stream.name, key]
            continue
        suspect = suspects[stream.name, key]
        seen = (before.get(key), after.get(key))
        suspect.rounds = suspect.rounds + 1 if seen == suspect.seen and key not in dirty else 1
        suspect.seen, (suspect.mismatch, suspect.tally) = seen, differing[key]
    return comparison
