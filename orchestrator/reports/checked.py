"""What `tranship check` has found, as values for programs: also of a plan that cannot be read."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any

from tranship.connectors.protocols import Finding
from tranship.plans import PlanError
from tranship.plans.problems import Problem, render_path

VERSION = 1
"""Of what `as_dict` gives."""


@dataclass(frozen=True)
class PlanProblem:
    """One problem of the plan's file: `path` leads to the key, `line` and `column` to its place; `write` is what to put
    there, where that is known. 0 where there is no place."""

    code: str
    severity: str
    path: str
    line: int
    column: int
    message: str
    found: str
    allowed: tuple[str, ...]
    near: str
    write: str


@dataclass(frozen=True)
class CheckFinding:
    """One finding about the servers."""

    code: str
    severity: str
    message: str
    hint: str


@dataclass(frozen=True)
class Checked:
    """Whether the plan can run, and what is against it. `docs/json.md` has each field; within a `version` fields are
    only added. Where the plan has an error, no server is asked: `findings` is empty then."""

    version: int
    plan: str
    can_run: bool
    problems: tuple[PlanProblem, ...]
    findings: tuple[CheckFinding, ...]

    def as_dict(self) -> dict[str, Any]:
        """JSON-able form."""
        return asdict(self)


def refused(plan: str, error: PlanError) -> Checked:
    """Of a plan that cannot be used."""
    return Checked(VERSION, plan, False, _problems(error.problems), ())


def checked(plan: str, warnings: Iterable[Problem], findings: Iterable[Finding]) -> Checked:
    """Of a plan whose servers were asked."""
    found = tuple(CheckFinding(f.code, f.severity, f.message, f.hint) for f in findings)
    can_run = not any(finding.severity == "error" for finding in found)
    return Checked(VERSION, plan, can_run, _problems(warnings), found)


def _problems(problems: Iterable[Problem]) -> tuple[PlanProblem, ...]:
    return tuple(
        PlanProblem(
            str(problem.code),
            problem.severity,
            render_path(problem.path),
            problem.line,
            problem.column,
            problem.message,
            problem.found,
            problem.allowed,
            problem.near,
            problem.write,
        )
        for problem in problems
    )
