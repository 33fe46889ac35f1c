"""Putting more into a plan's text: every character that is there stays, comments and layout too.

Places are those that PyYAML gives the nodes of the text. A mapping or list in block form gets lines of its own, one in
flow form what is written between its brackets.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import yaml

from tranship.plans.document import flow, flow_key, read_document
from tranship.plans.problems import Path


class EditError(ValueError):
    """The text has no such place, or one that stands for several (an alias); the message says which."""


@dataclass(frozen=True)
class Entry:
    """A pair of a mapping, or an item of a list. `lines`: in block form, comments above included; of an item without
    its dash. `inline`: in flow form."""

    lines: tuple[str, ...]
    inline: str


@dataclass(frozen=True)
class Insertion:
    """Entries for the mapping or list at `path`: behind the key or index `after`, or before the first if that is
    None. One that is empty so far has to be in flow form: `{}`."""

    path: Path
    after: str | int | None
    entries: tuple[Entry, ...]


def extended(text: str, old: Mapping[str, Any], new: Mapping[str, Any], lines: Mapping[Path, tuple[str, ...]]) -> str:
    """The text of `old` as that of `new`, which has more keys and items, and what is there as it is. `lines`: how new
    parts are written in block form, by their paths. Raises `EditError`."""
    found = inserted(text, list(_additions(old, new, (), lines)))
    if flow(read_document(found, "").data) != flow(new):  # the order of keys has a meaning, too
        raise EditError("what is new cannot be put into this text; is it indented in one way?")
    return found


def _additions(old: Any, new: Any, path: Path, lines: Mapping[Path, tuple[str, ...]]) -> Iterator[Insertion]:
    """What comes to one place together is one insertion."""
    found: dict[str | int | None, list[Entry]] = {}
    after: str | int | None = None
    if isinstance(old, Mapping) and isinstance(new, Mapping):
        for key, value in new.items():
            if key in old:
                yield from _additions(old[key], value, (*path, key), lines)
                after = key
            else:
                entry = Entry(_block_of((*path, key), value, lines), f"{flow_key(key)}: {flow(value)}")
                found.setdefault(after, []).append(entry)
    elif isinstance(old, list) and isinstance(new, list):
        place = 0
        for value in new:
            if place < len(old) and old[place] == value:
                after, place = place, place + 1
            else:
                found.setdefault(after, []).append(Entry((flow(value),), flow(value)))
    yield from (Insertion(path, after, tuple(entries)) for after, entries in found.items())


def _block_of(path: Path, value: Any, lines: Mapping[Path, tuple[str, ...]]) -> tuple[str, ...]:
    """A pair in block form: as given, or what is in the mapping or list, each on lines of its own."""
    key = flow_key(str(path[-1]))
    if path in lines:
        return lines[path]
    if isinstance(value, Mapping) and value:
        parts = [(lines.get((*path, name)), f"{flow_key(name)}: {flow(part)}") for name, part in value.items()]
        return f"{key}:", *(f"  {line}" for given, plain in parts for line in given or (plain,))
    if isinstance(value, list) and any(isinstance(part, dict) for part in value):
        return f"{key}:", *(f"  - {flow(part)}" for part in value)
    return (f"{key}: {flow(value)}",)


def inserted(text: str, insertions: Sequence[Insertion]) -> str:
    """The text with all of it. Raises `EditError`; then nothing is inserted."""
    root = yaml.compose(text, Loader=yaml.SafeLoader)
    nodes, shared = _nodes(root)
    parts: list[tuple[int, int, str]] = []
    for number, insertion in enumerate(insertions):
        path = insertion.path
        if any(id(nodes.get(path[:size])) in shared for size in range(len(path) + 1)):
            raise EditError(f"{_spoken(path)} is written once for several places (an alias)")
        node = nodes.get(path)
        if not isinstance(node, yaml.CollectionNode):
            raise EditError(f"{_spoken(path)} is no mapping or list")
        at, more = _piece(text, node, insertion)
        parts.append((at, number, more))
    # From the end on, so that the places of the others stay; what comes to one place keeps its order.
    for at, _, more in sorted(parts, reverse=True):
        text = text[:at] + more + text[at:]
    return text


def _nodes(root: yaml.Node | None) -> tuple[dict[Path, yaml.Node], set[int]]:
    """Every node by its path, and those (by `id`) that stand at several."""
    found: dict[Path, yaml.Node] = {}
    seen: set[int] = set()
    shared: set[int] = set()
    stack: list[tuple[Path, yaml.Node]] = [((), root)] if root is not None else []
    while stack:
        path, node = stack.pop()
        found[path] = node
        if id(node) in seen:
            shared.add(id(node))
            continue
        seen.add(id(node))
        if isinstance(node, yaml.MappingNode):
            stack += [((*path, key.value), value) for key, value in node.value]
        elif isinstance(node, yaml.SequenceNode):
            stack += [((*path, number), value) for number, value in enumerate(node.value)]
    return found, shared


def _piece(text: str, node: yaml.CollectionNode, insertion: Insertion) -> tuple[int, str]:
    """Where something comes, and what."""
    members = list(_members(node))
    names = [name for name, _, _ in members]
    if insertion.after is not None and insertion.after not in names:
        raise EditError(f"{_spoken((*insertion.path, insertion.after))} is not there")
    place = names.index(insertion.after) if insertion.after is not None else None
    if node.flow_style:
        inline = ", ".join(entry.inline for entry in insertion.entries)
        if not members:
            return node.start_mark.index + 1, inline
        if place is None:
            return members[0][1].start_mark.index, f"{inline}, "
        return members[place][2].end_mark.index, f", {inline}"
    first = members[0][1]
    dash = isinstance(node, yaml.SequenceNode)
    line_start = text.rfind("\n", 0, first.start_mark.index) + 1
    column = text.rfind("-", line_start, first.start_mark.index) - line_start if dash else first.start_mark.column
    more = "".join(f"{line}\n" if line else "\n" for entry in insertion.entries for line in _block(entry, column, dash))
    if place is None:
        if text[line_start : line_start + column].strip():
            raise EditError(f"{_spoken(insertion.path)} begins in the middle of a line")
        return line_start, more
    end = _end_of_line(text, members[place][2])
    return end, more if end == 0 or text[end - 1] == "\n" else f"\n{more.removesuffix(chr(10))}"


def _members(node: yaml.CollectionNode) -> Iterator[tuple[str | int, yaml.Node, yaml.Node]]:
    """(name, where it begins, its value)"""
    if isinstance(node, yaml.MappingNode):
        yield from ((key.value, key, value) for key, value in node.value)
    else:
        yield from ((number, item, item) for number, item in enumerate(node.value))


def _block(entry: Entry, column: int, dash: bool) -> Iterator[str]:
    indent = " " * column
    for number, line in enumerate(entry.lines):
        lead = ("- " if number == len(entry.lines) - 1 else "") if dash else ""
        yield f"{indent}{lead}{line}" if line else ""


def _end_of_line(text: str, node: yaml.Node) -> int:
    """Behind the last line of a value."""
    while isinstance(node, yaml.CollectionNode) and not node.flow_style and node.value:
        node = node.value[-1][1] if isinstance(node, yaml.MappingNode) else node.value[-1]
    mark = node.end_mark
    if isinstance(node, yaml.ScalarNode) and node.style in ("|", ">"):
        return int(mark.index)  # a block of text ends with its last line
    end = text.find("\n", mark.index)
    return len(text) if end < 0 else end + 1


def _spoken(path: Path) -> str:
    return ".".join(map(str, path)) or "the plan"
