"""Documents of a real collection made equal to rows: what is written, what is left, what is refused.

Every expectation is of raw bytes that the test itself has put there, read back past the code under test.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import bson
import pyarrow as pa
import pytest
from bson.raw_bson import RawBSONDocument
from pymongo.client_session import ClientSession
from pymongo.errors import OperationFailure
from pymongo.read_concern import ReadConcern
from pymongo.write_concern import WriteConcern

from tests.conformance.mongodb_marked_world import SERVERS, MongoMarkedWorld, server
from tests.unit.mongodb.test_rewritten import array, doc, double, int32, int64, raw_of, text
from tranship.connectors.batch import RESIDUE, Batch
from tranship.connectors.errors import (
    EpochMovedError,
    MarkMovedError,
    RowRefusedError,
    TransientError,
    UniqueConflictError,
)
from tranship.connectors.mongodb.mapper import Mapper
from tranship.connectors.mongodb.projection import key_of
from tranship.connectors.mongodb.target import Handover
from tranship.connectors.mongodb.target.marks import Marks
from tranship.connectors.protocols import (
    ChunkMark,
    Feed,
    Key,
    LaneMark,
    Owner,
    Routing,
    RoutingRecord,
    Scope,
    Span,
)
from tranship.plans.rules import MARK_COLLECTION
from tranship.plans.streams import Child, Column, LogicalType, Rest, Stream

T = LogicalType
THINGS = Stream(
    "things",
    "things",
    "things",
    (Column("_id", ("_id",), T.INT32, "int32"),),
    (
        Column("kind", ("kind",), T.TEXT, "string"),
        Column("n", ("n",), T.INT32, "int32"),
        Column("at", ("at",), T.TIMESTAMP, "date"),
    ),
    (Child("kids", ("kids",), (Column("k", ("k",), T.INT32, "int32"),), empty="missing"),),
)
GOODS = replace(THINGS, where='{"kind": "good"}')
WHOLE = Span(None, None)


@pytest.fixture(scope="module", params=SERVERS)
def uri(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder: Path = tmp_path_factory.mktemp("mongodb")
    with server(request.param, folder) as found:
        yield found


@pytest.fixture
def world(uri: str) -> Iterator[MongoMarkedWorld]:
    with ExitStack() as stack:
        found = MongoMarkedWorld(uri, f"tranship_{secrets.token_hex(6)}", stack)
        yield found
        found.client.drop_database(found.database)


class Feeding:
    """A reverse feed with one lane, on a collection that has these documents."""

    def __init__(self, world: MongoMarkedWorld, *documents: bytes, stream: Stream = THINGS) -> None:
        self.world = world
        self.stream = stream
        self.scope = Scope("shop-1", Feed.REVERSE, 1)
        self.target = world.marked()
        self.mark = self.target.claim(self.scope, [LaneMark(self.scope, 0, 0)])[0]
        for raw in documents:
            world.database.things.insert_one(RawBSONDocument(raw))

    def put(self, *keys: Key, rows: pa.RecordBatch | None = None) -> Mapping[Key, str]:
        """Make the keys equal to the rows; none: absent."""
        found = self.target.replace(self.stream, keys, self.none if rows is None else rows, [self.mark])
        self.mark = replace(self.mark, seq=self.mark.seq + 1)
        return found

    @property
    def none(self) -> pa.RecordBatch:
        return Mapper(self.stream).batch([]).rows

    def rows(self, *documents: bytes, **columns: Any) -> pa.RecordBatch:
        """The rows of documents, with these columns changed in all of them."""
        rows = Mapper(self.stream).batch(documents).rows
        return pa.RecordBatch.from_pylist([row | columns for row in rows.to_pylist()], schema=rows.schema)

    def held(self) -> list[bytes]:
        """The collection's documents as the server gives them."""
        return documents(self.world)


def documents(world: MongoMarkedWorld) -> list[bytes]:
    raw = b"".join(world.database.things.find_raw_batches({}, sort=[("_id", 1)]))  # type: ignore[arg-type]
    found = []
    while raw:
        size = int.from_bytes(raw[:4], "little")
        found.append(raw[:size])
        raw = raw[size:]
    return found


