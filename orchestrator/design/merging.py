"""What is new in one table of a plan: columns and child tables, each put where the documents have its field."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from tranship.connectors.profile import Documents, Node
from tranship.orchestrator.design import proposals, writer
from tranship.orchestrator.design.naming import column_name, table_name
from tranship.orchestrator.design.orders import out_of_order, usual_order
from tranship.orchestrator.design.proposals import Path, Table
from tranship.plans import Child, Column
from tranship.plans.problems import Path as Place

Data = dict[str, Any]


@dataclass
class Report:
    """What is said beside the plan's data. `lines`: new parts with their comments, by place; `said`: what a person has
    to decide; `tables`: names that tables have, in small letters."""

    lines: dict[Place, tuple[str, ...]] = field(default_factory=dict)
    said: list[str] = field(default_factory=list)
    tables: set[str] = field(default_factory=set)

    def say(self, sentence: str) -> None:
        self.said.append(sentence)


@dataclass
class TableMerge:
    """One table: `raw` is what the plan's file says of it, `columns` and `children` the same, resolved. `known`: types
    that were proposed before, by path from the collection's documents, of which the table's begin at `prefix`."""

    report: Report
    place: Place
    raw: Data
    columns: Sequence[Column]
    children: Sequence[Child]
    known: Mapping[Path, str]
    documents: Documents
    table: str
    key: Sequence[Column] = ()
    order: Sequence[str] = ()
    rest_column: str = ""
    prefix: Path = ()

    def __post_init__(self) -> None:
        self.names = {column.path: column.name for column in self.columns}
        self._inner = {child.path: child.table for child in self.children}
        used = [*self.names.values(), *self._inner.values(), *(column.name for column in self.key), self.rest_column]
        self._taken = {name.casefold() for name in (*used, "_residue")}
        self._tops = [column.path[0] for column in self.key] + [path[0] for path in self._read() if path]
        self._new_tops: list[str] = []

    def merged(self, proposed: Table) -> Data:
        """What the plan's file then says of the table."""
        made = dict(self.raw)
        for column in proposed.columns:
            made = self._column(made, column, [other.path for other in proposed.columns])
        for child in proposed.children:
            made = self._child(made, child)
        self._say_what_is_gone()
        return self._ordered(made) if self._new_tops else made

    def _read(self) -> Iterator[Path]:
        yield from self.names
        yield from self._inner

    def _reads(self, path: Path) -> bool:
        """Whether the plan reads the field, something in it, or what it is in."""
        return any(path[: len(one)] == one or one[: len(path)] == path for one in self._read())

    # --- columns ------------------------------------------------------------------------------------------------------

    def _column(self, made: Data, column: proposals.Column, paths: Sequence[Path]) -> Data:
        path = column.path
        before = self.known.get((*self.prefix, *path))
        if path in self.names:
            self._compare(path, str(column.spec["type"]), before)
            return made
        if self._reads(path) or before is not None:
            return made
        if self.rest_column and path[0] not in self._tops:
            self.report.say(f"table {self.table}: {'.'.join(path)} is new, and in the json column {self.rest_column}")
            return made
        column.name = column_name(path, self._taken)
        after, first = self._neighbour(path, paths)
        made = {**made, "columns": _put(made.get("columns", {}), column.name, writer.column_data(column), after, first)}
        self.report.lines[*self.place, "columns", column.name] = tuple(writer.column_lines(column))
        self._take(path, column.name)
        self.names[path] = column.name
        return made

    def _take(self, path: Path, name: str) -> None:
        self._taken.add(name.casefold())
        if path and path[0] not in self._tops:
            self._tops.append(path[0])
            self._new_tops.append(path[0])

    def _compare(self, path: Path, now: str, before: str | None) -> None:
        """Types that are others than those that were proposed before, where the plan has not followed."""
        held = next(str(column.type) for column in self.columns if column.path == path)
        if now not in (held, before) and held != "json":
            name = self.names[path]
            self.report.say(f"table {self.table}: column {name} is {held}, and by what the documents have now {now}")

    def _neighbour(self, path: Path, paths: Sequence[Path]) -> tuple[str | None, bool]:
        """The column behind which a new one comes, (before which, if that is True), since fields of one document are
        expected in the order of declaration."""
        place = paths.index(path)
        for depth in range(len(path) - 1, -1, -1):
            near = [one for one in paths if one[:depth] == path[:depth] and one in self.names]
            behind = [one for one in near if paths.index(one) < place]
            if behind:
                return self.names[behind[-1]], False
            if near:
                return self.names[near[0]], True
        return None, False

    # --- child tables -------------------------------------------------------------------------------------------------

    def _child(self, made: Data, child: Table) -> Data:
        same = next((one for one in self.children if one.path == child.path), None)
        if same is not None:
            raw = made["children"][same.table]
            return {**made, "children": {**made["children"], same.table: self._inside(raw, same).merged(child)}}
        if self._reads(child.path) or (*self.prefix, *child.path) in self.known:
            return made
        child.name = table_name((self.table, *child.path), child.path, self.report.tables)
        self.report.lines[*self.place, "children", child.name] = tuple(writer.child_lines(child))
        self._take(child.path, child.name)
        self._inner[child.path] = child.name
        return {**made, "children": {**made.get("children", {}), child.name: writer.child_data(child)}}

    def _inside(self, raw: Data, child: Child) -> TableMerge:
        node = _node(self.documents, child.path)
        elements = node.lists.elements if node is not None and node.lists is not None else None
        return TableMerge(
            self.report,
            (*self.place, "children", child.table),
            raw,
            child.columns,
            child.children,
            self.known,
            (elements.documents if elements is not None else None) or Documents(),
            child.table,
            order=child.order,
            prefix=(*self.prefix, *child.path, "[]"),
        )

    # --- what is gone, and the order ----------------------------------------------------------------------------------

    def _say_what_is_gone(self) -> None:
        if not self.documents.count:
            return
        for column in self.columns:
            node = _node(self.documents, column.path) if column.path else None
            if column.path and (node is None or not node.count) and self.documents.other is None:
                self.report.say(f"table {self.table}: no document that was read has {'.'.join(column.path)} any more")

    def _ordered(self, made: Data) -> Data:
        """Documents have new fields at their places: the plan's order says so, where that of declaration does not."""
        following = self.documents.next
        named = list(dict.fromkeys(self._tops))
        usual = usual_order(named, following)
        if "order" in made:
            order = list(made["order"])
            for name in (name for name in usual if name in self._new_tops and name not in order):
                before = [other for other in usual[: usual.index(name)] if other in order]
                order.insert(order.index(before[-1]) + 1 if before else 0, name)
            return {**made, "order": order}
        paths = {name: path for path, name in (*self.names.items(), *self._inner.items())}
        declared = [paths[name][0] for name in made.get("columns", {}) if paths.get(name)]
        declared += [paths[name][0] for name in made.get("children", {})]
        declared = list(dict.fromkeys([*(column.path[0] for column in self.key), *declared]))
        if out_of_order(declared, following) <= out_of_order(usual, following):
            return made
        return {**made, "order": usual}


def _node(documents: Documents, path: Path) -> Node | None:
    node = documents.fields.get(path[0])
    for step in path[1:]:
        node = node.documents.fields.get(step) if node is not None and node.documents is not None else None
    return node


def _put(mapping: Data, key: str, value: Any, neighbour: str | None, first: bool) -> Data:
    """With a new key behind another one, or before it; at the end without one."""
    if neighbour not in mapping:
        return {**mapping, key: value}
    made: Data = {}
    for name, part in mapping.items():
        if name == neighbour and first:
            made[key] = value
        made[name] = part
        if name == neighbour and not first:
            made[key] = value
    return made
