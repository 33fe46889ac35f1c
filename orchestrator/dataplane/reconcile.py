"""Reconcile: compare every row of both sides, while both change, and tell divergence from motion.

A mismatch is first of all a key that somebody is writing to. It becomes a divergence only when, over `ROUNDS` rounds
that each began with a fresh marker through capture and with no dirty entry for the key, neither side's row changed and
they still differ: whatever made the source's row came before a marker that has passed, so it was applied, and nothing
is on its way (`rules.md` D4).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, wait
from dataclasses import dataclass, field

import structlog

from tranship.connectors.protocols import BatchTarget, Key, Mismatch
from tranship.orchestrator.dataplane.comparison import Comparison, compare, row_digests
from tranship.orchestrator.dataplane.drain import pass_marker
from tranship.orchestrator.dataplane.workers import CompareTask, outcome
from tranship.orchestrator.run import POLL_S, Run
from tranship.plans.streams import Stream

log = structlog.get_logger(__name__)

ROUNDS = 3
MOST_ROUNDS = 15
"""After so many rounds a key that still moves is left to the cutover's final pass, where the source is still."""

MARKER_LIMIT_S = 60.0
CLEAN_LIMIT_S = 5.0
PAGE = 500


@dataclass
class Reconciled:
    """What a reconcile found. `moving` keys never stood still; they are among the touched keys and compared again."""

    rows: int = 0
    quarantined: int = 0
    suspects: int = 0
    divergences: list[Mismatch] = field(default_factory=list)
    moving: int = 0


def compare_all(run: Run, seen: Callable[[Stream, Comparison], None]) -> None:
    """Compare every loaded chunk of every stream once, in the workers."""
    under_way: dict[Future[Comparison], Stream] = {}
    todo = _tasks(run)
    task = next(todo, None)
    while task is not None or under_way:
        while task is not None and len(under_way) < 2 * run.workers.count:
            under_way[run.workers.compare(task)] = task.stream
            task = next(todo, None)
        finished, _ = wait(under_way, timeout=POLL_S, return_when=FIRST_COMPLETED)
        for future in finished:
            stream = under_way.pop(future)
            seen(stream, outcome(future))
        run.tick()


def _tasks(run: Run) -> Iterator[CompareTask]:
    for stream in run.streams:
        for chunk in run.progress.chunks(run.scope, stream):
            if chunk.state != "loaded":
                continue  # only a reseed in the middle of a backfill: it will be read after the new position
            yield CompareTask(stream, chunk.span, run.position())


def full(run: Run, target: BatchTarget) -> Reconciled:
    """Compare everything, then recheck what differed."""
    result = once(run)
    _settle(run, target, result.divergences, result)
    return result


def once(run: Run) -> Reconciled:
    """Compare everything and take each difference as it is: for when nothing is applied that could even it out."""
    result = Reconciled()

    def seen(_stream: Stream, comparison: Comparison) -> None:
        result.rows += comparison.rows
        result.quarantined += comparison.quarantined
        result.divergences.extend(comparison.mismatches)

    compare_all(run, seen)
    return result


def touched(run: Run, target: BatchTarget) -> Reconciled:
    """Compare the keys that were applied since the last full reconcile began."""
    result = Reconciled()
    suspects: list[Mismatch] = []
    for stream in run.streams:
        for keys in _pages(run, stream):
            comparison = _compare_keys(run, target, stream, keys)
            result.rows += comparison.rows
            result.quarantined += comparison.quarantined
            suspects.extend(comparison.mismatches)
            run.tick()
    _settle(run, target, suspects, result)
    return result


def _pages(run: Run, stream: Stream) -> Iterator[list[Key]]:
    last: Key | None = None
    while keys := run.progress.touched(run.scope, stream, last, PAGE):
        yield keys
        last = keys[-1]


def _compare_keys(run: Run, target: BatchTarget, stream: Stream, keys: list[Key]) -> Comparison:
    expected = run.source.read_keys(stream, keys, run.position())
    return compare(stream, [expected], [target.read_keys(stream, keys)])


def _settle(run: Run, target: BatchTarget, suspects: list[Mismatch], result: Reconciled) -> None:
    result.suspects = len(suspects)
    confirmed, moving = recheck(run, target, suspects)
    result.divergences, result.moving = confirmed, moving


# --- recheck -----------------------------------------------------------------------------------------------------


@dataclass
class _Suspect:
    """A key under observation: how its two rows looked last time, and for how many rounds that has been so."""

    mismatch: Mismatch
    seen: tuple[bytes | None, bytes | None] | None = None
    rounds: int = 0


def recheck(run: Run, target: BatchTarget, mismatches: Iterable[Mismatch]) -> tuple[list[Mismatch], int]:
    """Tell divergences from keys in motion. Returns the divergences, and how many keys never stood still."""
    suspects = {(m.stream, m.key): _Suspect(m) for m in mismatches}
    confirmed: list[Mismatch] = []
    for number in range(MOST_ROUNDS):
        if not suspects:
            break
        pass_marker(run.source, run.progress, run.scope, run.wait, MARKER_LIMIT_S)
        _wait_clean(run, suspects)
        for stream in run.streams:
            keys = sorted(key for name, key in suspects if name == stream.name)
            for start in range(0, len(keys), PAGE):
                confirmed += _look_again(run, target, stream, keys[start : start + PAGE], suspects)
        log.info("rechecked", round=number + 1, suspects=len(suspects), confirmed=len(confirmed))
    return confirmed, len(suspects)


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
    run: Run, target: BatchTarget, stream: Stream, keys: list[Key], suspects: dict[tuple[str, Key], _Suspect]
) -> list[Mismatch]:
    """Read both sides of some suspects once more; drop those that are equal, return those that are confirmed."""
    dirty = run.progress.still_dirty(run.scope, stream, keys)
    expected = run.source.read_keys(stream, keys, run.position())
    actual = target.read_keys(stream, keys)
    before, after = row_digests(stream, expected), row_digests(stream, actual)
    differing = {m.key: m for m in compare(stream, [expected], [actual]).mismatches}
    confirmed = []
    for key in keys:
        if key not in differing:
            del suspects[stream.name, key]
            continue
        suspect = suspects[stream.name, key]
        seen = (before.get(key), after.get(key))
        suspect.rounds = suspect.rounds + 1 if seen == suspect.seen and key not in dirty else 1
        suspect.seen, suspect.mismatch = seen, differing[key]
        if suspect.rounds >= ROUNDS:
            confirmed.append(suspect.mismatch)
            del suspects[stream.name, key]
    return confirmed
