"""Terminals that cannot show all that a plan may say: no command ends in a traceback by that."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

PLAN = """version: 1
plan: shop
source: {mongodb: "${env:SOURCE_URI}", database: shop}
target: {postgresql: "${env:TARGET_URI}"}
streams:
  注文: {from: заказы, table: łódź, columns: {größe: int32}}
"""

LOCALES = {
    "ascii": {"PYTHONIOENCODING": "ascii"},
    "latin-1": {"PYTHONIOENCODING": "latin-1"},
    "C": {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
}


def said(arguments: list[str], locale: str) -> tuple[int, bytes, bytes]:
    """Exit code, standard output and standard error of a command."""
    names = ("PYTHONIOENCODING", "PYTHONUTF8", "LC_ALL", "LANG")
    environment = {name: value for name, value in os.environ.items() if name not in names}
    done = subprocess.run(
        [sys.executable, "-P", "-m", "tranship", *arguments],
        env={**environment, **LOCALES[locale]},
        capture_output=True,
        check=False,
    )
    return done.returncode, done.stdout, done.stderr


@pytest.mark.parametrize("locale", LOCALES)
def test_output_that_a_terminal_cannot_show(tmp_path: Path, locale: str) -> None:
    plan = tmp_path / "plan.yaml"
    plan.write_text(PLAN, encoding="utf-8")
    code, out, err = said(["plan", "show", str(plan)], locale)
    assert (code, b"Traceback" in err) == (0, False), err
    assert b"int" in out
    code, out, err = said(["plan", "show", str(plan), "--json"], locale)
    assert (code, b"Traceback" in err) == (0, False), err


@pytest.mark.parametrize("locale", LOCALES)
def test_refusals_that_a_terminal_cannot_show(tmp_path: Path, locale: str) -> None:
    plan = tmp_path / "plan.yaml"
    plan.write_text(PLAN.replace("größe: int32", "größe: größer"), encoding="utf-8")
    code, _, err = said(["check", str(plan)], locale)
    assert (code, b"Traceback" in err, b"P006" in err) == (2, False, True), err


@pytest.mark.parametrize("locale", LOCALES)
@pytest.mark.parametrize("arguments", [["--help"], ["status", "--help"], ["explain", "4"]])
def test_help_on_any_terminal(locale: str, arguments: list[str]) -> None:
    code, out, err = said(arguments, locale)
    assert (code, b"Traceback" in err, bool(out)) == (0, False, True), err
