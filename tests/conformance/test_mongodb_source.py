"""The MongoDB connector: the suite of all sources, and what only it can do, against a real server."""

from __future__ import annotations

import itertools
import json
import os
import signal
import socket
import struct
import traceback
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import bson
import pymongo
import pytest
from bson import Binary, DatetimeMS, Decimal128, Int64, MaxKey, MinKey, ObjectId, Timestamp
from bson.raw_bson import RawBSONDocument
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pymongo.errors import DuplicateKeyError, PyMongoError

from tests.conformance.routing_suite import Beat, Open, RoutingSuite
from tests.conformance.source_suite import OTHERS, THINGS, SourceSuite, collect, key_of, mark, rows, until_marker
from tests.integration.rawbytes import not_kept
from tests.unit.mongodb.bson_strategies import IDS, PLAIN_IDS, pack_document
from tranship.connectors import keycodec
from tranship.connectors.batch import Batch
from tranship.connectors.errors import ConnectorError, RefusedError, SourceChangedError, TransientError
from tranship.connectors.mongodb import MongoSource, connect
from tranship.connectors.mongodb.mapper import Mapper
from tranship.connectors.mongodb.projection import key_of as key_of_raw
from tranship.connectors.protocols import Key, Owner, Position, Routing, RoutingRecord, Span
from tranship.orchestrator.sandbox import ServerMissingError
from tranship.orchestrator.sandbox.databases import SourceDatabase
from tranship.orchestrator.sandbox.embedded import mongodb_executable
from tranship.orchestrator.sandbox.processes import ServerProcess, start
from tranship.orchestrator.sandbox.readiness import mongodb_answers, wait_until
from tranship.plans.rules import MARKER_COLLECTION as MARKERS
from tranship.plans.rules import SWITCH_COLLECTION as SWITCHES
from tranship.plans.streams import Column, Endpoint, LogicalType, Stream
from tranship.router.sides import MongoSide

OPEN = Span(None, None)

ANY_ID = Stream("anything", "anything", "anything", (Column("key", ("_id",), LogicalType.BYTES, "any"),), ())


class MongoWorld:
    """An application's writes to one database, and clients of the connector on it."""

    def __init__(self, database: SourceDatabase, stack: ExitStack) -> None:
        self.uri, self.name = database
        self._stack = stack
        client = stack.enter_context(pymongo.MongoClient[dict[str, Any]](self.uri))
        self.db = client[self.name]
        # The embedded servers know fewer types of `_id`, compare decimals with doubles by approximation and binaries
        # without their subtype; the whole of the order is tested on a real server.
        embedded = client.admin.command("hello").get("setName") == "secantus"
        self.ids = PLAIN_IDS if embedded else IDS
        self.mixed = [value for value in MIXED if not (embedded and isinstance(value, Decimal128 | Binary))]
        for stream in (THINGS, OTHERS):
            self.db.create_collection(stream.collection)

    def connect(self, *streams: Stream) -> MongoSource:
        source = connect(Endpoint("mongodb", self.uri, self.name), streams)
        self._stack.callback(source.close)
        return source

    def insert(self, stream: Stream, number: int, text: str) -> None:
        self.db[stream.collection].insert_one({"_id": number, "text": text})

    def update(self, stream: Stream, number: int, text: str) -> None:
        self.db[stream.collection].update_one({"_id": number}, {"$set": {"text": text}})

    def delete(self, stream: Stream, number: int) -> None:
        self.db[stream.collection].delete_one({"_id": number})

    def lost_position(self) -> Position:
        position = self.connect().position()
        for turn in range(20):  # history is trimmed in steps
            self.db.others.insert_many([{"_id": turn * 500 + n} for n in range(500)])
        return position


SMALL_OPLOG = 100


@pytest.fixture
def world(source_db: SourceDatabase) -> Iterator[MongoWorld]:
    with ExitStack() as stack:
        yield MongoWorld(source_db, stack)


