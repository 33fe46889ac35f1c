"""What a run's publication, slot and table of markers are called.

One name for all three: they are of different kinds, so none is in another's way. Slots are known in the whole cluster
of databases, and may have lower-case letters, digits and underscores only; so a digest of database, state schema and
run tells runs apart (`rules.md` A4), and before it stands as much of the run's name as may be read.
"""

from __future__ import annotations

import hashlib
import re

from tranship.connectors.postgresql.layout import NAME_BYTES

_DIGITS = 32
_PREFIX = "tranship_"


def feed_name(database: str, state_schema: str, run: str) -> str:
    """The name, of 63 bytes at most."""
    # No identifier holds U+0000, so that the parts cannot run into one another.
    digest = hashlib.sha256("\0".join((database, state_schema, run)).encode()).hexdigest()[:_DIGITS]
    readable = re.sub("[^a-z0-9]+", "_", run.lower()).strip("_")[: NAME_BYTES - len(_PREFIX) - _DIGITS - 1]
    return f"{_PREFIX}{readable}_{digest}" if readable else f"{_PREFIX}{digest}"
