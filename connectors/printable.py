"""Text of unknown origin for a terminal: names and keys of documents may hold anything."""

from __future__ import annotations

import json


def printable(text: str) -> str:
    """The text with JSON's escapes for characters that are not shown: a terminal would act on some of them."""
    return "".join(one if one.isprintable() else json.dumps(one)[1:-1] for one in text)
