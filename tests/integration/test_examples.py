"""Every example plan, carried out on documents that fit it and some that do not, judged by hand-written SQL."""

from __future__ import annotations

import math
import threading
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from decimal import Decimal
from importlib.resources import files
from typing import Any

import pytest
import yaml
from bson import Binary, Decimal128, Int64, ObjectId
from bson.datetime_ms import DatetimeMS

import tranship
from tests.integration.route import LIMIT_S, Route, wait_until
from tranship.orchestrator.engine.session import open_session
from tranship.orchestrator.journal.control import RequestKind
from tranship.orchestrator.journal.state import RunStatus, State
from tranship.plans.strategies import Group

EXAMPLES = files("tranship.plans").joinpath("examples")

Document = dict[str, Any]
Rows = list[tuple[Any, ...]]


def oid(number: int) -> ObjectId:
    return ObjectId(f"{number:024x}")


def key(number: int) -> str:
    return f"{number:024x}"


NOON = datetime(2026, 1, 31, 12, 0, 0, 123000, tzinfo=UTC)
LAST_YEAR = DatetimeMS(253_402_300_799_999)


@dataclass(frozen=True)
class Case:
    """What is in the source, and what a query on the target has to answer."""

    documents: dict[str, Sequence[Document]]
    answers: dict[str, Rows]
    quarantined: int = 0


BLOG = Case(
    {
        "posts": [
            {"_id": oid(1), "title": "Hello", "views": 12, "published_at": NOON},
            {"_id": oid(2), "title": "Łódź 🐘", "views": -(2**31)},
            {"_id": oid(3)},
            {"_id": oid(4), "title": None, "views": 1},
            {"_id": oid(5), "title": "off-type", "views": "12"},
            {"_id": oid(6), "title": "wide", "views": Int64(2**40)},
            {"_id": oid(7), "title": "a\0b", "views": 1},
            {"_id": oid(8), "title": "late", "published_at": LAST_YEAR},
            {"_id": oid(9), "title": "more", "views": 1, "unnamed": {"a": [1, 2]}},
            {"_id": oid(10), "views": 1, "title": "other order"},
            {"_id": "no ObjectId", "title": "kept aside"},
        ]
    },
    {
        "select _id, title, views, (published_at at time zone 'UTC')::text, _residue is not null "
        "from blog.posts order by _id": [
            (key(1), "Hello", 12, "2026-01-31 12:00:00.123", False),
            (key(2), "Łódź 🐘", -(2**31), None, False),
            (key(3), None, None, None, False),
            (key(4), None, 1, None, True),
            (key(5), "off-type", None, None, True),
            (key(6), "wide", None, None, True),
            (key(7), None, 1, None, True),
            (key(8), "late", None, "9999-12-31 23:59:59.999", False),
            (key(9), "more", 1, None, True),
            (key(10), "other order", 1, None, True),
        ],
        "select stream, path from tranship.quarantine": [("posts", "_id")],
    },
    quarantined=1,
)