class TestMongoRecords(RoutingSuite):
    """The suite of all stores of routing records."""

    @pytest.fixture
    def open_records(self, world: MongoWorld) -> Open:
        return lambda: world.connect(THINGS).records

    @pytest.fixture
    def beat(self, world: MongoWorld) -> Beat:
        def beat(plan: str, instance: str, lasts_s: float, acknowledged: tuple[str, int] | None) -> None:
            MongoSide(world.db, plan, instance, lasts_s).beat(acknowledged)

        return beat

    @pytest.fixture
    def poll_ms(self, world: MongoWorld) -> Callable[[], int | None]:
        return lambda: (world.db.tranship_switches.find_one({"_id": "1"}) or {}).get("poll_ms")


@pytest.fixture(scope="module")
def small_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """A server whose history is soon lost."""
    with serve(tmp_path_factory.mktemp("small"), "--oplog-max-entries", str(SMALL_OPLOG)) as server:
        yield server


@pytest.fixture
def small_world(small_server: ServerProcess) -> Iterator[MongoWorld]:
    with ExitStack() as stack:
        world = MongoWorld(SourceDatabase(small_server.uri, "small"), stack)
        stack.callback(world.db.client.drop_database, world.name)
        yield world


@contextmanager
def serve(folder: Path, *options: str, up: Callable[[str], bool] = mongodb_answers) -> Iterator[ServerProcess]:
    """An embedded server with options of its own; skips the test where none is installed."""
    try:
        executable = str(mongodb_executable())
    except ServerMissingError as missing:
        if os.environ.get("CI"):
            pytest.fail(f"CI must have this server: {missing}")
        pytest.skip(str(missing))
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    argv = [executable, "--port", str(port), "--storage-path", str(folder / "data"), "--log-level", "WARNING", *options]
    uri = f"mongodb://127.0.0.1:{port}/?directConnection=true"
    server = start(
        "MongoDB", argv, uri=uri, log=folder / "server.log", stop_signal=signal.SIGTERM, death_signal=signal.SIGKILL
    )
    try:
        wait_until("MongoDB to answer", lambda: up(uri), 60)
        yield server
    finally:
        server.stop()


SERVER_SETTINGS = settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


class TestMongoSource(SourceSuite):
    """The suite of all sources."""

    def test_a_lost_position_is_an_error_and_never_a_fresh_start(self, small_world: MongoWorld) -> None:  # type: ignore[override]
        super().test_a_lost_position_is_an_error_and_never_a_fresh_start(small_world)


