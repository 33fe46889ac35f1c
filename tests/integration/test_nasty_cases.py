"""Hard cases through `tranship run`, each with the right outcome; numbered as people who build such tools number them.

One run moves all of them, a collection each. What a case does while the run follows is done when the run waits for its
approval. Then the source's bytes are compared with what comes back from PostgreSQL, and plain SQL with what is written
here. Case 24, which stops a run, is in `tests/integration/test_stream_events.py`; cases 12 to 21, which are about
moments rather than values, are in `tests/interleaving/` and `tests/crash/`.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import bson
import psycopg
import pytest
from bson.codec_options import DatetimeConversion
from bson.raw_bson import RawBSONDocument
from pymongo.collection import Collection
from pymongo.errors import DuplicateKeyError

from tests.bsonvalues import (
    ARRAY,
    BINARY,
    BOOL,
    DOCUMENT,
    DOUBLE,
    NOTHING,
    ONE,
    STRING,
    TEXT_ONE,
    TWO,
    Value,
    binary,
    document,
    double,
    raw_string,
    value,
)
from tests.integration.proxy import mongodb_proxy
from tests.integration.rawbytes import insert, not_kept
from tests.integration.route import SCHEMA, STATE, Route, fresh_route, wait_until
from tests.unit.mongodb.bson_strategies import pack_array, pack_string
from tranship.orchestrator.sandbox import Servers

FINISHED = 0
RAW: bson.CodecOptions[RawBSONDocument] = bson.CodecOptions(
    document_class=RawBSONDocument, datetime_conversion=DatetimeConversion.DATETIME_MS
)

Source = Collection[Any]
Later = Callable[[Source], None]
Record = Callable[[str, object], None]


def text(of: str) -> Value:
    return STRING, pack_string(of)


def numbered(number: int, *fields: tuple[str, Value]) -> bytes:
    return document(("_id", value_of(number)), *fields)


def value_of(of: object) -> Value:
    raw = bson.encode({"v": of})
    return raw[4], raw[7:-1]


@dataclass(frozen=True)
class Case:
    """A collection: its stream, what is in it when the run starts, and what is done while the run follows."""

    columns: dict[str, Any]
    before: list[bytes]
    later: Later = lambda _: None
    key: Any = "int32"
    more: dict[str, Any] = field(default_factory=dict)

    @property
    def stream(self) -> dict[str, Any]:
        return {"key": {"_id": self.key}, "columns": self.columns, **self.more}


# --- the cases ----------------------------------------------------------------------------------------------------

UUID = bytes(range(16))
IDS: dict[str, Value] = {
    "1": ONE,
    "true": (BOOL, b"\1"),
    "'1'": TEXT_ONE,
    "NaN": value("double", "NaN"),
    "null": NOTHING,
    "{a: 1}": (DOCUMENT, document(("a", ONE))),
    "UUID 3": (BINARY, binary(3, UUID)),
    "UUID 4": (BINARY, binary(4, UUID)),
}

DATES = {
    "-2^63 ms": None,
    "2^63 - 1 ms": None,
    "year 0": "0001-01-01 00:00:00 BC",
    "year 10000": "10000-01-01 00:00:00",
    "1969-12-31 23:59:59.999": "1969-12-31 23:59:59.999",
}
DECIMALS = {"-0.00": "0.00", "1.10": "1.10", "1E+3": "1000.00", "signalling NaN": None, "1E-6176": None}

RANDOM_ID = random.Random(8).randbytes(1500).hex()
LONG_IDS = [RANDOM_ID, "tranship " * 5700, "short", "x" * 1001]

TWINS = ["t" * 69 + "1", "t" * 69 + "2"]
NAMES = {"twin_1": TWINS[0], "twin_2": TWINS[1], "empty": "", "dollar": "$oid", "dotted": "a.b", "b": "ctid"}

FIELDS = [
    numbered(n, ("name", text(f"name {n}")), *((f"field_{f:04}", value_of(f)) for f in range(20 * n, 20 * n + 20)))
    for n in range(100)
]
"""2,000 distinct fields in all."""

NESTED_ARRAYS = value("array", "[1], [2]")
SHAPES: dict[str, list[tuple[str, Value]]] = {
    "[]": [(name, (ARRAY, pack_array([]))) for name in ("j", "a", "c", "u")],
    "null": [(name, NOTHING) for name in ("j", "a", "c", "u")],
    "missing": [],
    "[[1], [2]]": [(name, NESTED_ARRAYS) for name in ("j", "a", "c", "u")],
}

LARGE = 15_900_000
MANY = 50_000

# What the server keeps for a text that is not UTF-8, which no server at hand takes, and what tranship sees instead.
KEPT_TEXT, BROKEN_TEXT = b"stands for broken text", b"broken \xff\xfe and \xed\xa0\x80 here"


def delete_and_insert_as_double(source: Source) -> None:
    source.delete_one({"_id": 1})
    insert(source, [document(("_id", (DOUBLE, double(1.0))), ("label", text("second")))])


def more_broken_text(source: Source) -> None:
    insert(
        source, [numbered(11, ("name", text(KEPT_TEXT.decode()))), numbered(12, ("name", text("a good one behind")))]
    )


def rewrite_the_large_one(source: Source) -> None:
    for turn in range(3):
        source.update_one({"_id": 1}, {"$set": {"turn": turn, "blob": bytes([turn]) * LARGE}})


def insert_many_in_a_transaction(source: Source) -> None:
    with source.database.client.start_session() as session, session.start_transaction():
        for start in range(0, MANY, 10_000):
            source.insert_many([{"_id": n, "turn": 0} for n in range(start, start + 10_000)], session=session)
        for turn in range(1, 20):
            source.update_one({"_id": 7}, {"$set": {"turn": turn}}, session=session)
        source.delete_one({"_id": 8}, session=session)


CASES = {
    "case_01": Case(
        {"label": "text"},
        [document(("_id", identity), ("label", text(name))) for name, identity in IDS.items()],
        key="canonical",
    ),
    "case_02": Case(
        {"label": "text"},
        [document(("_id", ONE), ("label", text("first")))],
        delete_and_insert_as_double,
        key="canonical",
    ),
    "case_03": Case(
        {"name": "text"},
        [
            numbered(1, ("name", text("first")), ("name", text("second"))),
            numbered(2, ("name", text("only")), ("other", ONE), ("other", TWO)),
            numbered(3, ("name", text("no duplicate"))),
        ],
    ),
    "case_04": Case(
        {"t": "text", "j": "json"},
        [
            numbered(1, ("t", text("a\0b")), ("j", text("x"))),
            numbered(2, ("t", text("x")), ("j", (DOCUMENT, document(("k", text("a\0b")))))),
            numbered(3, ("t", text("x")), ("j", text("x"))),
        ],
    ),
    "case_05": Case(
        {"name": "text"},
        [numbered(1, ("name", text(KEPT_TEXT.decode()))), numbered(2, ("name", text("a good one")))],
        more_broken_text,
    ),
    "case_06": Case(
        {"at": "timestamp"},
        [numbered(number, ("at", value("date", name))) for number, name in enumerate(DATES)],
    ),
    "case_07": Case(
        {"amount": {"type": "decimal", "precision": 12, "scale": 2}},
        [numbered(number, ("amount", value("decimal128", name))) for number, name in enumerate(DECIMALS)],
    ),
    "case_08": Case(
        {"n": "int32"},
        [document(("_id", text(name)), ("n", value_of(n))) for n, name in enumerate(LONG_IDS)],
        key={"type": "text", "long": True},
    ),
    "case_08_canonical": Case(
        {"n": "int32"},
        [document(("_id", text(name)), ("n", value_of(n))) for n, name in enumerate(LONG_IDS)],
        key={"type": "canonical", "long": True},
    ),
    "case_08_late": Case(
        {"n": "int32"},
        [document(("_id", text("short")), ("n", value_of(0)))],
        lambda source: insert(source, [document(("_id", text(RANDOM_ID)), ("n", value_of(1)))]),
        key="text",
    ),
    "case_09": Case(
        {column: {"path": [name], "type": "text"} for column, name in NAMES.items()},
        [numbered(1, *((name, text(f"of {column}")) for column, name in NAMES.items()))],
    ),
    "case_10": Case(
        {"name": "text"},
        FIELDS,
    ),
    "case_10_json": Case({"name": "text"}, FIELDS, more={"rest": {"json": "rest"}}),
    "case_11": Case(
        {"j": "json", "a": {"type": "array", "items": "text"}},
        [numbered(n, *fields) for n, fields in enumerate(SHAPES.values())],
        more={
            "children": {
                "case_11_c": {"path": "c", "columns": {"v": {"path": [], "type": "int32", "filled": "optional"}}}
            }
        },
    ),
    "case_22": Case(
        {"turn": "int32", "blob": "bytes"},
        [numbered(1, ("turn", value_of(-1)), ("blob", (BINARY, binary(0, b"x" * LARGE))))],
        rewrite_the_large_one,
    ),
    "case_23": Case({"turn": "int32"}, [], insert_many_in_a_transaction),
}


# --- one run for all ----------------------------------------------------------------------------------------------


@dataclass
class Outcome:
    """What is there when the run is over. `left_out`: documents that the source server cannot keep, and why."""

    route: Route
    source: dict[str, list[bytes]]
    rebuilt: dict[str, list[bytes]]
    left_out: dict[bytes, str]

    def query(self, statement: str) -> list[tuple[Any, ...]]:
        """Rows of the migrated tables."""
        with psycopg.connect(self.route.target_uri, options=f"-c search_path={SCHEMA} -c timezone=UTC") as connection:
            return connection.execute(statement.encode()).fetchall()

    def aside(self, case: str) -> list[tuple[str, str, bytes]]:
        """(path, reason, document) of what is in quarantine."""
        found = self.route.query(f"select path, reason, document from {STATE}.quarantine where stream = %s", case)
        return sorted((path, reason, bytes(raw)) for path, reason, raw in found)

    def residue(self, case: str, key: str = "_id") -> list[Any]:
        """The keys of the rows with residue."""
        return [found for (found,) in self.query(f"select {key} from {case} where _residue is not null order by 1")]

    def same(self, case: str) -> list[bytes]:
        """The documents, after checking that source and target have the same ones, byte for byte."""
        assert self.source[case] == self.rebuilt[case]
        return self.source[case]


@pytest.fixture(scope="module")
def outcome(servers: Servers, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Outcome]:
    """All cases moved in one run, which sees the source through a proxy that breaks one text."""
    with (
        fresh_route(servers, tmp_path_factory.mktemp("nasty")) as route,
        mongodb_proxy(route.source.uri, {KEPT_TEXT: BROKEN_TEXT}) as (_, through),
    ):
        route.environment["SOURCE_URI"] = through
        left_out = _seed(route)
        plan = route.plan({name: case.stream for name, case in CASES.items()}, cutover={"max_quarantined": 3})
        run = route.run_to_approval(plan)
        for name, case in CASES.items():
            case.later(route.documents(name))
        last = lambda: route.query(f"select count(*) from {SCHEMA}.case_23") == [(MANY - 1,)]  # noqa: E731
        wait_until(last, run, "what was written last")
        code, said = route.tranship("approve", plan)
        assert code == FINISHED, said
        assert run.wait() == FINISHED, run.output
        yield Outcome(route, {name: route.raw(name) for name in CASES}, route.rebuilt(plan), left_out)


def _seed(route: Route) -> dict[bytes, str]:
    left_out: dict[bytes, str] = {}
    for name, case in CASES.items():
        route.client[route.source.name].create_collection(name)
        for raw in case.before:
            if reason := _insert(route, name, raw):
                left_out[raw] = reason
    return left_out


def _insert(route: Route, name: str, raw: bytes) -> str:
    """Insert a document; why that was not possible, empty if it was."""
    identity = value_of(RawBSONDocument(raw, RAW)["_id"])
    reason = not_kept(route.documents("scratch"), raw, identity)
    if not reason:
        try:
            route.documents(name).insert_one(RawBSONDocument(raw))
        except DuplicateKeyError:
            reason = "the source server takes its _id for equal to another one"
    return reason


def test_case_01_ids_of_all_types_are_rows_of_their_own(outcome: Outcome, record_property: Record) -> None:
    kept = _kept(outcome, "case_01", record_property)
    assert sorted(outcome.same("case_01")) == sorted(kept)
    labels = [RawBSONDocument(raw, RAW)["label"] for raw in kept]
    assert len(labels) >= len(IDS) - 1
    assert sorted(label for (label,) in outcome.query("select label from case_01")) == sorted(labels)


def test_case_02_an_id_of_another_number_type_is_the_same_key(outcome: Outcome) -> None:
    assert outcome.same("case_02") == [document(("_id", (DOUBLE, double(1.0))), ("label", text("second")))]
    assert outcome.query("select label from case_02") == [("second",)]


def test_case_03_duplicate_keys_in_a_document(outcome: Outcome, record_property: Record) -> None:
    kept = _kept(outcome, "case_03", record_property)
    assert outcome.same("case_03") == kept
    rows = [(1, "first"), (2, "only"), (3, "no duplicate")]
    numbers = {RawBSONDocument(raw, RAW)["_id"] for raw in kept}
    assert outcome.query("select _id, name from case_03 order by _id") == [row for row in rows if row[0] in numbers]
    assert outcome.residue("case_03") == sorted(numbers - {3})


def test_case_04_a_nul_character_in_text_and_json(outcome: Outcome) -> None:
    assert len(outcome.same("case_04")) == 3
    rows = [(1, None, '"x"'), (2, "x", None), (3, "x", '"x"')]
    assert outcome.query("select _id, t, j::text from case_04 order by _id") == rows
    assert outcome.residue("case_04") == [1, 2]


def test_case_05_text_that_is_not_utf8_is_kept_aside_and_the_stream_goes_on(outcome: Outcome) -> None:
    rows = [(2, "a good one"), (12, "a good one behind")]
    assert outcome.query("select _id, name from case_05 order by _id") == rows
    broken = [numbered(number, ("name", (STRING, raw_string(BROKEN_TEXT)))) for number in (1, 11)]
    assert outcome.aside("case_05") == [("name", "malformed: string is not UTF-8", raw) for raw in broken]


def test_case_06_dates_keep_their_milliseconds(outcome: Outcome, record_property: Record) -> None:
    kept = _kept(outcome, "case_06", record_property)
    assert outcome.same("case_06") == kept
    rows = [row for row, raw in zip(enumerate(DATES.values()), CASES["case_06"].before, strict=True) if raw in kept]
    assert outcome.query("select _id, (at at time zone 'UTC')::text from case_06 order by _id") == rows
    assert outcome.residue("case_06") == [number for number, at in rows if at is None]


def test_case_07_decimals_come_back_in_their_form(outcome: Outcome) -> None:
    assert len(outcome.same("case_07")) == len(DECIMALS)
    rows = list(enumerate(DECIMALS.values()))
    assert outcome.query("select _id, amount::text from case_07 order by _id") == rows
    assert outcome.residue("case_07") == [number for number, held in rows if held != "1.10"]


@pytest.mark.parametrize("case", ["case_08", "case_08_canonical"])
def test_case_08_ids_of_any_length(outcome: Outcome, case: str) -> None:
    assert len(outcome.same(case)) == len(LONG_IDS)
    assert outcome.query(f"select n from {case} order by n") == [(n,) for n in range(len(LONG_IDS))]
    assert outcome.residue(case) == []
    if case == "case_08":
        assert [found for (found,) in outcome.query("select _id from case_08 order by n")] == LONG_IDS


def test_case_08_a_longer_id_than_expected_comes_later(outcome: Outcome) -> None:
    assert outcome.query("select _id from case_08_late") == [("short",)]
    [(path, reason, raw)] = outcome.aside("case_08_late")
    assert (path, raw) == ("_id", document(("_id", text(RANDOM_ID)), ("n", value_of(1))))
    assert reason.startswith("longer than 1000 bytes")


def test_case_09_names_that_postgresql_would_cut_fold_or_refuse(outcome: Outcome) -> None:
    assert len(outcome.same("case_09")) == 1
    assert outcome.query(f"select {', '.join(NAMES)} from case_09") == [tuple(f"of {column}" for column in NAMES)]
    assert outcome.residue("case_09") == []


def test_case_10_two_thousand_fields(outcome: Outcome) -> None:
    assert len(outcome.same("case_10")) == len(outcome.same("case_10_json")) == len(FIELDS)
    assert len(outcome.residue("case_10")) == len(FIELDS)
    assert outcome.residue("case_10_json") == []
    found = outcome.query("select key, value from case_10_json, jsonb_each_text(rest) order by key")
    assert found == [(f"field_{number:04}", str(number)) for number in range(2000)]


def test_case_11_empty_null_missing_and_nested_arrays_stay_apart(outcome: Outcome) -> None:
    assert len(outcome.same("case_11")) == len(SHAPES)
    rows = [(0, "[]", "{}", []), (1, "null", None, []), (2, None, None, []), (3, "[[1], [2]]", None, [None, None])]
    children = "array(select v from case_11_c where _root_id = _id order by _ordinal)"
    assert outcome.query(f"select _id, j::text, a::text, {children} from case_11 order by _id") == rows
    assert outcome.residue("case_11") == [0, 1, 2, 3], (
        "u is in no column; null and missing are not what no rows stand for"
    )
    assert outcome.query("select count(*) from case_11_c where _residue is not null") == [(2,)]


def test_case_22_a_large_document_is_rewritten_under_capture(outcome: Outcome) -> None:
    [raw] = outcome.same("case_22")
    assert len(raw) > LARGE
    assert outcome.query(
        "select turn, length(blob), blob = decode(repeat('02', length(blob)), 'hex') from case_22"
    ) == [(2, LARGE, True)]


def test_case_23_a_large_transaction_with_a_repeated_key(outcome: Outcome) -> None:
    assert len(outcome.same("case_23")) == MANY - 1
    assert outcome.query("select turn from case_23 where _id in (7, 8, 9) order by _id") == [(19,), (0,)]


def _kept(outcome: Outcome, case: str, record_property: Record) -> list[bytes]:
    """The documents that the source server keeps; the others are named in the test's report, all gone skips it."""
    before = CASES[case].before
    left_out = {raw.hex(): outcome.left_out[raw] for raw in before if raw in outcome.left_out}
    record_property("left out", left_out)
    if len(left_out) == len(before):
        pytest.skip("; ".join(left_out.values()))
    return [raw for raw in before if raw not in outcome.left_out]
