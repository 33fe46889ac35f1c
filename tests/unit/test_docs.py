"""The documentation agrees with the code: keys, commands, codes, examples, links, every path and name that it gives."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import typer

from tests.unit.plans.texts import ENV
from tranship.connectors.postgresql.layout import layout
from tranship.orchestrator.cli import main as cli
from tranship.orchestrator.engine.outcomes import OUTCOMES, Outcome
from tranship.plans import STRATEGIES, json_schema, load_with_warnings
from tranship.plans.pairs import PAIRS
from tranship.plans.problems import Code
from tranship.plans.rules import RULES
from tranship.plans.streams import Column, LogicalType, Stream
from tranship.plans.units import parse_duration, parse_share, parse_size

ROOT = Path(__file__).parents[2]
FILES = [
    *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md")),
    *sorted((ROOT / "docs").glob("*.md")),
]
PAGES = {str(path.relative_to(ROOT)): path.read_text(encoding="utf-8") for path in FILES}
PLANS, CLI, OPERATIONS = PAGES["docs/plans.md"], PAGES["docs/cli.md"], PAGES["docs/operations.md"]
ARCHITECTURE, RULES_PAGE = PAGES["docs/architecture.md"], PAGES["docs/rules.md"]
PYTHON = [path for part in ("plans", "connectors", "orchestrator", "tranship") for path in (ROOT / part).rglob("*.py")]


def section(page: str, heading: str) -> str:
    """The text under a heading, up to the next one of any level."""
    found = re.search(rf"^#+ {re.escape(heading)}\n(.*?)(?=^#+ |\Z)", page, re.MULTILINE | re.DOTALL)
    assert found, f"there is no heading {heading!r}"
    return found[1]


def table(text: str) -> list[list[str]]:
    """The cells of the text's first table, without its head."""
    lines = re.search(r"^\|.*?(?=\n[^|]|\n\n|\Z)", text, re.MULTILINE | re.DOTALL)
    assert lines, "there is no table"
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[0].splitlines()[2:]]


