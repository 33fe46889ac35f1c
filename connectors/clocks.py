"""Clocks of servers against this machine's: times of different servers are compared in reports, and by people."""

from __future__ import annotations

from tranship.connectors.protocols.forms import Finding

MOST_S = 5.0
"""So far apart they may be."""


def finding(code: str, whose: str, told: float, before: float, after: float) -> list[Finding]:
    """What to know of a clock that told a time (seconds since 1970) somewhere between two moments of this machine's."""
    off = told - after if told > after else min(told - before, 0.0)
    if abs(off) <= MOST_S:
        return []
    message = f"the {whose}'s clock is {abs(off):,.0f} s {'ahead of' if off > 0 else 'behind'} this machine's"
    hint = "let both follow a time server (NTP): nothing is decided by it, but times in reports cannot be compared"
    return [Finding(code, "warning", message, hint)]