class TestKeys:
    """Canonical keys against the server: its order, its idea of equality, its ranges."""

    @given(data=st.data())
    @SERVER_SETTINGS
    def test_byte_order_is_the_servers_order(self, world: MongoWorld, data: st.DataObject) -> None:
        inserted = insert_ids(world, data.draw(st.lists(world.ids, min_size=4, max_size=12)))
        assert server_order(world) == sorted(inserted)

    @given(data=st.data())
    @SERVER_SETTINGS
    def test_equal_keys_are_what_the_server_calls_equal(self, world: MongoWorld, data: st.DataObject) -> None:
        values = data.draw(st.lists(world.ids, min_size=2, max_size=6))
        inserted = insert_ids(world, values)
        assert len(inserted) == len(set(inserted))
        assert set(inserted) == {keycodec.encode(*value) for value in values}

    @pytest.mark.parametrize(
        ("left", "right", "same"),
        [
            (1, 1.0, True),
            (1, Int64(1), True),
            (1, Decimal128("1.00"), True),
            (0.0, -0.0, True),
            (0.5, Decimal128("5E-1"), True),
            (float("inf"), Decimal128("Infinity"), True),
            (float("nan"), Decimal128("NaN"), True),
            (1, True, False),
            (1, "1", False),
            (2**53 + 1, 2.0**53, False),
            ({"a": 1, "b": 2}, {"b": 2, "a": 1}, False),
            ("a", ObjectId("61" * 12), False),
        ],
    )
    def test_the_server_agrees_about(self, world: MongoWorld, left: Any, right: Any, same: bool) -> None:
        assert (keycodec.encode(*raw_value(left)) == keycodec.encode(*raw_value(right))) is same
        assert len(insert_ids(world, [raw_value(left), raw_value(right)])) == (1 if same else 2)

    @given(data=st.data())
    @SERVER_SETTINGS
    def test_each_key_finds_its_document(self, world: MongoWorld, data: st.DataObject) -> None:
        inserted = insert_ids(world, data.draw(st.lists(world.ids, min_size=3, max_size=8)))
        source = world.connect(ANY_ID)
        assert source.read_keys(ANY_ID, inserted, source.position()).keys == sorted(inserted)

    def test_a_dbref_as_id_is_found_by_its_key(self, world: MongoWorld) -> None:
        """Servers refuse it in `$in`, beside other keys and alone. One of the embedded servers does not store it."""
        values = [
            {"$ref": "c", "$id": 1},
            {"$ref": "c", "$id": "x", "$db": "d"},
            {"a": {"$ref": "c", "$id": 2}},
            5,
            "x",
        ]
        try:
            inserted = sorted(insert_ids(world, [raw_value(value) for value in values]))
        except PyMongoError as error:
            pytest.skip(f"the source server refuses it: {str(error)[:80]}")
        where = replace(ANY_ID, where=json.dumps({"$or": [{"_id": {"$type": "object"}}, {"n": 1}]}))
        source = world.connect(ANY_ID, replace(where, name="part"))
        after = source.position()
        assert source.read_keys(ANY_ID, inserted, after).keys == inserted
        for key in inserted:
            assert source.read_keys(ANY_ID, [key], after).keys == [key]
        objects = [key for key in inserted if key[0] == keycodec.OBJECT]
        assert len(objects) == 3
        assert source.read_keys(where, inserted, after).keys == objects
        assert keys_of(source.read(where, OPEN, after)) == objects

    def test_spans_of_mixed_ids_hold_each_document_once(self, world: MongoWorld) -> None:
        inserted = sorted(insert_ids(world, [raw_value(value) for value in world.mixed]))
        source = world.connect(ANY_ID)
        after = source.position()
        for cut in inserted:
            below = keys_of(source.read(ANY_ID, Span(None, cut), after))
            above = keys_of(source.read(ANY_ID, Span(cut, None), after))
            assert below == [key for key in inserted if key < cut]
            assert above == [key for key in inserted if key >= cut]

    def test_mixed_ids_come_back_as_they_were(self, world: MongoWorld) -> None:
        insert_ids(world, [raw_value(value) for value in world.mixed])
        source = world.connect(ANY_ID)
        mapper = Mapper(ANY_ID)
        found = [raw for batch in source.read(ANY_ID, OPEN, source.position()) for raw in mapper.documents(batch.rows)]
        assert found == raw_documents(world)


WHERES: tuple[dict[str, Any], ...] = (
    {"_id": {"$gte": 5}},
    {"_id": {"$in": ["a", 3, None]}},
    {"$or": [{"_id": {"$type": "string"}}, {"n": {"$lt": 4}}]},
    {"$expr": {"$gt": ["$n", 3]}},
    {"$expr": {"$lt": ["$_id", "m"]}, "n": {"$ne": 2}},
    {"$nor": [{"n": {"$mod": [2, 0]}}, {"_id": {"$exists": False}}]},
    {"$and": [{"n": {"$gt": 1}}, {"$or": [{"n": 5}, {"n": 7}]}]},
    {"t": {"$regex": "^a", "$ne": "ab"}},
    {"$comment": "all of them"},
)
"""Filters that mean the same as they stand in a plan and as a driver sends them."""