def anchors(page: str) -> set[str]:
    """The anchors that headings get when the page is shown."""
    headings = re.findall(r"^#+ (.+)$", page, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


# --- plans -------------------------------------------------------------------------------------------------------

SECTIONS = {
    "The plan": "",
    "`source`": "SourcePlan",
    "`target`": "TargetPlan",
    "A stream": "StreamPlan",
    "A key column": "KeyColumnPlan",
    "A column": "ColumnPlan",
    "`references`": "ReferencePlan",
    "A child table": "ChildPlan",
    "A column of a child table": "ChildColumnPlan",
    "`rest`": "RestPlan",
    "An index": "IndexPlan",
    "A condition": "ConditionPlan",
    "`reconcile`": "ReconcilePlan",
    "`cutover`": "CutoverPlan",
    "A writer": "WriterPlan",
    "`rollback`": "RollbackPlan",
    "`require`": "RequirePlan",
    "`limits`": "LimitsPlan",
}
"""Which heading of docs/plans.md is about which definition of the JSON Schema; the first is the schema itself."""


@cache
def definitions() -> dict[str, dict[str, Any]]:
    """The mappings of the JSON Schema in their long forms, by name."""
    schema = json_schema()
    long = {name: one.get("anyOf", [one])[-1] for name, one in schema["$defs"].items()}
    return {"": schema} | {name: one for name, one in long.items() if "properties" in one}


def test_every_mapping_of_a_plan_has_a_section() -> None:
    assert sorted(SECTIONS.values()) == sorted(definitions())


@pytest.mark.parametrize("heading", SECTIONS)
def test_every_key_is_documented_with_its_default(heading: str) -> None:
    definition = definitions()[SECTIONS[heading]]
    rows = {cells[0].strip("`"): cells[1:] for cells in table(section(PLANS, heading))}
    assert rows.keys() == definition["properties"].keys()
    for key, (default, meaning) in rows.items():
        declared: Mapping[str, Any] = definition["properties"][key]
        assert (meaning == "not available yet") == ("not" in declared), key
        assert (default == "required") == (key in definition.get("required", ())), key
        if "default" in declared:
            assert _value(default.strip("`"), declared) == declared["default"], key


def _value(text: str, declared: Mapping[str, Any]) -> object:
    """A default as the documentation writes it, in the form of the schema."""
    declared = next((one for one in declared.get("anyOf", ()) if "pattern" in one), declared)
    if "pattern" in declared:
        if "%" in declared["pattern"]:
            return parse_share(text)
        return parse_size(text) if "iB" in declared["pattern"] else parse_duration(text)
    if text.startswith("["):
        return [part for part in text.strip("[]").split(", ") if part]
    if declared.get("type") == "integer":
        return int(text)
    return {"false": False, "true": True}.get(text, text)


def test_the_types() -> None:
    key = (Column("_id", ("_id",), LogicalType.OBJECTID, "objectid"),)
    rows = table(section(PLANS, "Types"))
    assert [cells[0].strip("`") for cells in rows] == [kind.value for kind in LogicalType]
    for name, native, bson, _ in rows:
        kind = LogicalType(name.strip("`"))
        feeding = ["items"] if kind is LogicalType.ARRAY else list(PAIRS[kind])
        assert re.findall(r"`(\w+)`", bson) == feeding
        items = LogicalType.TEXT if kind is LogicalType.ARRAY else None
        column = Column("c", ("c",), kind, "any", precision=7, scale=3, items=items)
        field = layout(Stream("s", "s", "s", key, (column,)), "x").fields[1]
        assert native.partition(", ")[0].strip("`").replace("p,s", "7,3") == field.native


def test_every_problem_code_is_documented() -> None:
    rules = [re.match(r"P\d{3}", rule.__doc__ or "") for rule in RULES]
    codes = [*Code, *(found[0] for found in rules if found)]
    assert [cells[0] for cells in table(section(PLANS, "Problems"))] == codes


def test_every_example_is_listed() -> None:
    found = {str(path.relative_to(ROOT)) for path in (ROOT / "plans" / "examples").iterdir()}
    assert {cells[0].strip("`") for cells in table(section(PLANS, "Examples"))} == found


@pytest.mark.parametrize("page", PAGES)
def test_every_plan_can_be_used(page: str, tmp_path: Path) -> None:
    for block in re.findall(r"^ *```yaml\n(.*?)^ *```", PAGES[page], re.MULTILINE | re.DOTALL):
        indent = len(block) - len(block.lstrip(" "))
        plan = tmp_path / "plan.yaml"
        plan.write_text("".join(line[indent:] for line in block.splitlines(keepends=True)), encoding="utf-8")
        assert load_with_warnings(plan, ENV).warnings == ()


# --- command line and operations ---------------------------------------------------------------------------------


def commands_of(group: Any, path: str) -> Iterator[tuple[str, Any]]:
    """Every command with its full name."""
    for name, command in group.commands.items():
        yield f"{path} {name}", command
        if hasattr(command, "commands"):
            yield from commands_of(command, f"{path} {name}")


ALL_COMMANDS = dict(commands_of(typer.main.get_command(cli.app), "tranship"))


@pytest.mark.parametrize("name", ALL_COMMANDS)
def test_every_command_and_option_is_in_the_reference(name: str) -> None:
    text = section(CLI, f"`{name}`")
    for parameter in ALL_COMMANDS[name].params:
        assert re.search(rf"^\* `(-\w, )?{re.escape(parameter.opts[0])}\b", text, re.MULTILINE), parameter.opts


def test_the_reference_names_no_command_that_is_not_there() -> None:
    assert set(re.findall(r"^#{2,} `(.+)`$", CLI, re.MULTILINE)) == set(ALL_COMMANDS)


@pytest.mark.parametrize("page", PAGES)
def test_commands_that_are_named_are_there(page: str) -> None:
    words = re.findall(r"(?:`|bin/)tranship ((?:plan |quarantine |sandbox )?[a-z]+(?:-[a-z]+)?)", PAGES[page])
    assert {f"tranship {word}" for word in words} <= ALL_COMMANDS.keys()


# --- architecture ------------------------------------------------------------------------------------------------


def test_the_outcomes() -> None:
    text = section(ARCHITECTURE, "Outcomes")
    documented = [(cells[0].strip("`"), cells[1]) for cells in table(text)]
    assert documented == [(kind.__name__, outcome.value) for kind, outcome in OUTCOMES]
    assert set(re.findall(r"\*([a-z-]+)\*:", text)) == {outcome.value for outcome in Outcome}


def test_the_phases() -> None:
    documented = [cells[0] for cells in table(section(ARCHITECTURE, "Phases"))]
    assert documented == list(STRATEGIES["expand-contract"])


def test_every_test_ring_is_described() -> None:
    rings = {f"tests/{path.name}/" for path in (ROOT / "tests").iterdir() if (path / "__init__.py").exists()}
    assert {cells[0].strip("`") for cells in table(section(ARCHITECTURE, "Tests"))} == rings


def test_every_rule_that_code_cites_is_there_and_no_other() -> None:
    cited = set()
    for path in [*PYTHON, *(ROOT / "tests").rglob("*.py")]:
        cited |= set(re.findall(r"`rules\.md` ([A-Z]\d+)", path.read_text(encoding="utf-8")))
    assert set(re.findall(r"^\*\*([A-Z]\d+)\. ", RULES_PAGE, re.MULTILINE)) == cited
    assert set(re.findall(r"\b[A-J]\d{1,2}\b", section(ARCHITECTURE, "Laws"))) <= cited


@pytest.mark.parametrize("page", PAGES)
def test_make_targets_that_are_named_are_there(page: str) -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    assert set(re.findall(r"(?:`make |^make )([a-z-]+)(?=[` ][^a-z])", PAGES[page], re.MULTILINE)) <= targets


# --- everything ----------------------------------------------------------------------------------------------------

_PATH = re.compile(r"(?:plans|connectors|orchestrator|tranship|tests|docs|docker|\.ci)/[\w./-]*|[\w-]+\.(?:toml|lock)")
_NAMED = re.compile(r"`(\w+)`(?: and `(\w+)`)? in `([\w/.]+\.py)`")


@pytest.mark.parametrize("page", PAGES)
def test_every_link_leads_somewhere(page: str) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", PAGES[page]):
        if "://" in target:
            continue
        name, _, anchor = target.partition("#")
        path = (ROOT / page).parent / name if name else ROOT / page
        assert path.exists(), target
        assert not anchor or anchor in anchors(path.read_text(encoding="utf-8")), target


@pytest.mark.parametrize("page", PAGES)
def test_every_path_is_there(page: str) -> None:
    for name in re.findall(r"`([^`\n]+)`", PAGES[page]):
        if _PATH.fullmatch(name):
            assert (ROOT / name).exists(), name


@pytest.mark.parametrize("page", PAGES)
def test_every_name_is_where_it_is_said_to_be(page: str) -> None:
    for first, second, path in _NAMED.findall(PAGES[page]):
        names = _defined(ROOT / path)
        assert {first, second or first} <= names, (first, second, path)


@cache
def _defined(path: Path) -> set[str]:
    """Names that a module defines at any depth."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            names.add(node.name)
        elif isinstance(node, ast.Assign):
            names |= {target.id for target in node.targets if isinstance(target, ast.Name)}
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            names.add(node.target.id)
    return names


@pytest.mark.parametrize("page", PAGES)
def test_no_page_shows_where_it_was_written(page: str) -> None:
    assert not re.search(r"(?<![\w.])/(?:home|root|tmp|work|Users)/", PAGES[page])
    assert not re.search(r"site-packages|localhost:\d", PAGES[page])
