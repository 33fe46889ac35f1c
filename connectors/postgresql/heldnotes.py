"""The notes of each key, as a ledger keeps them: by what they are counted by, so no name of a document is there."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence

import pyarrow as pa

from tranship.connectors.fit import Effect, Note, Notes
from tranship.connectors.postgresql.datasessions import DataSession, many, state_name
from tranship.connectors.postgresql.settlement import place
from tranship.connectors.postgresql.statetables import digest
from tranship.connectors.protocols import Key, Scope
from tranship.plans.streams import Stream


class HeldNotes:
    """Of one run and feed, inside of the caller's transaction."""

    def __init__(self, session: DataSession, state_schema: str, scope: Scope) -> None:
        self._session = session
        self._name = state_name(state_schema, "note")
        self._scope = scope

    def keep(self, stream: Stream, notes: Mapping[Key, Sequence[Note]]) -> None:
        """Add those of keys that have none."""
        rows = sorted((digest(key), key, _written(found)) for key, found in notes.items() if found)
        if not rows:
            return
        digests, keys, kinds = zip(*rows, strict=True)
        self._session.run(
            f"INSERT INTO {self._name} (run, feed, stream, digest, key, kinds) SELECT $1, $2, $3, g.* FROM "
            "(SELECT digest, key, kinds::jsonb FROM unnest($4::bytea[], $5::bytea[], $6::text[]) "
            "AS given(digest, key, kinds)) AS g",
            [
                *place(self._scope, stream),
                many(digests, pa.binary()),
                many(keys, pa.binary()),
                many(kinds, pa.string()),
            ],
        )

    def take_out(self, stream: Stream, keys: Sequence[Key]) -> Notes:
        """Forget those of the keys; returns them. Locked in the order of all who write here."""
        found = self._session.run(
            f"WITH taken AS (SELECT t.ctid FROM {self._name} AS t WHERE t.run = $1 AND t.feed = $2 AND t.stream = $3 "
            "AND t.digest = ANY($4::bytea[]) ORDER BY t.digest FOR UPDATE) "
            f"DELETE FROM {self._name} AS t USING taken WHERE t.ctid = taken.ctid RETURNING t.key, t.kinds::text",
            [*place(self._scope, stream), many([digest(key) for key in keys], pa.binary())],
        )
        return {row["key"]: _read(row["kinds"]) for row in found.to_pylist()}


def _written(notes: Sequence[Note]) -> str:
    counts = Counter(note.kind for note in notes)
    return json.dumps([[kind.place, kind.reason, kind.effect, count] for kind, count in sorted(counts.items())])


def _read(kinds: str) -> list[Note]:
    """As many of each kind as there were, without their paths."""
    found = [(Note(at, reason, Effect(effect), at), count) for at, reason, effect, count in json.loads(kinds)]
    return [note for note, count in found for _ in range(count)]
