"""Touched keys: those that were applied since the last full comparison began, compared page by page.

The cutover compares them while the applications stand still (`rules.md` D5). So that this takes no longer the longer a
run has waited for its approval, those that are found equal before are forgotten, unless they were applied again since.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial

from tranship.connectors.batch import Batch
from tranship.connectors.pages import PageSize
from tranship.connectors.protocols import (
    BatchSource,
    BatchTarget,
    Key,
    Mismatch,
    Progress,
    Scope,
    TouchedKey,
    is_nameless,
)
from tranship.orchestrator.dataplane.comparison import Comparison, compare
from tranship.orchestrator.dataplane.positions import durable
from tranship.plans.streams import Stream

MOST_KEYS = 100
"""Of one read: while it goes on others have to wait, at a server that does one thing at a time."""


class Sides:
    """Both sides of one stream's keys, as they are now."""

    def __init__(self, source: BatchSource, target: BatchTarget, progress: Progress, scope: Scope) -> None:
        self._source = source
        self._target = target
        self._progress = progress
        self._scope = scope
        self.page = PageSize(MOST_KEYS)

    def read(self, stream: Stream, keys: Sequence[Key]) -> tuple[Batch, Batch]:
        """What source and target hold of the keys, a page of them at the most; the source is read first."""
        expected = self._source.read_keys(stream, keys, durable(self._progress, self._scope))
        actual = self._target.read_keys(stream, keys)
        self.page.learn(len(keys), max(expected.size, actual.rows.nbytes))
        return expected, actual

    def compared(self, stream: Stream, expected: Batch, actual: Batch) -> Comparison:
        """What `read` has read, compared."""
        return compare(stream, [expected], [actual], partial(self._source.documents, stream))

    def pages(self, keys: Sequence[Key]) -> Iterator[list[Key]]:
        """The keys, so many at once as `read` has learned to take."""
        left = list(keys)
        while left:
            some, left = left[: self.page.items], left[self.page.items :]
            yield some

    def compare(self, stream: Stream, keys: Sequence[Key]) -> Iterator[tuple[list[Key], Comparison]]:
        """The keys as they are now on both sides, page by page."""
        for some in self.pages(keys):
            expected, actual = self.read(stream, some)
            yield some, self.compared(stream, expected, actual)

    def compare_touched(self, stream: Stream) -> Iterator[tuple[list[TouchedKey], Comparison]]:
        """All touched keys of a stream, as noted *before* both sides were read, with what the look at them gave."""
        last: Key | None = None
        while noted := self._progress.touched(self._scope, stream, last, self.page.items):
            last = noted[-1].key
            expected, actual = self.read(stream, [one.key for one in noted])
            yield noted, self.compared(stream, expected, actual)

    def forget_equal(self, stream: Stream) -> Iterator[int]:
        """Forget the touched keys of a stream that are equal now; yields how many, page by page.

        One that differs stays, in motion or not: the cutover looks at it again.
        """
        for noted, comparison in self.compare_touched(stream):
            differing = {mismatch.key for mismatch in comparison.apart}
            equal = [one for one in noted if one.key not in differing]
            yield self._progress.forget_equal(self._scope, stream, equal)

    def settle_recorded(self, stream: Stream) -> Iterator[int]:
        """Take off the record the divergences of a stream that are equal now; yields how many, page by page."""
        of_stream = {one.key: one for one in recorded(self._progress, self._scope) if one.stream == stream.name}
        for keys, comparison in self.compare(stream, sorted(of_stream)):
            differing = {mismatch.key for mismatch in comparison.apart}
            equal = [of_stream[key] for key in keys if key not in differing]
            self._progress.note_divergences(self._scope, (), equal)
            yield len(equal)


def recorded(progress: Progress, scope: Scope) -> list[Mismatch]:
    """The divergences on record that can be looked at one by one: no query finds a nameless document again."""
    return [one for one in progress.divergences(scope) if not is_nameless(one.key)]
