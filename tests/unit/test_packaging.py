"""What is installed and how: nothing left out, nothing unpinned, no server software inside."""

from __future__ import annotations

import ast
import re
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FOLDERS = ["plans", "connectors", "orchestrator"]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
LOCK = (ROOT / "requirements.lock").read_text()
SHIPPED_LOCK = (ROOT / "docker" / "requirements.lock").read_text()


def test_every_package_is_installed() -> None:
    found = {
        "tranship." + ".".join(init.parent.relative_to(ROOT).parts)
        for folder in FOLDERS
        for init in (ROOT / folder).rglob("__init__.py")
    }
    assert set(PROJECT["tool"]["setuptools"]["packages"]) == found | {"tranship", "tranship.router"}


@pytest.mark.parametrize("folder", [*FOLDERS, "tranship"])
def test_every_module_is_in_a_package(folder: str) -> None:
    """A folder without `__init__.py` would be left out of the wheel in silence."""
    bare = {module.parent for module in (ROOT / folder).rglob("*.py") if not (module.parent / "__init__.py").exists()}
    assert not bare


def test_every_file_beside_the_modules_is_installed() -> None:
    patterns = [
        package.removeprefix("tranship.").replace(".", "/") + "/" + pattern
        for package, some in PROJECT["tool"]["setuptools"]["package-data"].items()
        for pattern in some
    ]
    files = {
        path.relative_to(ROOT)
        for folder in [*FOLDERS, "tranship"]
        for path in (ROOT / folder).rglob("*")
        if path.is_file() and path.suffix not in {".py", ".pyc"}
    }
    assert {str(path) for path in files if not any(path.match(pattern) for pattern in patterns)} == set()


@pytest.mark.parametrize("lock", [LOCK, SHIPPED_LOCK])
def test_the_locks_have_hashes_and_no_addresses(lock: str) -> None:
    pinned = re.findall(r"^(\S+)==\S+.*\\\n    --hash=sha256:[0-9a-f]{64}", lock, re.MULTILINE)
    assert len(pinned) == len(re.findall(r"^[a-z0-9]", lock, re.MULTILINE)) > 10
    assert "://" not in lock
    assert "index" not in lock


def test_the_shipped_lock_is_the_part_without_extras() -> None:
    shipped = set(re.findall(r"^(\S+==\S+)", SHIPPED_LOCK, re.MULTILINE))
    assert shipped < set(re.findall(r"^(\S+==\S+)", LOCK, re.MULTILINE))
    assert not any("secantus" in pin or "pgserver" in pin for pin in shipped)


def test_the_lock_covers_what_the_project_asks_for() -> None:
    extras = PROJECT["project"]["optional-dependencies"]
    asked = [*PROJECT["project"]["dependencies"], *extras["sandbox"], *extras["dev"]]
    names = {re.split(r"[\[>=<]", requirement)[0].lower() for requirement in asked}
    assert names <= set(re.findall(r"^([a-z0-9-]+)==", LOCK, re.MULTILINE))


@pytest.mark.parametrize("folder", [*FOLDERS, "tranship", "tests"])
def test_the_mongodb_of_the_sandbox_is_never_imported(folder: str) -> None:
    """secantusdb is GPL-2.0: it runs as a process of its own."""
    imported = set()
    for module in (ROOT / folder).rglob("*.py"):
        for node in ast.walk(ast.parse(module.read_text())):
            if isinstance(node, ast.Import):
                imported |= {alias.name.split(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and not node.level:
                imported.add((node.module or "").split(".")[0])
    assert not {name for name in imported if name.startswith("secantus")}
    assert not any("secantus" in requirement for requirement in PROJECT["project"]["dependencies"])