def thing(number: int, *more: tuple[str, Any]) -> bytes:
    return raw_of(("_id", int32(number)), *more)


def keys(*raws: bytes) -> list[Key]:
    return [key_of(raw) for raw in raws]


# --- what is written --------------------------------------------------------------------------------------------------


def test_what_nobody_touched_keeps_its_bytes(world: MongoMarkedWorld) -> None:
    """Types, order, unnamed fields, elements."""
    before = thing(
        1, ("more", doc(("x", int64(1)))), ("n", double(1.0)), ("kind", text("a")), ("kids", array(int32(5)))
    )
    feeding = Feeding(world, before)
    feeding.put(*keys(before), rows=feeding.rows(before, kind="b"))
    after = thing(1, ("more", doc(("x", int64(1)))), ("n", double(1.0)), ("kind", text("b")), ("kids", array(int32(5))))
    assert feeding.held() == [after]


def test_rows_come_change_and_go(world: MongoMarkedWorld) -> None:
    one, two, three = (thing(n, ("n", int32(n))) for n in (1, 2, 3))
    feeding = Feeding(world, one, two)
    rows = pa.concat_batches([feeding.rows(two, n=20), feeding.rows(three)])
    assert feeding.put(*keys(one, two, three), rows=rows) == {}
    assert feeding.held() == [thing(2, ("n", int32(20))), three]


def test_the_id_keeps_its_type_also_for_a_row_that_does_not_know_it(world: MongoMarkedWorld) -> None:
    before = raw_of(("_id", double(7.0)), ("n", int32(1)))
    feeding = Feeding(world, before)
    feeding.put(*keys(before), rows=feeding.rows(before, n=2, **{RESIDUE: None}))
    assert feeding.held() == [raw_of(("_id", double(7.0)), ("n", int32(2)))]


def test_a_document_that_is_as_its_row_says_is_not_written(world: MongoMarkedWorld) -> None:
    """Somebody else's transaction has it, with which any write of it would conflict; also where others are made anew,
    because they exchange a unique value."""
    one, two, three = (thing(n, ("x", int64(n)), ("n", int32(n))) for n in (1, 2, 3))
    feeding = Feeding(world, one, two, three)
    world.database.things.create_index("n", unique=True)
    rows = pa.concat_batches([feeding.rows(one), feeding.rows(two, n=3), feeding.rows(three, n=2)])
    with world.client.start_session() as session, session.start_transaction():
        world.database.things.update_one({"_id": 1}, {"$set": {"y": 7}}, session=session)
        feeding.put(*keys(one, two, three), rows=rows)
        with pytest.raises(TransientError):
            feeding.put(*keys(one), rows=feeding.rows(one, n=9))
        session.abort_transaction()
    swapped = (thing(n, ("x", int64(n)), ("n", int32(5 - n))) for n in (2, 3))
    assert feeding.held() == [one, *swapped]


def test_a_server_that_keeps_other_bytes_refuses_the_row(world: MongoMarkedWorld) -> None:
    """One of the embedded servers keeps one of two fields of a name, as its own answer shows."""
    raw = thing(1, ("n", int32(1)), ("n", int32(2)))
    feeding = Feeding(world, raw)
    keeps = feeding.held() == [raw]
    world.database.things.drop()
    row = feeding.rows(raw)
    if keeps:
        feeding.put(*keys(raw), rows=row)
        assert feeding.held() == [raw]
        feeding.put(*keys(raw), rows=feeding.rows(raw, n=None))
        assert feeding.held() == [thing(1)]
    else:
        with pytest.raises(RowRefusedError):
            feeding.put(*keys(raw), rows=row)
        assert feeding.held() == []
        assert list(feeding.target.refused(THINGS, Batch(row))) == keys(raw)


def test_a_later_row_of_the_marks_sees_what_was_written(world: MongoMarkedWorld) -> None:
    one = thing(1, ("n", int32(1)))
    feeding = Feeding(world, one)
    feeding.put(*keys(one), rows=feeding.rows(one, n=2))
    assert feeding.target.read_keys(THINGS, keys(one)).rows.column("n").to_pylist() == [2]
    (batch,) = feeding.target.read(THINGS, WHOLE)
    assert batch.rows.column("n").to_pylist() == [2]