class TestReading:
    @pytest.mark.parametrize("where", WHERES, ids=str)
    def test_where_and_keys_together_find_what_the_server_finds(self, world: MongoWorld, where: dict[str, Any]) -> None:
        """Cut at every key, and asked key by key; the server's own answer to the filter alone is the judge."""
        values: list[Any] = [*range(6), 2.5, "a", "b", "z", {"a": 1}, ObjectId("61" * 12), None, True]
        documents = [{"_id": value, "n": number, "t": "ab"[: number % 3]} for number, value in enumerate(values)]
        world.db[ANY_ID.collection].insert_many(documents)
        expected = sorted(key_of_value(found["_id"]) for found in world.db[ANY_ID.collection].find(where))
        assert expected
        of = replace(ANY_ID, where=json.dumps(where))
        source = world.connect(of)
        after = source.position()
        every = sorted(key_of_value(value) for value in values)
        assert source.read_keys(of, every, after).keys == expected
        assert keys_of(source.read(of, OPEN, after)) == expected
        for cut in every:
            found = [
                *keys_of(source.read(of, Span(None, cut), after)),
                *keys_of(source.read(of, Span(cut, None), after)),
            ]
            assert found == expected
        for lower, upper in itertools.pairwise(every):
            found = keys_of(source.read(of, Span(lower, upper), after))
            assert found == [key for key in expected if lower <= key < upper]

    def test_where_takes_a_part_of_the_collection(self, world: MongoWorld) -> None:
        for number in range(10):
            world.insert(THINGS, number, "even" if number % 2 == 0 else "odd")
        even = replace(THINGS, where=json.dumps({"text": "even"}))
        source = world.connect(even)
        after = source.position()
        assert sorted(rows(source.read(even, OPEN, after))) == [key_of(n) for n in range(0, 10, 2)]
        assert source.read_keys(even, [key_of(n) for n in range(10)], after).keys == [
            key_of(n) for n in range(0, 10, 2)
        ]

    def test_where_may_be_about_the_id(self, world: MongoWorld) -> None:
        for number in range(10):
            world.insert(THINGS, number, "text")
        few = replace(THINGS, where=json.dumps({"_id": {"$gte": 5}}))
        source = world.connect(few)
        found = source.read_keys(few, [key_of(n) for n in range(3, 8)], source.position())
        assert found.keys == [key_of(n) for n in (5, 6, 7)]

    def test_where_that_cannot_be_read_is_refused(self, world: MongoWorld) -> None:
        broken = replace(THINGS, where='{"text": ')
        source = world.connect(broken)
        with pytest.raises(RefusedError, match="things"):
            list(source.read(broken, OPEN, source.position()))

    def test_a_document_that_fits_no_row_is_quarantined_with_its_bytes(self, world: MongoWorld) -> None:
        world.db.things.insert_one({"_id": "no number"})
        world.insert(THINGS, 1, "fits")
        source = world.connect(THINGS)
        (batch,) = source.read(THINGS, OPEN, source.position())
        (entry,) = batch.quarantined
        assert entry.document == bson.encode({"_id": "no number"})
        assert (entry.path, entry.key) == ("_id", keycodec.encode(*raw_value("no number")))
        assert batch.keys == [key_of(1)]

    def test_a_missing_collection_reads_as_nothing(self, world: MongoWorld) -> None:
        source = world.connect(ANY_ID)
        assert source.estimate(ANY_ID) == (0, 0)
        assert source.spans(ANY_ID, 1000) == [OPEN]
        assert list(source.read(ANY_ID, OPEN, source.position())) == []


