"""Processes that write into a MongoDB with its marks, killed at every site, late, or racing under two epochs.

What is expected is looked for in the server's own documents and history, past the code under test.
"""

from __future__ import annotations

import multiprocessing
import os
import secrets
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from dataclasses import replace
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import bson
import pymongo
import pytest

from tests.conformance.mongodb_marked_world import SERVERS, MongoMarkedWorld, server
from tests.integration.proxy import mongodb_proxy
from tests.unit.mongodb.test_rewritten import int32, raw_of
from tranship.connectors.batch import Batch
from tranship.connectors.errors import (
    AmbiguousCommitError,
    ConnectorError,
    EpochMovedError,
    MarkMovedError,
    TransientError,
)
from tranship.connectors.mongodb.mapper import Mapper
from tranship.connectors.mongodb.projection import key_of
from tranship.connectors.mongodb.target import MongoMarkedTarget
from tranship.connectors.protocols import ChunkMark, Feed, LaneMark, Scope, Span
from tranship.plans.rules import MARK_COLLECTION
from tranship.plans.streams import Column, Endpoint, LogicalType, Stream

THINGS = Stream(
    "things",
    "things",
    "things",
    (Column("_id", ("_id",), LogicalType.INT32, "int32"),),
    (Column("n", ("n",), LogicalType.INT32, "int32"),),
)
FIRST = Scope("shop-1", Feed.REVERSE, 1)
LIMIT_S = 60.0
COMMIT = rb"commitTransaction"
CALLS = ["claim", "begin", "load", "replace", "seal", "unseal", "forget", "empty"]
SITES = [
    *[f"{call}.before_commit" for call in CALLS],
    *[f"replace.{site}" for site in ("before_delete", "before_mark", "before_epoch")],
    *[f"load.{site}" for site in ("before_mark", "before_epoch")],
]

START = multiprocessing.get_context("forkserver")
START.set_forkserver_preload([__name__])


def thing(n: int) -> bytes:
    return raw_of(("_id", int32(1)), ("n", int32(n)))


def row(n: int) -> Batch:
    return Mapper(THINGS).batch([thing(n)])


def act(target: MongoMarkedTarget, call: str, scope: Scope, seq: int, n: int) -> None:
    """One call of the target; the thing becomes `n` by those that write rows."""
    chunk = ChunkMark(scope, "things", 0, 1)
    calls: dict[str, Callable[[], object]] = {
        "claim": lambda: target.claim(scope, []),
        "begin": lambda: target.begin(replace(chunk, attempt=2)),
        "load": lambda: target.load(THINGS, Span(None, None), [row(n)], chunk),
        "replace": lambda: target.replace(THINGS, [key_of(thing(n))], row(n).rows, [LaneMark(scope, 0, seq)]),
        "seal": lambda: target.seal(scope),
        "unseal": lambda: target.unseal(scope),
        "forget": lambda: target.forget(scope),
        "empty": lambda: target.empty(scope, [THINGS]),
    }
    calls[call]()


def again(world: MongoMarkedWorld, call: str) -> None:
    """The same call by its owner's next worker."""
    target = world.marked()
    if call == "load":
        chunk = ChunkMark(FIRST, "things", 0, 2)
        target.begin(chunk)
        target.load(THINGS, Span(None, None), [row(3)], chunk)
    else:
        act(target, call, FIRST, 0, 3)


def doomed(endpoint: Endpoint, call: str, scope: Scope, site: str) -> None:
    """A process that is killed at a site, or carries the call out."""

    def hook(reached: str) -> None:
        if reached == site:
            os.kill(os.getpid(), signal.SIGKILL)

    act(MongoMarkedTarget(endpoint, hook), call, scope, 0, 2)


def started(*arguments: Any, target: Callable[..., None] = doomed) -> BaseProcess:
    child = START.Process(target=target, args=arguments)
    child.start()
    return child


