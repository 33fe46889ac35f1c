"""How many documents are sampled for spans."""

from __future__ import annotations

import pytest

from tranship.connectors.mongodb.reader import (
    MAX_SAMPLES,
    MAX_SPANS,
    SAMPLED_SHARE,
    SAMPLES_PER_SPAN,
    SCANNED_BYTES,
    sample_size,
)

MIB = 1 << 20


@pytest.mark.parametrize(
    ("wanted", "documents", "size", "count"),
    [
        (10, 200, 200 * 100, 10 * SAMPLES_PER_SPAN),  # small: it may be read whole
        (MAX_SPANS, 10**9, 10**12, MAX_SAMPLES),  # many documents: far below the share
        (12_500, 10**6, 50 * 10**9, 10**6 // SAMPLED_SHARE),  # large documents
        (100, 20, 320 * MIB, 1),  # hardly any, each as large as can be
    ],
)
def test_a_large_collection_is_never_read_whole_for_its_sample(
    wanted: int, documents: int, size: int, count: int
) -> None:
    assert sample_size(wanted, documents, size) == count
    assert count >= 1
    assert size <= SCANNED_BYTES or count == 1 or count / documents < 0.05