class TestWatching:
    def test_streams_of_one_collection_all_hear_of_a_change(self, world: MongoWorld) -> None:
        parts = [replace(THINGS, name=name, where=json.dumps({"text": name})) for name in ("left", "right")]
        source = world.connect(*parts)
        flow = source.changes(parts, source.position())
        world.insert(THINGS, 1, "left")
        while not (changes := next(flow)).keys:
            pass
        assert set(changes.keys) == {("left", key_of(1)), ("right", key_of(1))}

    def test_who_has_much_to_catch_up_says_how_far_behind_it_is(self, world: MongoWorld) -> None:
        source = world.connect(THINGS)
        since = source.position()
        world.db.things.insert_many({"_id": n, "text": "old"} for n in range(1500))
        then = _cluster_time(world)
        wait_until("the source's clock to move", lambda: _cluster_time(world) >= then + 3, 30.0)
        first, *_, last = collect(source, since, mark(source))
        assert 1 <= first.behind_s < 60
        assert last.behind_s == 0

    def test_indexes_and_other_collections_are_no_concern(self, world: MongoWorld) -> None:
        source = world.connect(THINGS)
        since = source.position()
        world.db.things.create_index("text")
        world.db.things.drop_index("text_1")
        world.db.create_collection("elsewhere").drop()
        world.insert(THINGS, 1, "after all that")
        assert until_marker(source, since) == {("things", key_of(1))}

    @pytest.mark.parametrize(
        ("change", "event"),
        [
            (lambda db: db.things.drop(), "drop of things"),
            (lambda db: db.things.rename("gone"), "rename of things"),
            (lambda db: db.create_collection("new").rename("things", dropTarget=True), "things"),
            (
                lambda db: db.command("collMod", "things", changeStreamPreAndPostImages={"enabled": True}),
                "modify of things",
            ),
            (lambda db: db.client.drop_database(db.name), "drop"),
        ],
        ids=["drop", "rename", "rename over", "collMod", "dropDatabase"],
    )
    def test_other_changes_of_a_collection_stop_the_run(
        self, world: MongoWorld, change: Callable[[pymongo.database.Database[Any]], object], event: str
    ) -> None:
        source = world.connect(THINGS)
        since = source.position()
        world.insert(THINGS, 1, "before")
        change(world.db)
        with pytest.raises(SourceChangedError, match=event):
            for _ in source.changes([THINGS], since):
                pass

    def test_bytes_that_are_no_position_are_refused(self, world: MongoWorld) -> None:
        with pytest.raises(ConnectorError, match="position"):
            next(world.connect(THINGS).changes([THINGS], Position(b"no position")))

    def test_markers_leave_nothing_behind(self, world: MongoWorld) -> None:
        source = world.connect(THINGS)
        source.put_marker("one.1")
        assert MARKERS in world.db.list_collection_names()
        source.drop_markers("one")
        assert MARKERS not in world.db.list_collection_names()

    def test_routing_records_leave_nothing_behind(self, world: MongoWorld) -> None:
        records = world.connect(THINGS).records
        records.begin(Owner("1", "shop-1", "target", "state"), RoutingRecord(Routing.PRIMARY, 0))
        assert SWITCHES in world.db.list_collection_names()
        records.forget("1")
        assert SWITCHES not in world.db.list_collection_names()

    def test_a_note_of_an_earlier_version_is_a_switch(self, world: MongoWorld) -> None:
        note = {"_id": "1", "run": "shop-1", "target": "t", "state_schema": "s", "at": datetime(2026, 1, 1, tzinfo=UTC)}
        world.db[SWITCHES].insert_one(note)
        found = world.connect(THINGS).records.records()
        assert found == [(Owner("1", "shop-1", "t", "s"), RoutingRecord(Routing.HANDED_OVER, 0))]

    def test_a_collection_that_is_made_anew_has_another_id(self, world: MongoWorld) -> None:
        source = world.connect(THINGS)
        world.insert(THINGS, 1, "before")
        before = source.collections([THINGS])
        world.db.drop_collection(THINGS.collection)
        assert source.collections([THINGS]) == {}
        world.insert(THINGS, 1, "before")
        assert source.collections([THINGS])[THINGS.name] != before[THINGS.name]


def _cluster_time(world: MongoWorld) -> int:
    """The source's clock in seconds, after a write that moves it."""
    with world.db.client.start_session() as session:
        world.db.elsewhere.insert_one({}, session=session)
        assert session.operation_time is not None
        return int(session.operation_time.time)