SHOP = Case(
    {
        "customers": [
            {
                "_id": oid(1),
                "email": "zoe@example.org",
                "name": "Zoë",
                "address": {"street": "Main 1", "city": "Łódź", "zip": "90-001"},
                "created_at": NOON,
                "tags": ["gold", {"since": 2020}],
            },
            {"_id": oid(2), "email": "no@address.org", "name": "No Address", "tags": []},
        ],
        "products": [
            {
                "_id": "SKU-1",
                "title": "Elephant",
                "price": Decimal128("19.90"),
                "stock": 3,
                "attrs": {"a": 1, "b": 1.5},
            },
            {"_id": "", "title": "empty key", "price": Decimal128("1E+2"), "stock": "many"},
        ],
        "orders": [
            {
                "_id": oid(11),
                "order_no": 1,
                "customer_id": oid(1),
                "status": "paid",
                "total": Decimal128("39.80"),
                "placed_at": NOON,
                "address": {"city": "Łódź"},
                "items": [
                    {"sku": "SKU-1", "qty": 2, "price": Decimal128("19.90")},
                    {"sku": "SKU-2", "qty": 1.5, "price": Decimal128("0.00")},
                ],
            },
            {"_id": oid(12), "order_no": 2, "customer_id": oid(99), "status": "open", "items": []},
        ],
        "events": [
            {"_id": Int64(2**62), "kind": "view", "at": NOON, "amount": math.inf, "payload": {"x": None}},
            {"_id": Int64(-1), "kind": "click", "amount": -0.0, "payload": "text"},
        ],
    },
    {
        "select _id, email, name, street, city, zip, tags::text from shop.customers order by _id": [
            (key(1), "zoe@example.org", "Zoë", "Main 1", "Łódź", "90-001", '["gold", {"since": 2020}]'),
            (key(2), "no@address.org", "No Address", None, None, None, "[]"),
        ],
        "select _id, title, price, stock, attrs::text, _residue is not null from shop.products order by 1": [
            ("", "empty key", Decimal("100.00"), None, None, True),
            ("SKU-1", "Elephant", Decimal("19.90"), 3, '{"a": 1, "b": 1.5}', False),
        ],
        "select _id, order_no, customer_id, status, total, city, _residue is not null from shop.orders order by _id": [
            (key(11), 1, key(1), "paid", Decimal("39.80"), "Łódź", False),
            (key(12), 2, key(99), "open", None, None, False),
        ],
        "select _root_id, _ordinal, sku, qty, price, _residue is not null from shop.order_items order by 1, 2": [
            (key(11), 0, "SKU-1", 2, Decimal("19.90"), False),
            (key(11), 1, "SKU-2", None, Decimal("0.00"), True),
        ],
        "select _id, kind, at at time zone 'UTC', amount::text, payload::text from shop.events order by _id": [
            (-1, "click", None, "-0", '"text"'),
            (2**62, "view", NOON.replace(tzinfo=None), "Infinity", '{"x": null}'),
        ],
        "select indexname from pg_indexes where schemaname = 'shop' and indexname not like '%%_pkey' order by 1": [
            ("customers__email__key",),
            ("orders__customer_id__placed_at__idx",),
            ("orders__order_no__key",),
        ],
    },
)

MEDIA = Case(
    {
        "media": [
            {"_id": oid(1), "kind": "photo", "title": "Sea", "width": 4000, "height": 3000},
            {"_id": oid(2), "kind": "video", "title": "Waves", "seconds": 12.5, "codecs": ["av1", {"b": 1}]},
            {"_id": oid(3), "kind": "note", "title": "stays"},
            {"_id": oid(4), "title": "of no kind"},
            {"_id": oid(5), "kind": "video", "title": "whole seconds", "seconds": 12},
        ]
    },
    {
        "select _id, kind, title, width, height from media.photos": [(key(1), "photo", "Sea", 4000, 3000)],
        "select _id, kind, title, seconds, codecs::text, _residue is not null from media.videos order by _id": [
            (key(2), "video", "Waves", 12.5, '["av1", {"b": 1}]', False),
            (key(5), "video", "whole seconds", 12.0, None, True),
        ],
    },
)

ARCHIVE = Case(
    {
        "entries": [
            {"_id": True, "label": "9 true"},
            {"_id": oid(1), "label": "7 objectid"},
            {"_id": "seventeen", "label": "4 text"},
            {"_id": 17, "label": "3 seventeen"},
            {"_id": {"region": "eu", "no": 1}, "label": "5 document"},
            {"_id": None, "label": "0 null"},
            {"_id": math.nan, "label": "1 nan"},
            {"_id": 16.5, "label": "2 number"},
            {"_id": Binary(b"\1\2", 0), "label": "6 binary"},
            {"_id": False, "label": "8 false"},
        ]
    },
    {
        "select label from archive.entries order by key": [
            ("0 null",),
            ("1 nan",),
            ("2 number",),
            ("3 seventeen",),
            ("4 text",),
            ("5 document",),
            ("6 binary",),
            ("7 objectid",),
            ("8 false",),
            ("9 true",),
        ],
    },
)

COURSE, BARE = uuid.UUID(int=7), uuid.UUID(int=8)

