"""What `tranship check` has found, as values for programs: also of a plan that cannot be read."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import closing
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from tranship.connectors.printable import printable
from tranship.connectors.protocols import Finding
from tranship.orchestrator.checks import estimate
from tranship.orchestrator.engine.session import Session
from tranship.orchestrator.logs import without_secrets
from tranship.plans import PlanError
from tranship.plans.problems import Problem, render_path

if TYPE_CHECKING:
    from tranship.orchestrator.checks.samples import Sampled

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
    """One finding about the servers or the documents. `stream`: the only one that it is about, if it is about one."""

    code: str
    severity: str
    message: str
    hint: str
    stream: str = ""


def named(findings: Iterable[Finding]) -> tuple[CheckFinding, ...]:
    """Findings as values for programs."""
    return tuple(CheckFinding(one.code, one.severity, one.message, one.hint, one.stream) for one in findings)


@dataclass(frozen=True)
class StreamSize:
    """What a stream's collection holds, by the source's statistics, in which a `where` is not regarded; how many of its
    documents were looked at."""

    stream: str
    documents: int
    bytes: int
    looked_at: int = 0


@dataclass(frozen=True)
class Outlook:
    """What a run would do: between which servers, how much of it there is, and how long it takes (`Estimate`)."""

    source: str = ""
    target: str = ""
    streams: tuple[StreamSize, ...] = ()
    seconds: float | None = None
    wait_s: float | None = None


@dataclass(frozen=True)
class Checked:
    """Whether the plan can run, and what is against it. `docs/json.md` has each field; within a `version` fields are
    only added. Where the plan has an error, no server is asked: `findings` is empty then. `source`, `target`,
    `streams`, `seconds` and `wait_s` are known of servers that have nothing against the plan."""

    version: int
    plan: str
    can_run: bool
    problems: tuple[PlanProblem, ...]
    findings: tuple[CheckFinding, ...]
    source: str = ""
    target: str = ""
    streams: tuple[StreamSize, ...] = ()
    seconds: float | None = None
    wait_s: float | None = None

    def as_dict(self) -> dict[str, Any]:
        """JSON-able form."""
        return asdict(self)


def refused(plan: str, error: PlanError) -> Checked:
    """Of a plan that cannot be used."""
    return Checked(VERSION, plan, False, _problems(error.problems), ())


def checked(plan: str, warnings: Iterable[Problem], findings: Iterable[Finding], outlook: Outlook) -> Checked:
    """Of a plan whose servers were asked."""
    found = named(findings)
    can_run = not any(finding.severity == "error" for finding in found)
    return Checked(VERSION, plan, can_run, _problems(warnings), found, **vars(outlook))


def outlook(session: Session, findings: Iterable[Finding], sample: int) -> tuple[list[Finding], Outlook]:
    """What so many documents of each stream say, and what a run would do; nothing is known where a server is against
    it. Reads only."""
    errors = [finding for finding in findings if finding.severity == "error"]
    if any(not finding.stream for finding in errors):
        return [], Outlook()
    left_out = frozenset(finding.stream for finding in errors)
    found, sampled = _sampled(session, sample, left_out)
    looked_at = {one.stream: one.documents for one in sampled}
    with closing(session.connect.source()) as source, closing(session.connect.schema()) as schema:
        sizes = tuple(
            StreamSize(stream.name, *source.estimate(stream), looked_at.get(stream.name, 0))
            for stream in session.streams
            if stream.name not in left_out
        )
        identities = source.identity(), schema.identity()
    about = estimate.estimate(session, sum(one.documents for one in sizes), sampled)
    found += estimate.history(session, about.seconds)
    return found, Outlook(*identities, sizes, about.seconds, about.wait_s)


def _sampled(session: Session, sample: int, left_out: frozenset[str]) -> tuple[list[Finding], list[Sampled]]:
    if not sample:
        return [], []
    from tranship.orchestrator.checks import samples  # with Arrow, which no other look needs

    return samples.look(session, sample, left_out)


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
