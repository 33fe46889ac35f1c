"""The data plane: copying chunks, applying dirty keys, comparing rows. Everything here is made of connectors' verbs."""

from __future__ import annotations


class TooManyApartError(Exception):
    """More keys differ than a comparison can tell one by one; nothing was changed."""
