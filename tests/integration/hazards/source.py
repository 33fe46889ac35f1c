"""Hazards of the source."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any

from bson import Int64, Timestamp

from tests.conformance.answers import failure
from tests.integration.hazards.world import World
from tranship.connectors.mongodb import source as mongodb
from tranship.plans.rules import MARKER_COLLECTION


def hello(world: World, **changes: Any) -> None:
    reply = {**world.route.client.admin.command("hello"), **changes}
    world.replies("hello", {name: value for name, value in reply.items() if value is not None})


def unusable(world: World) -> Iterator[None]:
    world.replies("replSetGetConfig", failure(96, "OperationFailed"))
    yield
    world.mend()


def standalone(world: World) -> Iterator[None]:
    hello(world, setName=None)
    yield
    world.mend()


def secondary(world: World) -> Iterator[None]:
    hello(world, isWritablePrimary=False, secondary=True)
    yield
    world.mend()


def sharded(world: World) -> Iterator[None]:
    world.replies("shardingState", {"enabled": True, "shardName": "rs1", "ok": 1.0})
    yield
    world.mend()


def old_source(world: World) -> Iterator[None]:
    hello(world, maxWireVersion=13)
    yield
    world.mend()


def source_clock(world: World) -> Iterator[None]:
    hello(world, localTime=datetime.fromtimestamp(time.time() - 90, UTC))
    yield
    world.mend()


def no_collection(world: World) -> Iterator[None]:
    world.streams["things"]["from"] = "nowhere"
    yield
    world.database.create_collection("nowhere")


def markers(world: World) -> Iterator[None]:
    # The plan's own rules refuse this one first; the connector refuses it for who makes streams without a plan.
    world.monkeypatch.setattr(mongodb, "OWN_COLLECTIONS", (*mongodb.OWN_COLLECTIONS, "things"))
    assert MARKER_COLLECTION in mongodb.OWN_COLLECTIONS
    yield
    world.monkeypatch.undo()


def _collection(world: World, **options: Any) -> Iterator[None]:
    world.streams["things"]["from"] = "odd"
    world.database.create_collection("odd", **options)
    yield
    world.database.drop_collection("odd")
    world.database.create_collection("odd")


def view(world: World) -> Iterator[None]:
    return _collection(world, viewOn="things", pipeline=[])


def timeseries(world: World) -> Iterator[None]:
    return _collection(world, timeseries={"timeField": "at"})


def capped(world: World) -> Iterator[None]:
    return _collection(world, capped=True, size=4096)


def collation(world: World) -> Iterator[None]:
    return _collection(world, collation={"locale": "en", "strength": 2})


def clustered(world: World) -> Iterator[None]:
    return _collection(world, clusteredIndex={"key": {"_id": 1}, "unique": True})


def expiring(world: World) -> Iterator[None]:
    world.database.things.create_index("until", name="until", expireAfterSeconds=3600)
    yield
    world.database.things.drop_index("until")


def odd_index(world: World) -> Iterator[None]:
    """As a server replies that has such indexes; the embedded ones make no hashed ones."""
    indexes = [{"v": 2, "key": {"_id": 1}, "name": "_id_"}, {"v": 2, "key": {"name": "hashed"}, "name": "name_hashed"}]
    namespace = f"{world.route.source.name}.things"
    reply = {"cursor": {"id": Int64(0), "ns": namespace, "firstBatch": indexes}, "ok": 1.0}
    world.replies("listIndexes", reply)
    yield
    world.mend()


def long_key(world: World) -> Iterator[None]:
    world.database.things.insert_one({"_id": "k" * 1500, "number": 1})
    yield
    world.streams["things"]["key"] = {"_id": {"type": "text", "long": True}}
    world.streams["things"]["columns"] = {**world.streams["things"]["columns"]}


def unreadable(world: World) -> Iterator[None]:
    world.replies("find", failure(13, "Unauthorized"), having="hint")
    yield
    world.mend()


def unwatchable(world: World) -> Iterator[None]:
    refusal = failure(13, "Unauthorized")
    world.answer = lambda command: refusal if "$changeStream" in str(command.get("pipeline", "")) else None
    yield
    world.mend()


def unwritable(world: World) -> Iterator[None]:
    reading = {
        "authenticatedUsers": [{"user": "mover", "db": "admin"}],
        "authenticatedUserRoles": [{"role": "read", "db": world.route.source.name}],
        "authenticatedUserPrivileges": [
            {"resource": {"db": world.route.source.name, "collection": ""}, "actions": ["find", "changeStream"]}
        ],
    }
    world.replies("connectionStatus", {"authInfo": reading, "ok": 1.0})
    yield
    reading["authenticatedUserPrivileges"][0]["actions"] += ["insert", "update", "remove", "dropCollection"]


def rights_unknown(world: World) -> Iterator[None]:
    world.replies("connectionStatus", failure(8000, "AtlasError"))
    yield
    world.mend()


def fence_of_nobody(world: World) -> Iterator[None]:
    world.parts["cutover"] = {"fence": "roles", "writers": ["nobody"]}
    yield
    del world.parts["cutover"]


def unknown_cluster(world: World) -> Iterator[None]:
    world.replies("shardingState", failure(13, "Unauthorized"))
    yield
    world.mend()


def short_oplog(world: World) -> Iterator[None]:
    """As of a server whose oplog is full and begins just now. The pace of a run is what it is, so it is made slow."""
    world.monkeypatch.setattr("tranship.orchestrator.checks.estimate.PASSES", 100_000)
    _oplog(world, Timestamp(int(time.time()), 1))
    yield
    _oplog(world, Timestamp(1, 1))


def _oplog(world: World, oldest: Timestamp) -> None:
    found = {"cursor": {"id": Int64(0), "ns": "local.oplog.rs", "firstBatch": [{"ts": oldest}]}, "ok": 1.0}
    replies = {"find": found, "collStats": {"size": 990, "maxSize": 1000, "ok": 1.0}}

    def answer(command: Mapping[str, Any]) -> Mapping[str, Any] | None:
        name = next(iter(command))
        return replies.get(name) if command[name] == "oplog.rs" else None

    world.answer = answer


def unknown_oplog(world: World) -> Iterator[None]:
    refusal = failure(13, "Unauthorized")
    world.answer = lambda command: refusal if "oplog.rs" in command.values() else None
    yield
    _oplog(world, Timestamp(1, 1))
