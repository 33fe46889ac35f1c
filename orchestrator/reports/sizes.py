"""Sizes for people."""

from __future__ import annotations


def size(size: float) -> str:
    """Bytes in the largest unit that they fill."""
    for unit, factor in (("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)):
        if size >= factor:
            return f"{size / factor:.1f} {unit}"
    return f"{size:.0f} B"
