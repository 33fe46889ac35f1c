"""Turns what pydantic found into problems: with place, found value, what is allowed, and a near spelling."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from tranship.plans.document import Document
from tranship.plans.problems import Code, Path, Problem, near_spelling, render_value
from tranship.plans.schema import keys_at

_TYPES: Mapping[str, str] = {
    "string_type": "a text",
    "int_type": "a whole number",
    "float_type": "a number",
    "bool_type": "true or false",
    "dict_type": "a mapping",
    "model_type": "a mapping",
    "tuple_type": "a list",
}

_LIMITS: Mapping[str, str] = {
    "greater_than": "more than {gt:g}",
    "greater_than_equal": "at least {ge:g}",
    "less_than_equal": "at most {le:g}",
    "string_pattern_mismatch": "a text that matches {pattern}",
    "string_too_short": "a text that is not empty",
    "too_short": "at least {min_length} of them",
}


def translate(error: ValidationError, document: Document) -> list[Problem]:
    """One problem per mistake, each with its place."""
    found = error.errors(include_url=False)
    return [located(_translate(details), document) for details in found if not _is_echo(details)]


def located(problem: Problem, document: Document) -> Problem:
    """The problem with its file, line and column."""
    line, column = document.place(problem.path)
    return replace(problem, file=document.file, line=line, column=column)


def in_order(problems: Iterable[Problem]) -> list[Problem]:
    """Problems in the order of the file."""
    return sorted(problems, key=lambda problem: (problem.line, problem.column, problem.code))


def _is_echo(details: ErrorDetails) -> bool:
    """Whether a list is too short for those of its members that are right: the others have problems of their own."""
    return details["type"] == "too_short" and len(details["input"]) >= details.get("ctx", {})["min_length"]


def _translate(details: ErrorDetails) -> Problem:
    kind, found, context = details["type"], details["input"], details.get("ctx", {})
    path: Path = details["loc"]
    if path[-1:] == ("[key]",):
        path = path[:-1]  # pydantic's way to say that the key itself is wrong; `found` is the key
    if kind == "tranship":
        return _refused(path, found, context)
    if kind == "extra_forbidden":
        allowed = keys_at(path[:-1])
        return Problem(Code.UNKNOWN_KEY, path, "unknown key", allowed=allowed, near=near_spelling(path[-1], allowed))
    if kind == "missing":
        return Problem(Code.MISSING_KEY, path, "this key is missing")
    if kind in _TYPES:
        hint = ": put it in quotes" if kind == "string_type" and isinstance(found, int | float) else ""
        return Problem(Code.TYPE, path, f"must be {_TYPES[kind]}{hint}", found=render_value(found))
    allowed = (_LIMITS[kind].format_map(context),) if kind in _LIMITS else ()
    message = "out of range" if allowed else details["msg"]
    return Problem(Code.VALUE, path, message, found=render_value(found), allowed=allowed)


def _refused(path: Path, found: Any, context: Mapping[str, Any]) -> Problem:
    code, allowed, key = Code(context["code"]), tuple(context["allowed"]), context["key"]
    if key:
        path = (*path, key)
        found = found.get(key) if isinstance(found, dict) else found
    shown = "" if code in (Code.SECRET, Code.MISSING_KEY, Code.LATER) else render_value(found)
    near = context["near"] or (near_spelling(found, allowed) if code is Code.CHOICE else "")
    return Problem(code, path, context["message"], found=shown, allowed=allowed, near=near)