# --- what is not the stream's -----------------------------------------------------------------------------------------


def test_documents_of_others_are_neither_deleted_nor_overwritten(world: MongoMarkedWorld) -> None:
    ours, theirs, wanted = thing(1, ("kind", text("good"))), thing(2, ("kind", text("bad"))), thing(3, ("n", int32(3)))
    feeding = Feeding(world, ours, theirs, wanted, stream=GOODS)
    row = feeding.rows(thing(3, ("kind", text("good"))))
    assert feeding.put(*keys(ours, theirs, wanted), rows=row) == {key_of(wanted): "things"}
    assert feeding.held() == [theirs, wanted]


def test_a_row_that_would_leave_the_stream_is_refused(world: MongoMarkedWorld) -> None:
    ours = thing(1, ("kind", text("good")))
    feeding = Feeding(world, ours, stream=GOODS)
    rows = feeding.rows(ours, kind="bad")
    with pytest.raises(RowRefusedError):
        feeding.put(*keys(ours), rows=rows)
    assert feeding.held() == [ours]
    assert feeding.target.refused(GOODS, Batch(rows)).keys() == {key_of(ours)}


@pytest.mark.parametrize("rest", [Rest.QUARANTINE, Rest.FAIL])
def test_a_document_that_is_kept_aside_is_no_row_that_was_deleted(world: MongoMarkedWorld, rest: Rest) -> None:
    odd, plain = thing(1, ("n", text("odd"))), thing(2, ("n", int32(2)))
    feeding = Feeding(world, odd, plain, stream=replace(THINGS, rest=rest))
    feeding.put(*keys(odd, plain))
    assert feeding.held() == [odd]


# --- unique values and refusals ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("moves", [{1: 2, 2: 1}, {1: 2, 2: 3, 3: 1}, {1: 2, 2: 3, 3: 4}, {1: None, 2: 1, 3: 2}])
def test_unique_values_pass_between_documents_in_any_way(world: MongoMarkedWorld, moves: dict[int, int | None]) -> None:
    raws = {n: thing(n, ("n", int32(n)), ("x", int64(n))) for n in (1, 2, 3)}
    feeding = Feeding(world, *raws.values())
    world.database.things.create_index("n", unique=True, sparse=True)
    rows = [feeding.rows(raws[n], n=value) for n, value in moves.items()]
    feeding.put(*keys(*(raws[n] for n in moves)), rows=pa.concat_batches(rows))
    now = {n: n for n in raws} | moves
    wanted = [thing(n, *([("n", int32(value))] if value else []), ("x", int64(n))) for n, value in now.items()]
    assert feeding.held() == wanted


def test_a_unique_value_of_a_deleted_document_is_free(world: MongoMarkedWorld) -> None:
    one, two = thing(1, ("n", int32(1))), thing(2, ("n", int32(1)))
    feeding = Feeding(world, one)
    world.database.things.create_index("n", unique=True, sparse=True)
    feeding.put(*keys(one, two), rows=feeding.rows(two))
    assert feeding.held() == [two]


def test_who_holds_a_unique_value_is_named(world: MongoMarkedWorld) -> None:
    one, two = thing(1, ("n", int32(1))), thing(2, ("n", int32(2)))
    feeding = Feeding(world, one, two)
    world.database.things.create_index("n", unique=True, sparse=True, name="only one n")
    with pytest.raises(UniqueConflictError) as caught:
        feeding.put(*keys(two), rows=feeding.rows(two, n=1))
    assert (caught.value.claimants, caught.value.owners) == ((key_of(two),), (key_of(one),))
    assert (caught.value.constraint, caught.value.columns) == ("only one n", ("n",))
    both = pa.concat_batches([feeding.rows(one, n=3), feeding.rows(two, n=3)])
    with pytest.raises(UniqueConflictError) as caught:
        feeding.put(*keys(one, two), rows=both)
    assert (set(caught.value.claimants), caught.value.owners) == (set(keys(one, two)), ())
    assert feeding.held() == [one, two]
    feeding.put(*keys(one), rows=feeding.rows(one, n=3))  # and the lane goes on


