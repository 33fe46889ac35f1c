"""A YAML file as plain data, with the line and column of every key and list item.

YAML 1.2's core types: `no`, `on` and `2026-01-31` are text. Keys are always text, so that a key may be called `null`.
Anchors and aliases work; a key that stands twice in one mapping is a problem, because one of the two would be ignored.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

import yaml

from tranship.plans.problems import Code, Path, PlanError, Problem

MAX_NODES = 100_000
"""Values of the largest plan; aliases of aliases could otherwise fill the memory from a small file."""


@dataclass
class Document:
    """The data of a file, and the (line, column) of each path in it, counted from 1."""

    file: str
    data: Any = None
    places: dict[Path, tuple[int, int]] = field(default_factory=dict)

    def place(self, path: Path) -> tuple[int, int]:
        """Where a path stands; where it is not written, its nearest written parent."""
        while path not in self.places and path:
            path = path[:-1]
        return self.places.get(path, (1, 1))


class _CoreLoader(yaml.SafeLoader):
    """Composes nodes with the scalar types of YAML 1.2's core schema."""

    yaml_implicit_resolvers: ClassVar[dict[Any, Any]] = {}  # type: ignore[misc]  # not those of YAML 1.1


for _tag, _pattern, _first in (
    ("null", r"~|null|Null|NULL|", ["~", "n", "N", ""]),
    ("bool", r"true|True|TRUE|false|False|FALSE", list("tTfF")),
    ("int", r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+", list("-+0123456789")),
    (
        "float",
        r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)",
        list("-+.0123456789"),
    ),
):
    _CoreLoader.add_implicit_resolver(f"tag:yaml.org,2002:{_tag}", re.compile(f"(?:{_pattern})$"), _first)


def read_document(text: str, file: str) -> Document:
    """Read a YAML text; PlanError for what is not one YAML document or has a key twice."""
    try:
        root = yaml.compose(text, Loader=_CoreLoader)
    except yaml.MarkedYAMLError as exc:
        mark = exc.problem_mark or exc.context_mark
        line, column = (mark.line + 1, mark.column + 1) if mark else (0, 0)
        hint = ': put references in quotes, "${env:NAME}"' if mark and "${" in _line(text, mark.line) else ""
        message = f"not valid YAML: {exc.problem or exc.context}{hint}"
        raise PlanError([Problem(Code.SYNTAX, (), message, file=file, line=line, column=column)]) from None
    except yaml.reader.ReaderError as exc:
        line = text.count("\n", 0, exc.position) + 1
        column = exc.position - (text.rfind("\n", 0, exc.position) + 1) + 1
        message = f"not valid YAML: the character U+{exc.character:04X} is not allowed"
        raise PlanError([Problem(Code.SYNTAX, (), message, file=file, line=line, column=column)]) from None
    except RecursionError:
        raise PlanError([Problem(Code.SYNTAX, (), "nested too deeply", file=file)]) from None
    if root is None:
        raise PlanError([Problem(Code.SYNTAX, (), "the file is empty", file=file)])
    reader = _Reader(Document(file))
    reader.document.data = reader.read(root, ())
    if reader.problems:
        raise PlanError(reader.problems)
    return reader.document


def flow(value: object) -> str:
    """Data as one line of YAML that `read_document` reads as the same: mappings, lists, texts, integers, booleans."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{flow_key(key)}: {flow(part)}" for key, part in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(flow, value)) + "]"
    if isinstance(value, str):
        return value if _BARE.fullmatch(value) and not _WORDS.fullmatch(value) else _in_quotes(value)
    return str(value).lower()


def flow_key(key: str) -> str:
    """The same for a key, which is text whatever it looks like: `null` needs no quotes."""
    return key if _BARE.fullmatch(key) else flow(key)


_BARE = re.compile(r"[A-Za-z_$][\w.$-]*", re.ASCII)
_WORDS = re.compile(r"null|true|false", re.IGNORECASE)


def _in_quotes(text: str) -> str:
    return '"' + "".join(c if c.isprintable() and c not in '"\\' else f"\\U{ord(c):08x}" for c in text) + '"'


def _line(text: str, number: int) -> str:
    lines = text.splitlines()
    return lines[number] if number < len(lines) else ""


class _Reader:
    """Turns nodes into data, noting places and problems on the way."""

    def __init__(self, document: Document) -> None:
        self.document = document
        self.problems: list[Problem] = []
        self._open: set[int] = set()
        self._nodes = 0

    def read(self, node: yaml.Node, path: Path) -> Any:
        self._nodes += 1
        if self._nodes > MAX_NODES:
            raise PlanError([Problem(Code.SYNTAX, (), f"more than {MAX_NODES} values", file=self.document.file)])
        if isinstance(node, yaml.ScalarNode):
            return self._scalar(node, path)
        if id(node) in self._open:
            self._note(Code.SYNTAX, node, path, "an alias inside its own anchor")
            return None
        self._open.add(id(node))
        value = self._mapping(node, path) if isinstance(node, yaml.MappingNode) else self._list(node, path)
        self._open.discard(id(node))
        return value

    def _mapping(self, node: yaml.MappingNode, path: Path) -> dict[str, Any]:
        data: dict[str, Any] = {}
        for key_node, value_node in node.value:
            if not isinstance(key_node, yaml.ScalarNode):
                self._note(Code.SYNTAX, key_node, path, "a key must be a text")
                continue
            key = self._text(key_node, path)
            if key in data:
                first = self.document.places[*path, key][0]
                self._note(Code.DUPLICATE, key_node, (*path, key), f"this key is already on line {first}")
                continue
            self._put(key_node, (*path, key))
            data[key] = self.read(value_node, (*path, key))
        return data

    def _list(self, node: yaml.Node, path: Path) -> list[Any]:
        items = []
        for index, item in enumerate(node.value):
            self._put(item, (*path, index))
            items.append(self.read(item, (*path, index)))
        return items

    def _scalar(self, node: yaml.ScalarNode, path: Path) -> object:
        kind, text = node.tag.removeprefix("tag:yaml.org,2002:"), self._text(node, path)
        try:
            return _SCALARS[kind](text)
        except KeyError:
            self._note(Code.SYNTAX, node, path, f"the tag {node.tag} is not supported")
        except ValueError:
            self._note(Code.SYNTAX, node, path, f"not a value of the kind {kind}")
        return None

    def _text(self, node: yaml.ScalarNode, path: Path) -> str:
        text: str = node.value
        if any("\ud800" <= character <= "\udfff" for character in text):
            self._note(Code.SYNTAX, node, path, "a lone surrogate is no character")
        return text

    def _put(self, node: yaml.Node, path: Path) -> None:
        self.document.places[path] = (node.start_mark.line + 1, node.start_mark.column + 1)

    def _note(self, code: Code, node: yaml.Node, path: Path, message: str) -> None:
        line, column = node.start_mark.line + 1, node.start_mark.column + 1
        self.problems.append(Problem(code, path, message, file=self.document.file, line=line, column=column))


def _integer(text: str) -> int:
    return int(text, {"0o": 8, "0x": 16}.get(text[:2], 10))


def _number(text: str) -> float:
    return float(text.lower().replace(".inf", "inf").replace(".nan", "nan"))


_SCALARS: Mapping[str, Callable[[str], object]] = {
    "null": lambda _: None,
    "bool": lambda text: text.lower() == "true",
    "int": _integer,
    "float": _number,
    "str": str,
}
