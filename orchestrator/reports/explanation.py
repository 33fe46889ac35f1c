"""The form of an explanation."""

from __future__ import annotations

from typing import NamedTuple


class Explanation(NamedTuple):
    """What a code means, and what to do; nothing where there is nothing to be done."""

    means: str
    then: str
