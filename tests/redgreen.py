"""Red and green: which of the tests that came since a commit fail on the program as it was then.

A test that never failed proves little. `python -m tests.redgreen REV` lays today's tests over a checkout of REV, runs
there and here each test that REV did not have, and prints for both what came of it:

- `red`: it failed, or took longer than `LIMIT_S`. Before the change that is what it should do.
- `green`: it passed.
- `not run`: its module could not be imported, or its fixtures failed: no proof in either direction.

The exit code is 1 when a test is not green here; a test that is green before, too, is only counted.
"""

from __future__ import annotations

import argparse
import signal
import subprocess
import sys
import tempfile
import types
from collections import Counter
from collections.abc import Generator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from xml.etree import ElementTree

import pytest

ROOT = Path(__file__).parents[1]
Outcomes = dict[str, str]

LIMIT_S = 150
"""For so long a test may run: before the change some wait for what never comes."""


def main() -> int:
    """The program."""
    parser = argparse.ArgumentParser(prog="python -m tests.redgreen", description="red before, green now")
    parser.add_argument("base", metavar="REV", help="the commit before the change")
    parser.add_argument("tests", nargs="*", default=["tests"], help="only those below; all when left out")
    parser.add_argument("--processes", type=int, default=2, help="modules that run at once (default: 2)")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="tranship-before-") as folder:
        before = Path(folder) / "tree"
        _git("worktree", "add", "--detach", str(before), given.base)
        try:
            _run(before, "make", "install")
            _lend_server(before)
            had = _collect(before, given.tests)
            _lay_tests_over(before)
            new = sorted(_collect(ROOT, given.tests) - had)
            then = _outcomes(before, new, given.processes)
        finally:
            _git("worktree", "remove", "--force", str(before))
    return _print(new, then, _outcomes(ROOT, new, given.processes))


def _print(new: Sequence[str], then: Outcomes, now: Outcomes) -> int:
    lines = [f"{then.get(test, 'not run'):8} → {now.get(test, 'not run'):8} {test}" for test in new]
    pairs = Counter((then.get(test, "not run"), now.get(test, "not run")) for test in new)
    lines += [f"{count} were {was} and are {became}" for (was, became), count in sorted(pairs.items())]
    sys.stdout.write("\n".join(lines) + "\n")
    return 0 if all(now.get(test) == "green" for test in new) else 1


def _collect(tree: Path, tests: Sequence[str]) -> set[str]:
    there = [test for test in tests if (tree / test.partition("::")[0]).exists()]
    if not there:
        return set()
    command = [".venv/bin/pytest", "--collect-only", "-q", "-p", "no:randomly", "--continue-on-collection-errors"]
    done = subprocess.run([*command, *there], cwd=tree, capture_output=True, text=True, check=False)
    return {line for line in done.stdout.splitlines() if line.startswith("tests/") and "::" in line}


def _outcomes(tree: Path, tests: Sequence[str], processes: int) -> Outcomes:
    """Run the tests in a tree, each module by itself: one that cannot be imported must not hide the others."""
    modules = sorted({test.partition("::")[0] for test in tests})

    def run(module: str) -> Outcomes:
        return _module_outcomes(tree, [test for test in tests if test.startswith(f"{module}::")])

    with ThreadPoolExecutor(processes) as pool:
        return dict(pair for found in pool.map(run, modules) for pair in found.items())


def _module_outcomes(tree: Path, tests: Sequence[str]) -> Outcomes:
    with tempfile.TemporaryDirectory(prefix="tranship-redgreen-") as folder:
        report, names = Path(folder) / "report.xml", Path(folder) / "names"
        names.write_text("\n".join(tests), encoding="utf-8")
        options = ("-q", f"--junitxml={report}", "-o", "junit_family=xunit1", "-p", "tests.redgreen")
        command = [".venv/bin/pytest", *options, f"@{names}"]
        subprocess.run(command, cwd=tree, stdout=sys.stderr, check=False)
        if not report.exists():
            return {}
        return {_name(case): _outcome(case) for case in ElementTree.parse(report).getroot().iter("testcase")}


def _name(case: ElementTree.Element) -> str:
    # Not the case's file: of a test that is inherited from a suite that is the suite's.
    parts = case.get("classname", "").split(".")
    modules = (size for size in range(len(parts), 0, -1) if (ROOT / Path(*parts[:size])).with_suffix(".py").exists())
    size = next(modules, len(parts))
    file = f"{'/'.join(parts[:size])}.py"
    return "::".join((file, *parts[size:], case.get("name", "")))


def _outcome(case: ElementTree.Element) -> str:
    if case.find("failure") is not None:
        return "red"
    return "green" if case.find("error") is None and case.find("skipped") is None else "not run"


def _lay_tests_over(tree: Path) -> None:
    _run(tree, "rm", "-rf", "tests")
    _run(tree, "cp", "-r", str(ROOT / "tests"), "tests")


def _lend_server(tree: Path) -> None:
    """The fast MongoDB server takes minutes to build; both trees use the same one."""
    built = ROOT / ".venv" / "bin" / "secantusd-rs"
    if built.exists():
        _run(tree, "cp", str(built), ".venv/bin/")


def _git(*words: str) -> None:
    subprocess.run(["git", "-C", str(ROOT), *words], check=True, stdout=sys.stderr)


def _run(folder: Path, *words: str) -> None:
    subprocess.run(words, cwd=folder, check=True, stdout=sys.stderr)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None, None, None]:
    """As a plugin of the runs: end a test that takes too long."""

    def too_long(_number: int, _frame: types.FrameType | None) -> None:
        raise TimeoutError(f"{item.nodeid} ran for {LIMIT_S} s")

    before = signal.signal(signal.SIGALRM, too_long)
    signal.alarm(LIMIT_S)
    try:
        return (yield)
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


if __name__ == "__main__":
    sys.exit(main())
