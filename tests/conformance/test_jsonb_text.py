"""The text of json columns against PostgreSQL: what the source writes is what jsonb prints."""

from __future__ import annotations

from random import Random, randrange

import psycopg

from tests.unit.mongodb import random_bson
from tranship.connectors.mongodb import jsontext


def test_jsonb_prints_the_texts_of_bson_values_as_they_are(target_db: str) -> None:
    seed = randrange(2**32)
    random = Random(seed)
    values = [random_bson.value(random) for _ in range(2000)]
    texts = [jsontext.write(kind, raw, 0, len(raw))[0] for kind, raw in values]
    known = [text for text in texts if text is not None]
    with psycopg.connect(target_db) as connection:
        rows = connection.execute(
            "select t::jsonb::text from unnest(%s::text[]) with ordinality u(t, n) order by n", [known]
        )
        printed = [row[0] for row in rows]
    assert printed == known, f"seed {seed}"
    assert len(known) > 1000
