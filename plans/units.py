"""Sizes, durations and shares as people write them: `512MiB`, `500ms`, `10s`, `7d`, `1%`. One number, one unit."""

from __future__ import annotations

import math
import re
from types import MappingProxyType

SIZE_UNITS = MappingProxyType({"B": 1, "KiB": 1024, "MiB": 1024**2, "GiB": 1024**3})
DURATION_UNITS = MappingProxyType({"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0})

SIZE_PATTERN = r"^\d{1,12}(\.\d{1,6})? ?(B|KiB|MiB|GiB)$"
DURATION_PATTERN = r"^\d{1,12}(\.\d{1,6})? ?(ms|s|m|h|d)$"
SHARE_PATTERN = r"^\d{1,3}(\.\d{1,6})? ?%$"


def parse_size(text: str) -> int:
    """Bytes of a size such as `512MiB`; ValueError says what is allowed."""
    match = re.fullmatch(SIZE_PATTERN, text, re.ASCII)
    if match is None:
        raise ValueError("a size with its unit (B, KiB, MiB, GiB), such as 512MiB")
    number = text.removesuffix(match[2]).rstrip()
    return int(float(number) * SIZE_UNITS[match[2]])


FOREVER = "forever"


def parse_patience(text: str) -> float:
    """Seconds of a duration, or infinity for `forever`; ValueError says what is allowed."""
    try:
        return math.inf if text == FOREVER else parse_duration(text)
    except ValueError as error:
        raise ValueError(f"{error}, or {FOREVER}") from None


def parse_duration(text: str) -> float:
    """Seconds of a duration such as `10s`; ValueError says what is allowed."""
    match = re.fullmatch(DURATION_PATTERN, text, re.ASCII)
    if match is None:
        raise ValueError("a duration with its unit (ms, s, m, h, d), such as 10s")
    number = text.removesuffix(match[2]).rstrip()
    return float(number) * DURATION_UNITS[match[2]]


def parse_share(text: str) -> float:
    """A percentage such as `0.5%` as a part of 1; ValueError says what is allowed."""
    match = re.fullmatch(SHARE_PATTERN, text, re.ASCII)
    if match is None or float(text.rstrip("% ")) > 100:
        raise ValueError("a percentage up to 100%, such as 1%")
    return float(text.rstrip("% ")) / 100
