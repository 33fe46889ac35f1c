"""The package's face: exact exports, and no import of a driver or of a package above."""

from __future__ import annotations

import ast
import sys
from pathlib import Path

import pytest

import tranship.plans

MODULES = sorted(Path(tranship.plans.__file__).parent.glob("*.py"))


def test_exports_are_exact() -> None:
    exported = tranship.plans.__all__
    assert sorted(exported) == sorted(set(exported))
    public = {
        name
        for name, value in vars(tranship.plans).items()
        if not name.startswith("_") and getattr(value, "__module__", "tranship.plans.").startswith("tranship.plans.")
        if not hasattr(value, "__path__") and type(value).__name__ != "module"
    }
    assert public - {"annotations"} == set(exported)


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.stem)
def test_imports(path: Path) -> None:
    allowed = {"pydantic", "pydantic_core", "yaml", "tranship", *sys.stdlib_module_names}
    for name in _imported(path):
        assert name.partition(".")[0] in allowed, name
        assert not name.startswith("tranship.") or name.startswith("tranship.plans"), name


def _imported(path: Path) -> list[str]:
    names: list[str] = []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            names.append(node.module or "")
    return names