def test_what_a_validator_refuses_is_named(world: MongoMarkedWorld) -> None:
    world.database.create_collection("things", validator={"n": {"$lt": 10}})
    one, two = thing(1, ("n", int32(1))), thing(2, ("n", int32(2)))
    feeding = Feeding(world, one, two)
    rows = pa.concat_batches([feeding.rows(one, n=5), feeding.rows(two, n=50)])
    with pytest.raises(RowRefusedError):
        feeding.put(*keys(one, two), rows=rows)
    assert list(feeding.target.refused(THINGS, Batch(rows))) == keys(two)
    assert "validator" in feeding.target.refused(THINGS, Batch(rows))[key_of(two)]
    assert feeding.held() == [one, two]


def test_what_no_document_can_hold_is_named(world: MongoMarkedWorld) -> None:
    one, two, large = thing(1), thing(2), thing(3)
    feeding = Feeding(world, one)
    rows = pa.concat_batches(
        [
            feeding.rows(one),
            feeding.rows(two, at=pa.scalar(1, pa.timestamp("us", "UTC")).as_py()),
            feeding.rows(large, kind="x" * (17 << 20)),
        ]
    )
    with pytest.raises(RowRefusedError):
        feeding.put(*keys(one, two, large), rows=rows)
    with pytest.raises(RowRefusedError):
        feeding.put(*keys(large), rows=rows.slice(2))
    found = feeding.target.refused(THINGS, Batch(rows))
    assert list(found) == keys(two, large)
    assert "milliseconds" in found[key_of(two)]
    assert "16 MB" in found[key_of(large)]
    assert feeding.held() == [one]


def test_a_residue_that_is_none_is_refused(world: MongoMarkedWorld) -> None:
    one = thing(1)
    feeding = Feeding(world, one)
    for residue in (b"", b"r", b"\5\0\0\0\0", bson.encode({"v": 1})):
        rows = feeding.rows(one, **{RESIDUE: residue})
        with pytest.raises(RowRefusedError):
            feeding.put(*keys(one), rows=rows)
        assert list(feeding.target.refused(THINGS, Batch(rows))) == keys(one)


# --- marks and seals --------------------------------------------------------------------------------------------------


def test_the_seal_and_the_record_change_together(world: MongoMarkedWorld) -> None:
    feeding = Feeding(world)
    records = feeding.target.records
    records.begin(Owner("id", "shop-1", "target", "tranship"), RoutingRecord(Routing.HANDED_OVER, 1))
    wrong = Handover("id", RoutingRecord(Routing.PRIMARY, 1), RoutingRecord(Routing.READY, 2))
    with pytest.raises(MarkMovedError):
        feeding.target.seal(feeding.scope, wrong)
    feeding.put(b"\x14")  # nothing is sealed
    right = Handover("id", RoutingRecord(Routing.HANDED_OVER, 1), RoutingRecord(Routing.READY, 2))
    for _ in range(2):
        feeding.target.seal(feeding.scope, right)
        assert records.read("id") == RoutingRecord(Routing.READY, 2)
    with pytest.raises(MarkMovedError):
        feeding.put(b"\x14")


def test_what_is_left_of_the_marks_is_removed_with_their_run(world: MongoMarkedWorld) -> None:
    feeding = Feeding(world)
    later = replace(feeding.scope, epoch=2)
    heir = world.marked()
    heir.claim(later, [])
    heir.forget(later)
    heir.forget(later)
    with pytest.raises(EpochMovedError):
        feeding.target.claim(feeding.scope, [feeding.mark])
    feeding.target.close()
    heir.remove("shop-1")
    assert world.database.list_collection_names() == []


def test_an_open_transaction_of_an_earlier_epoch_is_ended(world: MongoMarkedWorld) -> None:
    """It has written its mark and two documents, and its process says nothing more."""
    one = thing(1, ("n", int32(1)))
    feeding = Feeding(world, one)
    heir, later = world.marked(), replace(feeding.scope, epoch=2)

    def take_over(site: str) -> None:
        if site == "replace.before_commit":
            assert heir.claim(later, []) == [LaneMark(later, 0, 0)]

    halted = world.marked(take_over)
    with pytest.raises(EpochMovedError):
        halted.replace(THINGS, keys(one), feeding.rows(one, n=2), [feeding.mark])
    assert feeding.held() == [one]
    heir.replace(THINGS, keys(one), feeding.rows(one, n=3), [LaneMark(later, 0, 0)])
    assert feeding.held() == [thing(1, ("n", int32(3)))]


