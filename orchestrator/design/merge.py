"""What is new in a database since a plan was made, put into the plan's data; what a person has changed stays.

New is what the plan does not read in any way and what no plan was made of before: what was once proposed and is not in
the plan, a person has taken out. Things are matched by what they read, not by their names.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from tranship.connectors.profile import CollectionProfile, Documents
from tranship.orchestrator.design import proposals, writer
from tranship.orchestrator.design.indexes import translate
from tranship.orchestrator.design.merging import Report, TableMerge
from tranship.orchestrator.design.naming import column_name, name_streams
from tranship.orchestrator.design.record import Known
from tranship.plans import Child, Index, Plan, Stream, resolve
from tranship.plans.document import flow

Data = dict[str, Any]


@dataclass
class Merge:
    """A plan's data and what is added to it. `report` has comments of new parts, and what a person has to decide."""

    plan: Plan
    data: Data
    known: Known
    report: Report = field(default_factory=Report)

    def __post_init__(self) -> None:
        self._streams = resolve(self.plan)
        self._planned: dict[str, list[Stream]] = {}
        for stream in self._streams:
            self._planned.setdefault(stream.collection, []).append(stream)
            self.report.tables |= {stream.table.casefold(), *map(str.casefold, _below(stream.children))}

    def add(self, found: Sequence[proposals.Stream], profiles: Sequence[CollectionProfile]) -> None:
        """Put in all that is new of what is proposed for the database as it is now."""
        there = {profile.name: profile for profile in profiles}
        self._say_what_is_gone(there)
        self._lead_references(found)
        streams: Data = dict(self.data["streams"])
        new: list[proposals.Stream] = []
        for one in found:
            planned = self._planned.get(one.collection, [])
            same = next((stream for stream in planned if _filter(stream) == one.where), None)
            if same is not None:
                streams[same.name] = self._stream(streams[same.name], one, same, there[one.collection])
            elif planned:
                names = ", ".join(stream.name for stream in planned)
                which = f"documents {json.dumps(one.where)}" if one.where else "its documents"
                self.report.say(
                    f"collection {one.collection}: {which} have no stream of their own; {names} may hold them"
                )
            elif one.collection not in self.known.collections:
                new.append(one)
        self.data = {**self.data, "streams": streams | self._new(new, streams, there)}

    def _say_what_is_gone(self, there: Mapping[str, CollectionProfile]) -> None:
        for stream in self._streams:
            profile = there.get(stream.collection)
            if profile is None:
                self.report.say(f"stream {stream.name}: there is no collection {stream.collection} any more")
            elif profile.left_out:
                self.report.say(f"stream {stream.name}: {stream.collection}: {profile.left_out}")

    def _lead_references(self, found: Sequence[proposals.Stream]) -> None:
        """References lead to streams as the plan calls them, if these have keys of that type."""
        planned = {one.name: self._planned[one.collection] for one in found if one.collection in self._planned}
        for column in (column for one in found for column in one.table.columns):
            streams = planned.get(column.spec.get("references", ""))
            if streams is None:
                continue
            key = streams[0].key
            if len(streams) == len(key) == 1 and key[0].type == column.spec["type"]:
                column.spec["references"] = streams[0].name
            else:
                del column.spec["references"]

    def _new(self, new: Sequence[proposals.Stream], streams: Data, there: Mapping[str, CollectionProfile]) -> Data:
        """Streams of collections that are new."""
        taken = {name.casefold() for name in streams}
        for one in new:
            one.name = column_name((one.name,), taken)
            taken.add(one.name.casefold())
        name_streams(new, self.report.tables)
        for one in new:
            translate(one, there[one.collection].indexes)
            self.report.lines["streams", one.name] = ("", *writer.stream_lines(one))
        return {one.name: writer.stream_data(one) for one in new}

    def _stream(self, raw: Data, one: proposals.Stream, stream: Stream, profile: CollectionProfile) -> Data:
        documents = profile.root
        if profile.split:
            documents = profile.kinds.get((one.where or {}).get(profile.split, ""), Documents())
        table = TableMerge(
            self.report, ("streams", stream.name), raw, stream.columns, stream.children,
            known=self.known.proposed.get(stream.collection, {}), documents=documents, key=stream.key,
            order=stream.order, rest_column=stream.rest_column or "", table=stream.table,
        )  # fmt: skip
        made = table.merged(one.table)
        return self._indexes(
            made, one, stream, profile, table.names | {column.path: column.name for column in stream.key}
        )

    def _indexes(
        self,
        raw: Data,
        one: proposals.Stream,
        stream: Stream,
        profile: CollectionProfile,
        names: Mapping[tuple[str, ...], str],
    ) -> Data:
        for column in (*one.key, *one.table.columns):
            column.name = names.get(column.path, "")
            column.spec.pop("unique", None)
        known = self.known.indexes.get(stream.collection, frozenset())
        translate(one, tuple(index for index in profile.indexes if index.name not in known))
        unique = [
            {"columns": [column.name], "unique": True} for column in one.table.columns if column.spec.get("unique")
        ]
        there = {flow(_as_data(index)) for index in (*stream.indexes, *stream.unique)}
        new = [index for index in (*unique, *one.indexes) if flow(index) not in there and _is_named(index)]
        return {**raw, "indexes": [*raw.get("indexes", []), *new]} if new else raw


def _below(children: Sequence[Child]) -> list[str]:
    return [name for child in children for name in (child.table, *_below(child.children))]


def _filter(stream: Stream) -> Data | None:
    found: Data | None = json.loads(stream.where) if stream.where is not None else None
    return found


def _is_named(index: Data) -> bool:
    """Whether the plan has all columns that it is over."""
    names = [name for part in index["columns"] for name in ([part] if isinstance(part, str) else part)]
    return all([*names, *index.get("where", {})])


def _as_data(index: Index) -> Data:
    columns = [{name: "desc"} if name in index.descending else name for name in index.columns]
    where: Data = {}
    for one in index.where:
        value: Any = list(one.values) if one.test == "in" else one.values[0] if one.values else one.test
        where.setdefault(one.column, {})["is" if not one.values else one.test] = value
    plain = {name: tests["is"] if list(tests) == ["is"] else tests for name, tests in where.items()}
    return {"columns": columns} | ({"unique": True} if index.unique else {}) | ({"where": plain} if plain else {})
