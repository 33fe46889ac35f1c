"""What `tranship check` has found, as values for programs: also of a plan that cannot be read."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import closing
from dataclasses import asdict, dataclass
from typing import Any

from tranship.connectors.printable import printable
from tranship.connectors.protocols import Finding
from tranship.orchestrator.engine.session import Session
from tranship.orchestrator.logs import without_secrets
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
class StreamSize:
    """What a stream's collection holds, by the source's statistics; a `where` is not regarded."""

    stream: str
    documents: int
    bytes: int


@dataclass(frozen=True)
class Outlook:
    """What a run would do: between which servers, and how much of it there is."""

    source: str = ""
    target: str = ""
    streams: tuple[StreamSize, ...] = ()


@dataclass(frozen=True)
class Checked:
    """Whether the plan can run, and what is against it. `docs/json.md` has each field; within a `version` fields are
    only added. Where the plan has an error, no server is asked: `findings` is empty then. `source`, `target` and
    `streams` are known of a plan that can run."""

    version: int
    plan: str
    can_run: bool
    problems: tuple[PlanProblem, ...]
    findings: tuple[CheckFinding, ...]
    source: str = ""
    target: str = ""
    streams: tuple[StreamSize, ...] = ()

    def as_dict(self) -> dict[str, Any]:
        """JSON-able form."""
        return asdict(self)


def refused(plan: str, error: PlanError) -> Checked:
    """Of a plan that cannot be used."""
    return Checked(VERSION, plan, False, _problems(error.problems), ())


def checked(plan: str, warnings: Iterable[Problem], findings: Iterable[Finding], outlook: Outlook) -> Checked:
    """Of a plan whose servers were asked."""
    found = tuple(CheckFinding(f.code, f.severity, f.message, f.hint) for f in findings)
    can_run = not any(finding.severity == "error" for finding in found)
    coming = (outlook.source, outlook.target, outlook.streams)
    return Checked(VERSION, plan, can_run, _problems(warnings), found, *coming)


def outlook(session: Session, findings: Iterable[Finding]) -> Outlook:
    """What a run would do; nothing is known where something is against it. Reads only."""
    if any(finding.severity == "error" for finding in findings):
        return Outlook()
    with closing(session.connect.source()) as source, closing(session.connect.schema()) as schema:
        sizes = tuple(StreamSize(stream.name, *source.estimate(stream)) for stream in session.streams)
        return Outlook(source.identity(), schema.identity(), sizes)


def as_junit(result: Checked) -> str:
    """As JUnit XML, which build servers show: a test of the plan and one of the servers, and a failure for each thing
    that is against a run; what only warns is in the test's output."""
    from xml.etree import ElementTree  # which no other command needs

    suite = ElementTree.Element("testsuite", name=f"tranship check {result.plan}")
    groups: tuple[tuple[str, tuple[PlanProblem | CheckFinding, ...]], ...] = (
        ("plan", result.problems),
        ("servers", result.findings),
    )
    for name, found in groups:
        case = ElementTree.SubElement(suite, "testcase", classname="tranship.check", name=name)
        for one in found:
            if one.severity == "error":
                ElementTree.SubElement(case, "failure", type=one.code, message=_text(one.message))
        told = [f"{one.severity} {one.code}: {_text(one.message)}" for one in found if one.severity != "error"]
        if told:
            ElementTree.SubElement(case, "system-out").text = "\n".join(told)
    counts = {"tests": len(groups), "failures": len(suite.findall("testcase/failure"))}
    suite.attrib.update({key: str(value) for key, value in counts.items()})
    return ElementTree.tostring(suite, encoding="unicode", xml_declaration=True) + "\n"


def _text(message: str) -> str:
    """Without the characters that XML cannot hold."""
    return printable(without_secrets(message))


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
