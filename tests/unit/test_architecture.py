"""The house's rules that a machine can check: which way imports go, what may know what, what importing costs."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGES = ("plans", "connectors", "orchestrator")
"""From the bottom up: each may import itself and those before it."""

ROOMS = (
    ("cli",),
    ("demo",),
    ("design", "rehearsal"),
    ("reports",),
    ("checks",),
    ("engine",),
    ("phases", "services"),
    ("dataplane",),
    ("journal",),
)
"""Of the orchestrator, from the top down: each may import itself and those after it."""

DRIVERS = {"bson", "pymongo", "psycopg", "sqlalchemy", "adbc_driver_postgresql", "adbc_driver_manager", "pyarrow"}
OWN_DRIVERS = {"mongodb": {"bson", "pymongo"}, "postgresql": DRIVERS - {"bson", "pymongo"}}


def modules(package: str) -> list[Path]:
    return sorted((ROOT / package).rglob("*.py"))


def imports(path: Path) -> Iterator[str]:
    """Every module that a file imports, also inside functions."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            assert node.module is not None
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


@pytest.mark.parametrize("package", PACKAGES)
def test_imports_go_one_way(package: str) -> None:
    above = PACKAGES[PACKAGES.index(package) + 1 :]
    wrong = [
        f"{path.relative_to(ROOT)} imports {name}"
        for path in modules(package)
        for name in imports(path)
        if any(name == f"tranship.{other}" or name.startswith(f"tranship.{other}.") for other in above)
    ]
    assert not wrong


@pytest.mark.parametrize("room", [room for floor in ROOMS for room in floor])
def test_rooms_of_the_orchestrator_import_downwards(room: str) -> None:
    floor = next(number for number, floor in enumerate(ROOMS) if room in floor)
    above = {name for rooms in ROOMS[:floor] for name in rooms}
    wrong = [f"{path.relative_to(ROOT)} imports {other}" for path, other in _rooms_of(room) if other in above]
    assert not wrong


def test_what_all_rooms_use_knows_none_of_them() -> None:
    rooms = {room for floor in ROOMS for room in floor}
    beside = [(path, other) for path, other in _rooms_of("") if other in rooms]
    assert not [f"{path.relative_to(ROOT)} imports {other}" for path, other in beside]


def _rooms_of(room: str) -> Iterator[tuple[Path, str]]:
    """What the files of a room (or, for no name, beside the rooms) import of the orchestrator: its rooms' names."""
    files = modules(f"orchestrator/{room}") if room else sorted((ROOT / "orchestrator").glob("*.py"))
    for path in files:
        for name in imports(path):
            parts = name.split(".")
            if parts[:2] == ["tranship", "orchestrator"] and len(parts) > 2:
                yield path, parts[2]


def test_plans_know_no_driver() -> None:
    known = {name.split(".")[0] for path in modules("plans") for name in imports(path)}
    assert not known & DRIVERS


@pytest.mark.parametrize("connector", OWN_DRIVERS)
def test_a_connector_knows_only_its_own_driver(connector: str) -> None:
    allowed = OWN_DRIVERS[connector] | {"pyarrow"}
    known = {name.split(".")[0] for path in modules(f"connectors/{connector}") for name in imports(path)}
    assert known & DRIVERS <= allowed


def test_the_orchestrator_knows_connectors_by_their_doors_only() -> None:
    """The demo and the sandbox stand beside the servers: they judge and start them without the connectors' code."""
    beside = (ROOT / "orchestrator" / "demo", ROOT / "orchestrator" / "sandbox")
    inner = [path for path in modules("orchestrator") if not path.is_relative_to(beside[0])]
    known = {
        (path.relative_to(ROOT).as_posix(), name)
        for path in inner
        if not path.is_relative_to(beside[1])
        for name in imports(path)
    }
    drivers = DRIVERS - {"pyarrow"}  # in which batches travel
    connectors = tuple(f"tranship.connectors.{name}" for name in (*OWN_DRIVERS, "memory"))
    assert not [f"{path} imports {name}" for path, name in known if name.split(".")[0] in drivers]
    assert not [f"{path} imports {name}" for path, name in known if name.startswith(connectors)]


def test_what_carries_a_run_goes_by_traits_and_no_phases_name() -> None:
    """What phases say of themselves (`plans.strategies`) decides; only words about a phase may name one."""
    wordy = {"sentences.py", "earlier.py"}  # the latter reads journals of when the cutover was one phase
    folders = ("engine", "services", "reports", "journal", "dataplane")
    files = [path for folder in folders for path in modules(f"orchestrator/{folder}") if path.name not in wordy]
    assert len(files) > 40
    named = [
        f"{path.relative_to(ROOT)}:{node.lineno} names {node.attr}"
        for path in files
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "PhaseName"
    ]
    assert not named


def test_the_common_part_of_connectors_knows_no_driver() -> None:
    common = list((ROOT / "connectors").glob("*.py"))
    known = {name.split(".")[0] for path in common for name in imports(path)}
    assert known & DRIVERS <= {"pyarrow"}


def test_every_module_says_what_it_is_for() -> None:
    silent = [
        str(path.relative_to(ROOT))
        for package in (*PACKAGES, "tranship")
        for path in modules(package)
        if path.stat().st_size and not ast.get_docstring(ast.parse(path.read_text(encoding="utf-8")))
    ]
    assert not silent


def test_importing_the_public_face_loads_no_driver_and_no_orchestrator() -> None:
    code = "import sys, tranship; print('\\n'.join(sys.modules))"
    done = subprocess.run([sys.executable, "-P", "-c", code], capture_output=True, text=True, check=True)
    loaded = set(done.stdout.split())
    assert "tranship" in loaded
    assert not {name.split(".")[0] for name in loaded} & DRIVERS
    assert not {name for name in loaded if name.startswith(("tranship.orchestrator", "tranship.connectors"))}
