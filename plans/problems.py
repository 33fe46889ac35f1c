"""What is wrong with a plan: problems with their places, and the one error that carries all of them."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Literal, TypeAlias

Path: TypeAlias = tuple[str | int, ...]
"""The way to a value of the plan: keys, and indexes of lists."""

_CREDENTIALS = re.compile(r"://|password|secret", re.IGNORECASE)
_PLAIN_KEY = re.compile(r"[A-Za-z_][\w-]*", re.ASCII)


class Code(StrEnum):
    """Codes of problems with the form of a plan; `plans.rules` has those of its content. Codes are never reused."""

    SYNTAX = "P001"
    DUPLICATE = "P002"
    UNKNOWN_KEY = "P003"
    MISSING_KEY = "P004"
    TYPE = "P005"
    CHOICE = "P006"
    LATER = "P007"
    SECRET = "P008"
    VALUE = "P009"


@dataclass(frozen=True)
class Problem:
    """One mistake: where it is, what was found, what is allowed, the spelling that was probably meant, and a line to
    write in its place."""

    code: str
    path: Path
    message: str
    found: str = ""
    allowed: tuple[str, ...] = ()
    near: str = ""
    write: str = ""
    severity: Literal["error", "warning"] = "error"
    file: str = ""
    line: int = 0
    column: int = 0

    def __str__(self) -> str:
        place = f"{self.file}:{self.line}:{self.column}: " if self.line else (f"{self.file}: " if self.file else "")
        warning = "warning: " if self.severity == "warning" else ""
        where = f"{render_path(self.path)}: " if self.path else ""
        return f"{place}{warning}{self.code} {where}{self.message}{self._details()}"

    def _details(self) -> str:
        found = f" (found {self.found})" if self.found else ""
        near = f"; did you mean {self.near}?" if self.near else ""
        allowed = f"; allowed: {', '.join(self.allowed)}" if self.allowed else ""
        write = f"; write {self.write}" if self.write else ""
        return found + near + allowed + write


class PlanError(Exception):
    """A plan that cannot be used; `problems` holds every mistake that was found. Never holds a secret's value."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        self.problems = tuple(problems)
        super().__init__("\n".join(map(str, self.problems)))

    def __reduce__(self) -> tuple[type[PlanError], tuple[tuple[Problem, ...]]]:
        return PlanError, (self.problems,)


def render_path(path: Path) -> str:
    """`streams.orders.indexes[0].columns`; keys that are not plain names are quoted."""
    text = ""
    for step in path:
        if isinstance(step, int):
            text += f"[{step}]"
        else:
            text += ("." if text else "") + (step if _PLAIN_KEY.fullmatch(step) else _quoted(step))
    return text


def render_value(value: object) -> str:
    """A found value, short and on one line; anything that may hold credentials is not shown."""
    if isinstance(value, dict | list | tuple):
        return "a mapping" if isinstance(value, dict) else "a list"
    if value is None or isinstance(value, bool):
        return {None: "nothing", True: "true", False: "false"}[value]
    if isinstance(value, str):
        if _CREDENTIALS.search(value):
            return "a text that may hold credentials, not shown"
        return _quoted(value)
    return str(value)[:60]


def _quoted(text: str) -> str:
    if "://" in text:
        return '"…"'
    short = text if len(text) <= 60 else text[:57] + "…"
    return '"' + "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in short) + '"'


def near_spelling(word: object, allowed: Iterable[str]) -> str:
    """The allowed word that was probably meant, or nothing."""
    matches = difflib.get_close_matches(str(word).lower(), list(allowed), n=1)
    return matches[0] if matches else ""