@pytest.fixture(scope="module", params=SERVERS)
def uri(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder: Path = tmp_path_factory.mktemp("mongodb")
    with server(request.param, folder) as found:
        yield found


@pytest.fixture
def world(uri: str) -> Iterator[MongoMarkedWorld]:
    """One thing, one lane, and a chunk that an attempt has begun."""
    with ExitStack() as stack:
        found = MongoMarkedWorld(uri, f"tranship_{secrets.token_hex(6)}", stack)
        target = found.marked()
        target.claim(FIRST, [LaneMark(FIRST, 0, 0)])
        target.begin(ChunkMark(FIRST, "things", 0, 1))
        found.database.things.insert_one({"_id": 1, "n": 1})
        yield found
        found.client.drop_database(found.database)


def held(world: MongoMarkedWorld) -> list[dict[str, Any]]:
    """The documents, and the marks but for sessions."""
    marks = world.database[MARK_COLLECTION].find({"kind": {"$ne": "session"}}, sort=[("_id", 1)])
    return [*world.database.things.find({}, sort=[("_id", 1)]), *marks]


def things(world: MongoMarkedWorld) -> list[dict[str, Any]]:
    return list(world.database.things.find())


def scope_of(call: str) -> Scope:
    """That of the process that dies: a claim under the epoch that it has is nothing to do."""
    return replace(FIRST, epoch=2) if call == "claim" else FIRST


@pytest.mark.parametrize("site", SITES)
def test_a_process_killed_in_its_transaction_leaves_nothing_and_holds_nobody_up(
    world: MongoMarkedWorld, site: str
) -> None:
    call = site.partition(".")[0]
    before = held(world)
    child = started(world.endpoint, call, scope_of(call), site)
    child.join(LIMIT_S)
    assert child.exitcode == -signal.SIGKILL
    assert held(world) == before
    heir = replace(FIRST, epoch=3)
    target = world.marked()
    assert target.claim(heir, []) == [LaneMark(heir, 0, 0)]
    act(target, "replace", heir, 0, 3)
    assert things(world) == [{"_id": 1, "n": 3}]


@pytest.mark.parametrize("call", ["replace", "load", "begin"])
def test_the_same_owner_goes_on_at_once_where_its_worker_was_killed(world: MongoMarkedWorld, call: str) -> None:
    """Under the same epoch, with the same mark; a chunk with another attempt."""
    child = started(world.endpoint, call, FIRST, f"{call}.before_commit")
    child.join(LIMIT_S)
    again(world, call)
    assert things(world) == [{"_id": 1, "n": 1 if call == "begin" else 3}]


@pytest.mark.parametrize("call", CALLS)
def test_a_late_commit_of_a_dead_process_changes_nothing(world: MongoMarkedWorld, call: str) -> None:
    with mongodb_proxy(str(world.endpoint.uri), holding=True) as (proxy, through):
        hold = proxy.hold(COMMIT)
        child = started(replace(world.endpoint, uri=through), call, scope_of(call), "")
        assert hold.came.wait(LIMIT_S)
        child.kill()
        child.join(LIMIT_S)
        heir, target = replace(FIRST, epoch=3), world.marked()
        target.claim(heir, [])
        act(target, "replace", heir, 0, 3)
        before = held(world)
        assert bson.decode(hold.release()[21:])["ok"] == 0
        assert held(world) == before
        assert things(world) == [{"_id": 1, "n": 3}]


@pytest.mark.parametrize("call", ["replace", "load"])
def test_a_late_commit_of_the_same_epoch_changes_nothing(world: MongoMarkedWorld, call: str) -> None:
    with mongodb_proxy(str(world.endpoint.uri), holding=True) as (proxy, through):
        hold = proxy.hold(COMMIT)
        child = started(replace(world.endpoint, uri=through), call, FIRST, "")
        assert hold.came.wait(LIMIT_S)
        child.kill()
        child.join(LIMIT_S)
        again(world, call)
        before = held(world)
        assert bson.decode(hold.release()[21:])["ok"] == 0
        assert held(world) == before


def test_a_commit_that_nobody_answers_is_ambiguous_and_the_mark_tells(world: MongoMarkedWorld) -> None:
    """The way is lost while COMMIT is on it; it arrives before anybody has taken the lane up again."""
    with mongodb_proxy(str(world.endpoint.uri), holding=True) as (proxy, through):
        hold = proxy.hold(COMMIT)
        target = MongoMarkedTarget(replace(world.endpoint, uri=f"{through}&serverSelectionTimeoutMS=1500"))
        raised: list[BaseException] = []

        def write() -> None:
            try:
                act(target, "replace", FIRST, 0, 2)
            except ConnectorError as error:
                raised.append(error)

        writing = threading.Thread(target=write)
        writing.start()
        assert hold.came.wait(LIMIT_S)
        proxy.closed.set()  # nobody comes through any more
        for client, _ in proxy.pairs:
            with suppress(OSError):
                client.shutdown(socket.SHUT_RDWR)
        writing.join(LIMIT_S)
        assert [type(error) for error in raised] == [AmbiguousCommitError]
        assert things(world) == [{"_id": 1, "n": 1}]
        assert bson.decode(hold.release()[21:])["ok"] == 1
        proxy.open()
        assert world.marked().claim(FIRST, []) == [LaneMark(FIRST, 0, 1)]
        with pytest.raises(MarkMovedError):
            act(world.marked(), "replace", FIRST, 0, 3)
        assert things(world) == [{"_id": 1, "n": 2}]
        target.close()


LAST, EPOCH, WRITES = 3, 1_000_000, 200
"""Epochs that race, the numbers that belong to each, and how many the last one writes; the others go on until told."""


def racer(endpoint: Endpoint, epoch: int, ended: Any) -> None:
    """Writes its numbers into the thing, one batch after the other, for as long as it may."""
    scope = Scope("shop-1", Feed.REVERSE, epoch)
    target = MongoMarkedTarget(endpoint)
    n, mark = epoch * EPOCH, None
    try:
        while n < LAST * EPOCH + WRITES:
            try:
                mark = mark or target.claim(scope, [])[0]
                target.replace(THINGS, [key_of(thing(n))], row(n).rows, [mark])
            except (TransientError, AmbiguousCommitError, MarkMovedError):
                mark = None  # ended by who takes over maybe: the mark is read anew
            else:
                n, mark = n + 1, replace(mark, seq=mark.seq + 1)
    except EpochMovedError as error:
        ended.put((epoch, type(error).__name__))
    else:
        ended.put((epoch, n))


def test_of_processes_that_race_only_the_newest_epoch_writes(world: MongoMarkedWorld) -> None:
    """By the server's history: behind the first write of an epoch there is none of an earlier one."""
    ended = START.Queue()
    seen: list[int] = []
    children = []
    until = time.monotonic() + LIMIT_S
    with world.database.things.watch() as stream:
        for epoch in range(1, LAST + 1):
            children.append(started(world.endpoint, epoch, ended, target=racer))
            while not seen or seen[-1] < epoch * EPOCH + 5:
                _follow(stream, seen, until)
        for child in children:
            child.join(LIMIT_S)
        while seen[-1] < LAST * EPOCH + WRITES - 1:
            _follow(stream, seen, until)
    assert seen == sorted(set(seen))
    told = dict(ended.get(timeout=LIMIT_S) for _ in children)
    assert told == {1: "EpochMovedError", 2: "EpochMovedError", LAST: LAST * EPOCH + WRITES}
    assert things(world) == [{"_id": 1, "n": LAST * EPOCH + WRITES - 1}]


def _follow(stream: pymongo.change_stream.ChangeStream[Any], seen: list[int], until: float) -> None:
    assert time.monotonic() < until, seen[-1:]
    change = stream.try_next()
    if change is not None:
        assert change["operationType"] == "replace"
        seen.append(change["fullDocument"]["n"])
