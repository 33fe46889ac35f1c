"""The source's history (the oplog): for how long a change stays in it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

FULL = 0.9
"""From so much on it counts as full: what comes in pushes the oldest out."""


def keeps_s(age_s: float, stats: Mapping[str, Any]) -> float | None:
    """For how many seconds changes are kept, if as much is written as was so far: `age_s` is how old the oldest is,
    `stats` the reply to `collStats`. None where the reply does not tell."""
    size, most = stats.get("size"), stats.get("maxSize")
    if not (isinstance(size, int | float) and isinstance(most, int | float) and size > 0 and most > 0):
        return None
    filled = min(size / most, 1.0)
    return age_s if filled >= FULL else age_s / filled
