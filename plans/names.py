"""Names in the target: an injective map from the paths of documents to PostgreSQL identifiers (`rules.md` A4).

The law:

- A name has 1 to 63 bytes of UTF-8, no U+0000, and is none that tranship or PostgreSQL uses itself.
- The name of a path depends on nothing but the path. A plain path passes unchanged, its steps joined by dots, so that a
  plan need not even say the path; any other ends in `_` and 8 hex digits of the SHA-256 of the exact path (its
  steps, each behind a zero byte).
- Nothing plain ends like that, so two paths have one name only if their digests agree in 32 bits and their names up to
  there too.
- `identifiers` gives the paths of one table names that differ also without regard to letter case, without exception.

A plan keeps the map: a column has the name that stands there, whatever another release would call it.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Container, Iterable, Iterator
from typing import TypeAlias

from tranship.plans.document import flow

FieldPath: TypeAlias = tuple[str, ...]
"""Names of fields from the document down, each without U+0000, which BSON does not allow in them."""

MAX_BYTES = 63
"""PostgreSQL cuts longer names without an error, so that two names can become one."""

DIGITS = 8

_RESERVED = re.compile(r"_key|_residue|_ordinal.*|_root_.*|ctid|xmin|xmax|cmin|cmax|tableoid|oid", re.DOTALL)
_DIGEST = re.compile(r".*_[0-9a-f]{8,}", re.DOTALL)


def is_reserved(name: str) -> bool:
    """Whether tranship or PostgreSQL gives this name to a column itself."""
    return _RESERVED.fullmatch(name.casefold()) is not None


def identifier(path: FieldPath) -> str:
    """The name of a path: itself when it is plain."""
    return ".".join(path) if is_plain(path) else hashed(path)


def identifiers(paths: Iterable[FieldPath]) -> dict[FieldPath, str]:
    """Names that differ also without regard to case. A path keeps its name when others are added behind it."""
    names: dict[FieldPath, str] = {}
    taken: set[str] = set()
    for path in dict.fromkeys(paths):
        names[path] = free_identifier(path, taken)
        taken.add(names[path].casefold())
    return names


def free_identifier(path: FieldPath, taken: Container[str], most: int = MAX_BYTES) -> str:
    """The first of a path's names that has `most` bytes at most and is, casefolded, none of the `taken` ones."""
    return next(name for name in _candidates(path, most) if name.casefold() not in taken)


def is_plain(path: FieldPath) -> bool:
    """Whether the path, its steps joined by dots, is a name that stands for no other path."""
    name = ".".join(path)
    if not name.isprintable() or not all(path) or any("." in step for step in path):
        return False
    return 0 < len(name.encode()) <= MAX_BYTES and not is_reserved(name) and not _DIGEST.fullmatch(name.casefold())


def hashed(path: FieldPath, text: str | None = None, most: int = MAX_BYTES, digits: int = DIGITS) -> str:
    """A name of `most` bytes at most: as much as fits of `text` (default: the path), and the path's digest."""
    digest = hashlib.sha256("".join("\0" + step for step in path).encode("utf-8", "surrogatepass")).hexdigest()
    tail = f"_{digest[:digits]}"
    clean = "".join(c if c.isprintable() else "_" for c in (".".join(path) if text is None else text))
    name = _cut(clean, most - len(tail)) + tail
    return _cut(clean.lstrip("_"), most - len(tail)) + tail if is_reserved(name) else name


def written(path: FieldPath) -> str:
    """A path as a plan writes it: a text where that says it all, else a list."""
    return flow(path_data(path))


def path_data(path: FieldPath) -> str | list[str]:
    """The same as data."""
    text = ".".join(path)
    return text if path and all(path) and tuple(text.split(".")) == path else list(path)


def _candidates(path: FieldPath, most: int) -> Iterator[str]:
    name = identifier(path)
    if len(name.encode()) <= most:
        yield name
    for digits in (DIGITS, 2 * DIGITS, 4 * DIGITS):
        yield hashed(path, most=most, digits=digits)


def _cut(text: str, size: int) -> str:
    """The text up to so many bytes, without half a character."""
    return text.encode()[:size].decode(errors="ignore")
