"""What a target can hold, as far as whoever makes rows for it has to know."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class TargetProfile:
    """Part of what a plan means: under another profile the same documents become other rows. The defaults are those of
    PostgreSQL, so that its plans mean what they always have.

    `nul_in_text`: whether a text may hold U+0000. `times`, `days`: the first moment and the end (which is not among
    them) of timestamps in milliseconds, and of dates in days, since 1970; of timestamps where PostgreSQL's range and
    that of Arrow's int64 microseconds meet. `long_key_bytes`: key values beyond it need a key column that is `long`:
    what an index can hold ends soon after (`rules.md` A8). `entry_bytes`: what an entry of an index may have, less the
    places that a child table adds to its key. `part_bytes`: at most what each key column needs besides a long value:
    lengths and alignment, or all of one that is not bounded.
    """

    nul_in_text: bool = False
    times: tuple[int, int] = (-210_866_803_200_000, 9_223_372_036_854_775)  # 4713 BC to the year 294247
    days: tuple[int, int] = (-2_440_588, 2_145_042_906)  # 4713 BC to 5874897 AD
    long_key_bytes: int = 1000
    entry_bytes: int = 2_600
    part_bytes: int = 40


POSTGRESQL = TargetProfile()