@pytest.mark.parametrize("call", ["replace", "load", "begin", "seal", "unseal", "forget", "empty"])
def test_of_two_epochs_that_race_the_later_one_wins(world: MongoMarkedWorld, call: str) -> None:
    """The takeover comes when the earlier one has done all but COMMIT."""
    one = thing(1, ("n", int32(1)))
    feeding = Feeding(world, one)
    scope, later = feeding.scope, replace(feeding.scope, epoch=2)
    chunk = ChunkMark(scope, "things", 0, 1)
    if call == "load":
        feeding.target.begin(chunk)
    taken: list[LaneMark] = []

    def take_over(site: str) -> None:
        if site == f"{call}.before_commit" and not taken:
            taken.extend(world.marked().claim(later, []))

    halted = world.marked(take_over)
    row = feeding.rows(one, n=2)
    calls = {
        "replace": lambda: halted.replace(THINGS, keys(one), row, [feeding.mark]),
        "load": lambda: halted.load(THINGS, WHOLE, [Batch(row)], chunk),
        "begin": lambda: halted.begin(chunk),
        "seal": lambda: halted.seal(scope),
        "unseal": lambda: halted.unseal(scope),
        "forget": lambda: halted.forget(scope),
        "empty": lambda: halted.empty(scope, [THINGS]),
    }
    with pytest.raises((EpochMovedError, TransientError)):
        calls[call]()
    assert feeding.held() == [one]
    assert world.marked().claim(later, []) == [LaneMark(later, 0, feeding.mark.seq)]
    world.marked().replace(THINGS, keys(one), row, [LaneMark(later, 0, feeding.mark.seq)])


@pytest.mark.parametrize(
    "call", ["swap_lanes", "begin_attempt", "end_attempt", "forget_attempts", "seal", "unseal", "forget", "write"]
)
def test_a_snapshot_from_before_a_takeover_commits_nothing(world: MongoMarkedWorld, call: str) -> None:
    """It shows the old epoch still, and nobody has ended it: what it writes conflicts, whatever it has read."""
    feeding = Feeding(world)
    scope, begun = feeding.scope, ChunkMark(feeding.scope, "things", 0, 1)
    feeding.target.begin(begun)
    collection = world.database[MARK_COLLECTION]
    marks = Marks(collection)
    calls: dict[str, Callable[[ClientSession], None]] = {
        "swap_lanes": lambda session: marks.swap_lanes(session, [feeding.mark]),
        "begin_attempt": lambda session: marks.begin_attempt(session, replace(begun, chunk=1)),
        "end_attempt": lambda session: marks.end_attempt(session, begun),
        "forget_attempts": lambda session: marks.forget_attempts(session, scope, ["things"]),
        "seal": lambda session: marks.seal(session, scope, sealed=True),
        "unseal": lambda session: marks.seal(session, scope, sealed=False),
        "forget": lambda session: marks.forget(session, scope),
        "write": lambda session: marks.write(session, scope),
    }
    with world.client.start_session() as session:
        session.start_transaction(ReadConcern("snapshot"), WriteConcern("majority"))
        assert collection.find_one({"kind": "feed", "epoch": 1}, session=session)
        world.marked().claim(replace(scope, epoch=2), [])

        def commit() -> None:
            calls[call](session)
            session.commit_transaction()

        with pytest.raises((OperationFailure, EpochMovedError)):
            commit()


def test_a_mark_is_null_nowhere(world: MongoMarkedWorld) -> None:
    """What others may read of them: every mark says whose it is, and its epoch."""
    feeding = Feeding(world)
    feeding.target.begin(ChunkMark(feeding.scope, "things", 0, 1))
    found = list(world.database[MARK_COLLECTION].find())
    assert {one["kind"] for one in found} == {"feed", "lane", "chunk", "session"}
    assert {(one["run"], one["feed"], one["epoch"]) for one in found} == {("shop-1", "reverse", 1)}