class TestFindings:
    @pytest.mark.parametrize(
        ("options", "code"),
        [
            ({"capped": True, "size": 4096}, "source.capped"),
            ({"collation": {"locale": "en", "strength": 2}}, "source.collation"),
            ({"timeseries": {"timeField": "at"}}, "source.timeseries"),
            ({"viewOn": "things", "pipeline": []}, "source.view"),
        ],
    )
    def test_special_collections_are_refused_with_advice(
        self, world: MongoWorld, options: dict[str, Any], code: str
    ) -> None:
        world.db.create_collection("special", **options)
        special = replace(THINGS, collection="special")
        (finding,) = world.connect(special).findings([special])
        assert (finding.code, finding.severity) == (code, "error")
        assert finding.hint

    @pytest.mark.parametrize(
        "options",
        [
            {"clusteredIndex": {"key": {"_id": 1}, "unique": True}},
            {"validator": {"$jsonSchema": {"required": ["text"]}}, "validationLevel": "moderate"},
            {"changeStreamPreAndPostImages": {"enabled": True}},
            {"collation": {"locale": "simple"}},
        ],
        ids=lambda options: next(iter(options)),
    )
    def test_other_kinds_are_read_and_watched(self, world: MongoWorld, options: dict[str, Any]) -> None:
        world.db.create_collection("special", **options)
        special = replace(THINGS, collection="special")
        source = world.connect(special)
        warned = [(finding.code, finding.severity) for finding in source.findings([special])]
        assert warned == ([("source.clustered", "warning")] if "clusteredIndex" in options else [])
        position = source.position()
        for number in (3, 1, 2):
            world.insert(special, number, f"text {number}")
        texts = {key_of(number): f"text {number}" for number in (1, 2, 3)}
        after = source.position()
        spans = source.spans(special, 1 << 20)
        # Not in which order: one of the embedded servers takes a hint on a clustered collection for no sort.
        assert rows(batch for span in spans for batch in source.read(special, span, after)) == texts
        changed = collect(source, position, mark(source), (special,))
        assert {key for changes in changed for _, key in changes.keys} == set(texts)

    @pytest.mark.parametrize("clustered", [False, True])
    def test_documents_that_expire_are_told_of(self, world: MongoWorld, clustered: bool) -> None:
        if clustered:
            options = {"clusteredIndex": {"key": {"_id": 1}, "unique": True}, "expireAfterSeconds": 3600}
            special = replace(THINGS, collection="special")
            world.db.create_collection("special", **options)
        else:
            special = THINGS
            world.db[special.collection].create_index("until", expireAfterSeconds=0)
        *others, finding = world.connect(special).findings([special])
        assert [other.code for other in others] == ["source.clustered"] * clustered
        assert (finding.code, finding.severity) == ("source.ttl", "info")
        assert ("(_id)" if clustered else "(until)") in finding.message
        assert "before the cutover" in finding.hint

    @pytest.mark.parametrize("long", [False, True])
    def test_long_ids_are_found_before_they_are_loaded(self, world: MongoWorld, long: bool) -> None:
        text = Column("_id", ("_id",), LogicalType.TEXT, "string", long=long)
        stream = replace(THINGS, key=(text,), where='{"kind": "a"}')
        things = world.db[stream.collection]
        things.insert_many([{"_id": "x" * 900, "kind": "a"}, {"_id": "x" * 3000, "kind": "b"}])
        source = world.connect(stream)
        assert source.findings([stream]) == []
        things.insert_one({"_id": "y" * 1100, "kind": "a"})
        found = source.findings([stream])
        assert [(f.code, f.severity) for f in found] == ([] if long else [("source.long_keys", "error")])
        assert all("long: true" in f.hint for f in found)

    @pytest.mark.parametrize(("size", "fits"), [(400, True), (820, True), (900, False), (1001, False)])
    def test_composite_ids_are_measured_by_part_and_in_all(self, world: MongoWorld, size: int, fits: bool) -> None:
        """Three texts; PostgreSQL's index holds some 2,700 bytes of them together."""
        key = tuple(Column(name, ("_id", name), LogicalType.TEXT, "string") for name in "abc")
        stream = replace(THINGS, key=key)
        world.db[stream.collection].insert_one({"_id": {name: name * size for name in "abc"}})
        found = world.connect(stream).findings([stream])
        assert [(f.code, f.severity) for f in found] == ([] if fits else [("source.long_keys", "error")])

    @pytest.mark.parametrize(("long", "size", "fits"), [("c", 700, True), ("c", 900, False), ("a", 900, True)])
    def test_what_stands_before_a_long_part_has_less_room(
        self, world: MongoWorld, long: str, size: int, fits: bool
    ) -> None:
        key = tuple(Column(name, ("_id", name), LogicalType.TEXT, "string", long=name == long) for name in "abc")
        stream = replace(THINGS, key=key)
        world.db[stream.collection].insert_one({"_id": {name: name * size for name in "abc"}})
        found = world.connect(stream).findings([stream])
        assert [(f.code, f.severity) for f in found] == ([] if fits else [("source.long_keys", "error")])

    def test_an_id_that_no_decoder_holds_is_no_finding(self, world: MongoWorld) -> None:
        of = replace(THINGS, key=(Column("_id", ("_id",), LogicalType.BYTES, "any"),))
        identity = (0x09, struct.pack("<q", 2**62))
        document = pack_document([(identity[0], "_id", identity[1])])
        if reason := not_kept(world.db[of.collection], document, identity):
            pytest.skip(reason)
        assert world.connect(of).findings([of]) == []

    def test_a_missing_collection_is_named(self, world: MongoWorld) -> None:
        (finding,) = world.connect(ANY_ID).findings([ANY_ID])
        assert finding.code == "source.missing"
        assert f"{world.name}.anything" in finding.message

    def test_our_own_collection_cannot_be_copied(self, world: MongoWorld) -> None:
        markers = replace(THINGS, collection=MARKERS)
        (finding,) = world.connect(markers).findings([markers])
        assert finding.code == "source.markers"

    def test_a_standalone_server_is_refused(self, tmp_path: Path) -> None:
        with serve(tmp_path, "--standalone", up=answers_at_all) as server:
            source = connect(Endpoint("mongodb", server.uri, "shop"), [THINGS])
            (finding,) = source.findings([THINGS])
            source.close()
        assert finding.code == "source.standalone"
        assert "replSet" in finding.hint


