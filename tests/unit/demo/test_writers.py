"""How a writer records the outcome of a write: acknowledged, refused, unknown."""

from __future__ import annotations

import random
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

import bson
import psycopg
import pytest
from pymongo.database import Database
from pymongo.errors import AutoReconnect, DuplicateKeyError, WriteError

from tranship.orchestrator.demo.holdings import deal
from tranship.orchestrator.demo.ledger import Ledger, Place, read, replay
from tranship.orchestrator.demo.operations import Desk
from tranship.orchestrator.demo.shop import Shop
from tranship.orchestrator.demo.writers import Servers, StrangeWriteError, Writer
from tranship.router import NoRouteError, OutcomeUnknownError, Router, Side

SHOP = Shop(seed=1, documents=60)


class Outcome:
    """Stands in for the result of any write."""

    def __init__(self, met: int) -> None:
        self.matched_count = self.deleted_count = met


class FakeServer:
    """Answers the first writes well, then one in the given way, then stops the writer."""

    def __init__(self, good: int, last: Exception | int, stop: threading.Event) -> None:
        self._good, self._last, self._stop = good, last, stop

    def __getitem__(self, _collection: str) -> FakeServer:
        return self

    def _answer(self, *_: object) -> Outcome:
        self._good -= 1
        if self._good >= 0:
            return Outcome(1)
        self._stop.set()
        if isinstance(self._last, Exception):
            raise self._last
        return Outcome(self._last)

    insert_one = update_one = replace_one = delete_one = _answer


class FakeRouter:
    """Lets so many writes pass to the source, and then tells what a test says: the other side, or an error."""

    def __init__(self, good: int, then: Side | Exception, stop: threading.Event) -> None:
        self._good, self._then, self._stop = good, then, stop

    @contextmanager
    def writing(self) -> Iterator[Side]:
        self._good -= 1
        if self._good >= 0:
            yield SOURCE
            return
        self._stop.set()
        if isinstance(self._then, Exception):
            raise self._then
        yield self._then


SOURCE = Side("source", 0)


def nowhere() -> psycopg.Connection[Any]:
    raise AssertionError("nothing was to be sent to PostgreSQL")


def run(
    path: Path, good: int, last: Exception | int, *, routed: int = 10_000, then: Side | Exception = SOURCE
) -> Writer:
    stop = threading.Event()
    database = cast("Database[dict[str, Any]]", FakeServer(good, last, stop))
    router = cast(Router, FakeRouter(routed, then, stop))
    [hand] = deal(SHOP.states(), 1)
    with Ledger(path) as ledger:
        desk = Desk(hand, random.Random(4), SHOP, 0, 1, 1000)
        writer = Writer(desk, Servers(database, nowhere, "shop"), router, SOURCE, ledger)
        writer.run(0.0, stop)
    return writer


def outcomes(path: Path) -> list[str]:
    """The kind of each record."""
    return [next(iter(record)) for record in read(path)]


def unknown(path: Path) -> list[Place]:
    return [place for place, states in replay(SHOP.states(), read(path)).items() if len(states) > 1]


def test_each_write_is_tried_then_acknowledged(tmp_path: Path) -> None:
    writer = run(tmp_path / "ledger", 20, 1)
    assert outcomes(tmp_path / "ledger") == ["try", "ack"] * 21
    assert writer.tally.acknowledged.total() == 21


def test_a_lost_connection_leaves_one_key_unknown(tmp_path: Path) -> None:
    writer = run(tmp_path / "ledger", 20, AutoReconnect("lost"))
    assert outcomes(tmp_path / "ledger")[-1] == "try"
    assert len(unknown(tmp_path / "ledger")) == 1
    assert (writer.tally.unknown, writer.tally.refused) == (1, 0)


def test_a_refused_write_leaves_nothing_unknown(tmp_path: Path) -> None:
    writer = run(tmp_path / "ledger", 20, DuplicateKeyError("taken"))
    assert outcomes(tmp_path / "ledger")[-1] == "refused"
    assert unknown(tmp_path / "ledger") == []
    assert (writer.tally.unknown, writer.tally.refused) == (0, 1)


def test_a_write_that_a_server_refuses_for_another_reason_has_failed(tmp_path: Path) -> None:
    writer = run(tmp_path / "ledger", 20, WriteError("not allowed"))
    assert outcomes(tmp_path / "ledger")[-1] == "refused"
    assert (writer.tally.failed, writer.tally.refused) == (1, 0)


def test_a_write_that_was_chosen_for_the_other_side_is_not_sent(tmp_path: Path) -> None:
    writer = run(tmp_path / "ledger", 100, 1, routed=20, then=Side("target", 1))
    assert outcomes(tmp_path / "ledger") == ["try", "ack"] * 20
    assert (writer.tally.unknown, writer.tally.failed, writer.tally.waited) == (0, 0, 0)


def test_a_write_that_waited_in_vain_was_not_tried(tmp_path: Path) -> None:
    writer = run(tmp_path / "ledger", 100, 1, routed=20, then=NoRouteError("a cutover is under way"))
    assert outcomes(tmp_path / "ledger") == ["try", "ack"] * 20
    assert writer.tally.waited == 1


def test_a_write_whose_lease_has_ended_is_unknown(tmp_path: Path) -> None:
    writer = run(tmp_path / "ledger", 100, 1, routed=20, then=OutcomeUnknownError("its lease had ended"))
    assert writer.tally.unknown == 1


def test_a_write_that_meets_no_document_is_never_acknowledged(tmp_path: Path) -> None:
    with pytest.raises(StrangeWriteError):
        run(tmp_path / "ledger", 40, 0)
    assert outcomes(tmp_path / "ledger")[-1] == "try"


def test_the_ledger_has_the_whole_document_after_each_write(tmp_path: Path) -> None:
    writer = run(tmp_path / "ledger", 60, 1)
    states = replay(SHOP.states(), read(tmp_path / "ledger"))
    for place, (state,) in states.items():
        document = writer.holdings.get(place)
        assert state == (None if document is None else bson.encode(document))