COURSES = Case(
    {
        "courses": [
            {
                "_id": Binary.from_uuid(COURSE),
                "title": "Elephants",
                "languages": ["en", "ru", None],
                "modules": [
                    {
                        "name": "first",
                        "lessons": [
                            {"name": "one", "minutes": 20, "links": ["https://a", "https://b"]},
                            {"name": "two", "links": []},
                        ],
                    },
                    {"name": "second", "lessons": []},
                    {"name": "third", "lessons": [{"name": "three", "minutes": 5, "links": ["https://c"]}]},
                ],
            },
            {"_id": Binary.from_uuid(BARE), "title": "Bare", "languages": [], "modules": []},
            {"_id": Binary(uuid.UUID(int=9).bytes, 3), "title": "of another UUID form", "languages": [], "modules": []},
        ]
    },
    {
        "select _id, title from courses.courses order by _id": [(COURSE, "Elephants"), (BARE, "Bare")],
        "select _root_id, _ordinal, language from courses.course_languages order by 1, 2": [
            (COURSE, 0, "en"),
            (COURSE, 1, "ru"),
            (COURSE, 2, None),
        ],
        "select _root_id, _ordinal, name from courses.modules order by 1, 2": [
            (COURSE, 0, "first"),
            (COURSE, 1, "second"),
            (COURSE, 2, "third"),
        ],
        "select _ordinal, _ordinal_2, name, minutes from courses.lessons order by 1, 2": [
            (0, 0, "one", 20),
            (0, 1, "two", None),
            (2, 0, "three", 5),
        ],
        "select _ordinal, _ordinal_2, _ordinal_3, url from courses.lesson_links order by 1, 2, 3": [
            (0, 0, 0, "https://a"),
            (0, 0, 1, "https://b"),
            (2, 0, 0, "https://c"),
        ],
    },
    quarantined=1,
)

MIDNIGHT = datetime(2026, 1, 31, tzinfo=UTC)

WEATHER = Case(
    {
        "readings": [
            {"_id": {"station": "north", "day": MIDNIGHT}, "celsius": 3.25, "samples": Int64(96)},
            {"_id": {"station": "north", "day": MIDNIGHT.replace(day=1)}, "celsius": -0.0, "samples": Int64(2**60)},
            {"_id": {"station": "Süd", "day": MIDNIGHT}, "celsius": "cold", "samples": 7},
            {"_id": {"day": MIDNIGHT, "station": "north"}, "celsius": 1.0},
            {"_id": {"station": "noon", "day": NOON}, "celsius": 1.0},
        ]
    },
    {
        "select station, day, celsius::text, samples, _residue is not null from weather.readings order by 1, 2": [
            ("Süd", date(2026, 1, 31), None, 7, True),
            ("north", date(2026, 1, 1), "-0", 2**60, False),
            ("north", date(2026, 1, 31), "3.25", 96, False),
        ],
        "select indexname from pg_indexes where indexname = 'readings__day__idx'": [("readings__day__idx",)],
    },
    quarantined=2,
)

PROFILES = Case(
    {
        "profiles": [
            {
                "_id": 17,
                "v": 2,
                "nick": None,
                "score": 10,
                "balance": 250,
                "e.mail": "a@b.c",
                "badges": None,
                "else": True,
                "anything": [1, {"x": "y"}],
            },
            {
                "_id": 18,
                "v": 2,
                "nick": "zoë",
                "score": -1,
                "balance": -3,
                "e.mail": "d@e.f",
                "badges": [{"name": "first", "earned_at": NOON}],
            },
            {"_id": 19, "v": 2, "nick": "half", "score": 1.5, "balance": 1, "e.mail": "g@h.i", "badges": None},
            {"_id": 20, "v": 2, "nick": "off", "score": "1", "balance": 1, "e.mail": "j@k.l", "badges": None},
        ]
    },
    {
        "select user_id, nick, score, balance, email, version, other::text from profiles.user_profiles order by 1": [
            (17, None, 10.0, Decimal("250.00"), "a@b.c", 2, '{"else": true, "anything": [1, {"x": "y"}]}'),
            (18, "zoë", -1.0, Decimal("-3.00"), "d@e.f", 2, None),
            (19, "half", 1.5, Decimal("1.00"), "g@h.i", 2, None),
        ],
        "select _root_user_id, _ordinal, name from profiles.badges": [(18, 0, "first")],
        "select path from tranship.quarantine": [("score",)],
    },
    quarantined=1,
)