@pytest.fixture(scope="module")
def guarded_uri(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[str, str], str]]:
    """A server that asks for passwords, with the users `reader`, `writer` and `finder`; gives a user's URI."""
    folder = tmp_path_factory.mktemp("guarded")
    with serve(folder) as server, pymongo.MongoClient[dict[str, Any]](server.uri) as client:
        shop = client["shop"]
        shop["things"].insert_one({"_id": 1, "text": "one"})
        find = {"resource": {"db": "shop", "collection": "things"}, "actions": ["find"]}
        shop.command("createRole", "finds", privileges=[find], roles=[])
        for user, role in (("reader", "read"), ("writer", "readWrite"), ("finder", "finds")):
            shop.command("createUser", user, pwd="hunter2", roles=[role])
    with serve(folder, "--auth", up=answers_at_all) as server:
        host = server.uri.removeprefix("mongodb://").partition("/")[0]
        yield lambda user, password: f"mongodb://{user}:{password}@{host}/shop?directConnection=true"


class TestPrivileges:
    @pytest.mark.parametrize(
        ("user", "password", "codes"),
        [
            ("writer", "hunter2", []),
            ("reader", "hunter2", ["source.unwritable"]),
            ("finder", "hunter2", ["source.unusable"]),
            ("writer", "hunter3", ["source.unusable"]),
        ],
    )
    def test_what_a_user_may_not_do_is_found(
        self, guarded_uri: Callable[[str, str], str], user: str, password: str, codes: list[str]
    ) -> None:
        source = connect(Endpoint("mongodb", guarded_uri(user, password), "shop"), [THINGS])
        findings = source.findings([THINGS])
        source.close()
        errors = {finding.code for finding in findings if finding.severity == "error"}
        assert errors == set(codes)
        # Not every server has the commands that tell which cluster it is.
        assert {finding.code for finding in findings} - errors <= {"source.cluster_unknown"}
        assert all(finding.hint for finding in findings)
        assert "hunter" not in repr(findings)

    @pytest.mark.parametrize(("user", "codes"), [("writer", []), ("reader", ["source.unwritable"] * 2)])
    def test_what_is_written_can_be_tried(
        self, guarded_uri: Callable[[str, str], str], user: str, codes: list[str]
    ) -> None:
        with closing(connect(Endpoint("mongodb", guarded_uri(user, "hunter2"), "shop"), [THINGS])) as source:
            assert [finding.code for finding in source.try_traces()] == codes

    def test_what_a_user_may_not_do_is_refused(self, guarded_uri: Callable[[str, str], str]) -> None:
        source = connect(Endpoint("mongodb", guarded_uri("reader", "hunter2"), "shop"), [THINGS])
        with pytest.raises(RefusedError, match="13"):
            source.put_marker("not allowed")
        source.close()


