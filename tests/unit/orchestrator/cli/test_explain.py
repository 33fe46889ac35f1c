"""`tranship explain` knows every code that the program can produce, and the documentation says the same."""

from __future__ import annotations

import re

import pytest
from typer.testing import CliRunner

from tests.unit.test_docs import OPERATIONS, PLANS, PYTHON, section, table
from tranship.orchestrator.cli import commands
from tranship.orchestrator.cli.main import app
from tranship.orchestrator.reports.endings import EXIT_CODES as ENDINGS
from tranship.orchestrator.reports.explanations import EXIT_CODES, FINDINGS, KINDS, PROBLEMS
from tranship.plans.problems import Code

SOURCES = {
    path: path.read_text(encoding="utf-8") for path in PYTHON if path.name not in ("explanations.py", "findings.py")
}


def run(*arguments: str) -> tuple[int, str]:
    result = CliRunner().invoke(app, ["explain", *arguments])
    return result.exit_code, result.output


def test_every_exit_code_is_explained() -> None:
    named = {commands.BAD_PLAN, commands.REFUSED, commands.HELD, commands.LEASE, commands.PAUSED}
    can_be = {0, 1, *named, *ENDINGS.values(), *(code for _, code in commands.ERRORS)}
    signals = {128 + 2, 128 + 15}
    assert set(map(int, EXIT_CODES)) == can_be | signals


def test_every_problem_is_explained() -> None:
    found = {code for text in SOURCES.values() for code in re.findall(r'"(P\d{3})"', text)}
    assert set(PROBLEMS) == found | set(Code)


def test_every_finding_is_explained() -> None:
    parts = (
        "connectors/mongodb", "connectors/postgresql", "orchestrator/engine", "orchestrator/checks", "phases/cutover"
    )  # fmt: skip
    texts = [text for path, text in SOURCES.items() if path.parent.as_posix().endswith(parts)]
    found = {code for text in texts for code in re.findall(r'"((?:source|target|plan|data)\.[a-z_]+)"', text)}
    assert set(FINDINGS) == found


@pytest.mark.parametrize("name", [name for explained in KINDS.values() for name in explained])
def test_each_has_its_meaning_and_what_to_do(name: str) -> None:
    code, said = run(name)
    explained = next(explained[name] for explained in KINDS.values() if name in explained)
    assert code == 0
    assert f"{name}: {explained.means}\n" in said
    assert explained.then in said
    assert explained.then or name in ("0", "1")


def test_the_documentation_says_the_same() -> None:
    exit_codes = {code: (plain(means), plain(then)) for code, means, then in table(section(OPERATIONS, "Exit codes"))}
    assert exit_codes == EXIT_CODES
    problems = {code: plain(means) for code, means in table(section(PLANS, "Problems"))}
    assert problems == {code: explained.means for code, explained in PROBLEMS.items()}


def plain(cell: str) -> str:
    """A cell of a table as a terminal shows it: links are their words."""
    return re.sub(r"\[([^\]]+)\]\([^)]*\)", r"\1", cell)


def test_letter_case_and_typos() -> None:
    assert run("p101") == run("P101")
    code, said = run("target.privilige")
    assert (code, "did you mean target.privilege?" in said) == (2, True)
    code, said = run("\x1b[31m")
    assert (code, "\x1b" in said, "lists all" in said) == (2, False, True)


def test_all_are_listed() -> None:
    code, said = run()
    assert code == 0
    assert len(said.splitlines()) == len(KINDS) + sum(map(len, KINDS.values()))