DEVICES = Case(
    {
        "devices": [
            {
                "_id": 7,
                "tags": ["indoor", None, 'a,{}"\\'],
                "owners": [oid(1), oid(2)],
                "prices": [Decimal128("9.90"), Decimal128("0.00")],
                "sensors": [{"name": "t", "readings": [20.5, math.nan, -0.0]}, {"name": "none", "readings": []}],
                "grid": [[1, 2], [], [3, None]],
            },
            {"_id": 8, "tags": [], "owners": None, "sensors": [], "grid": []},
            {"_id": 9, "tags": ["indoor", 1], "owners": [], "prices": [Decimal128("9.9")], "sensors": [], "grid": []},
            {"_id": 10, "tags": "indoor", "owners": [], "prices": [1.5], "sensors": [], "grid": [[1, "2"], 3]},
        ]
    },
    {
        "select _id, tags, owners, prices, _residue is not null from devices.devices order by _id": [
            (7, ["indoor", None, 'a,{}"\\'], [key(1), key(2)], [Decimal("9.90"), Decimal("0.00")], False),
            (8, [], None, None, False),
            (9, None, [], [Decimal("9.90")], True),
            (10, None, [], None, True),
        ],
        "select _root_id, _ordinal, name, readings::text, _residue is not null from devices.sensors order by 1, 2": [
            (7, 0, "t", "{20.5,NaN,-0}", False),
            (7, 1, "none", "{}", False),
        ],
        "select _root_id, _ordinal, line, _residue is not null from devices.device_grid order by 1, 2": [
            (7, 0, [1, 2], False),
            (7, 1, [], False),
            (7, 2, [3, None], False),
            (10, 0, None, True),
            (10, 1, None, True),
        ],
    },
)

CASES = {
    "01-smallest.yaml": BLOG,
    "02-shop.yaml": SHOP,
    "03-polymorphic.yaml": MEDIA,
    "04-mixed-ids.yaml": ARCHIVE,
    "05-nested-children.yaml": COURSES,
    "06-composite-key.yaml": WEATHER,
    "07-loose-documents.yaml": PROFILES,
    "08-arrays.yaml": DEVICES,
}


def test_every_example_is_carried_out() -> None:
    assert {entry.name for entry in EXAMPLES.iterdir() if entry.name.endswith(".yaml")} == set(CASES)


@pytest.mark.parametrize("name", list(CASES))
def test_example(route: Route, name: str) -> None:
    case = CASES[name]
    for collection, documents in case.documents.items():
        route.documents(collection).insert_many(documents)
    declared = yaml.safe_load(EXAMPLES.joinpath(name).read_text(encoding="utf-8"))
    declared["source"]["database"] = route.source.name
    allowed = {"cutover": {"max_quarantined": 10, "quiet": "300ms"}} if case.quarantined else {}
    plan = tranship.load_plan(route.write(declared["plan"], declared, **allowed), route.environment)
    state = run_to_its_end(plan)
    assert (state.status, state.reason) == (RunStatus.FINISHED, "")
    for question, answer in case.answers.items():
        assert route.query(question) == answer, question
    found = tranship.status(plan)
    assert found is not None
    assert sum(stream.quarantined for stream in found.streams) == case.quarantined
    assert found.divergences == ()


def run_to_its_end(plan: tranship.Plan) -> State:
    """`tranship.run` in a thread, with an approval when it asks for one."""
    result: list[State | Exception] = []

    def work() -> None:
        try:
            result.append(tranship.run(plan))
        except Exception as error:  # noqa: BLE001  raised again below
            result.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    if Group.CUTOVER in plan.approval:
        wait_until(lambda: bool(result) or _waits(plan), what="the question for approval")
        _approve(plan)
    thread.join(LIMIT_S)
    assert result, "the run does not end"
    if isinstance(result[0], Exception):
        raise result[0]
    return result[0]


def _waits(plan: tranship.Plan) -> bool:
    status = tranship.status(plan)
    return status is not None and status.waiting_for_approval is not None


def _approve(plan: tranship.Plan) -> None:

    with open_session(plan) as session:
        run = session.latest() or ""
        session.control.request(run, RequestKind.APPROVE, session.state(run).asking)