class TestErrors:
    def test_no_server_is_a_passing_failure_that_shows_no_secret(self) -> None:
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        uri = f"mongodb://user:hunter2@127.0.0.1:{port}/?serverSelectionTimeoutMS=200"
        source = connect(Endpoint("mongodb", uri, "shop"), [])
        with pytest.raises(TransientError) as caught:
            source.position()
        source.close()
        shown = "".join(traceback.format_exception(caught.value))
        assert "hunter2" not in shown
        assert f"(127.0.0.1:{port})" in str(caught.value), "which server, and not who logs in"
        assert "user" not in str(caught.value)

    @pytest.mark.parametrize("uri", ["mongodb://user:hunter2@h:x/", "mongodb://h/?replicaSet", "nonsense://hunter2"])
    def test_a_uri_that_cannot_be_used_is_refused_without_showing_it(self, uri: str) -> None:
        source = connect(Endpoint("mongodb", uri, "shop"), [])  # looks nothing up yet
        with pytest.raises(RefusedError) as caught:
            source.identity()
        source.close()
        assert "hunter2" not in "".join(traceback.format_exception(caught.value))


# --- helpers

MIXED: list[Any] = [
    MinKey(), None, float("nan"), float("-inf"), -(2**63), -1.5, 0, Decimal128("0.1"), 0.1, 1, 2**53 + 1, 1e300,
    Decimal128("9E+6144"), float("inf"), "", "1", "a", "a\0", "é", {}, {"a": 1}, {"a": "1"}, {"b": 1},
    {"a": {"b": [1, "x"]}}, Binary(b""), Binary(b"b"), Binary(b"ab"), Binary(b"ab", 5), Binary(bytes(16), 3),
    Binary(bytes(16), 4), ObjectId("5" * 24), False, True, DatetimeMS(-1), DatetimeMS(0), Timestamp(1, 2),
    Timestamp(4 * 10**9, 1), MaxKey(),
]  # fmt: skip
"""`_id`s of every common type in the server's order, all of which differ."""


def answers_at_all(uri: str) -> bool:
    try:
        with pymongo.MongoClient[dict[str, Any]](uri, serverSelectionTimeoutMS=500) as client:
            return bool(client.admin.command("ping"))
    except PyMongoError:
        return False


def key_of_value(value: object) -> Key:
    """The key of an `_id`."""
    return keycodec.encode(*raw_value(value))


def raw_value(value: object) -> tuple[int, bytes]:
    """A value as (type byte, value bytes)."""
    raw = bson.encode({"v": value})
    return raw[4], raw[7:-1]


def insert_ids(world: MongoWorld, values: Sequence[tuple[int, bytes]]) -> list[Key]:
    """Insert documents with these `_id`s into an empty collection; the keys of those that the server took."""
    collection = world.db[ANY_ID.collection]
    collection.delete_many({})
    inserted: list[Key] = []
    for kind, value in values:
        try:
            collection.insert_one(RawBSONDocument(pack_document([(kind, "_id", value)])))
        except DuplicateKeyError:
            continue
        inserted.append(keycodec.encode(kind, value))
    return inserted


def raw_documents(world: MongoWorld) -> list[bytes]:
    """The documents of the collection in the server's order."""
    options = bson.CodecOptions[RawBSONDocument](document_class=RawBSONDocument)
    found = world.db.get_collection(ANY_ID.collection, options)
    return [bytes(document.raw) for document in found.find({}).sort("_id", 1)]  # type: ignore[attr-defined]


def server_order(world: MongoWorld) -> list[Key]:
    return [key_of_raw(raw) for raw in raw_documents(world)]


def keys_of(batches: Iterable[Batch]) -> list[Key]:
    return [key for batch in batches for key in batch.keys]
