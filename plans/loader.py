"""Reads a plan file: YAML, form, rules, in this order; each step reports everything that it finds."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from tranship.plans.addresses import Surroundings
from tranship.plans.document import Document, read_document
from tranship.plans.models import Plan
from tranship.plans.problems import Code, PlanError, Problem
from tranship.plans.problems import Path as PlanPath
from tranship.plans.rules import check
from tranship.plans.translation import in_order, located, translate

_ADDRESSES: Mapping[PlanPath, str] = {
    ("source", "mongodb"): "mongodb://",
    ("target", "postgresql"): "postgresql://",
    ("cutover", "writers", "login"): "mongodb://",
}
"""Where a plan holds URIs, whichever of a list, and ones that lead nowhere."""


@dataclass(frozen=True)
class Loaded:
    """A plan that can be used, and the warnings about it."""

    plan: Plan
    warnings: tuple[Problem, ...]


def load(path: Path, env: Mapping[str, str] = os.environ) -> Plan:
    """Read the plan at `path`, with secrets from `env` and files. Raises `PlanError` with every problem found."""
    return load_with_warnings(path, env).plan


def load_with_warnings(path: Path, env: Mapping[str, str] = os.environ) -> Loaded:
    """As `load`, with what is allowed but looks like a mistake."""
    return _loaded(read_document(_read(path), str(path)), Surroundings(env, path.parent))


def load_without_addresses(path: Path) -> Loaded:
    """As `load_with_warnings`, only to look at the plan: its URIs are not read, so that no secret has to be there."""
    document = read_document(_read(path), str(path))
    _lead_nowhere(document.data, ())
    return _loaded(document, Surroundings({}, path.parent))


def _loaded(document: Document, surroundings: Surroundings) -> Loaded:
    problems = [located(problem, document) for problem in _misplaced_references(document.data, ())]
    plan: Plan | None = None
    try:
        plan = Plan.model_validate(document.data, context=surroundings)
    except ValidationError as exc:
        problems += translate(exc, document)
    if plan is not None:
        problems += [located(problem, document) for problem in check(plan)]
    # Raised outside of the except clause: pydantic's error holds the input, secrets included.
    if plan is None or any(problem.severity == "error" for problem in problems):
        raise PlanError(in_order(problems))
    return Loaded(plan, tuple(in_order(problems)))


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except OSError as exc:
        message = f"the file cannot be read: {exc.strerror}"
    except UnicodeDecodeError:
        message = "the file is not UTF-8 text"
    raise PlanError([Problem(Code.SYNTAX, (), message, file=str(path))])


def _lead_nowhere(value: object, path: PlanPath) -> None:
    if isinstance(value, dict):
        for key, part in value.items():
            if (*path, key) in _ADDRESSES:
                value[key] = _ADDRESSES[*path, key]
            else:
                _lead_nowhere(part, (*path, key))
    elif isinstance(value, list):
        for part in value:
            _lead_nowhere(part, path)


def _misplaced_references(value: object, path: PlanPath) -> Iterator[Problem]:
    """References to secrets anywhere but in a URI: they would be taken as they are written."""
    if isinstance(value, dict):
        for key, part in value.items():
            yield from _misplaced_references(part, (*path, key))
    elif isinstance(value, list):
        for index, part in enumerate(value):
            yield from _misplaced_references(part, (*path, index))
    elif isinstance(value, str) and ("${env:" in value or "${file:" in value) and not _is_address(path):
        yield Problem(Code.SECRET, path, "references stand only in the URI of an endpoint: write the value itself")


def _is_address(path: PlanPath) -> bool:
    return tuple(part for part in path if not isinstance(part, int)) in _ADDRESSES
