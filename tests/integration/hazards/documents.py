"""Hazards of the documents."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

from tests.integration.hazards.world import STREAMS, World


def _document(world: World, **fields: Any) -> Iterator[None]:
    whole = {"_id": "t100x", "name": "n", "number": 1, "of": "o1"}
    world.database.things.insert_one({**whole, **fields})
    yield
    world.database.things.replace_one({"_id": "t100x"}, whole)


def off_type(world: World) -> Iterator[None]:
    return _document(world, number="seven")


def nul(world: World) -> Iterator[None]:
    return _document(world, name="a\0b")


def misfit(world: World) -> Iterator[None]:
    world.streams["things"]["columns"] = {**STREAMS["things"]["columns"], "day": {"type": "date", "filled": "optional"}}
    return _document(world, day=datetime(2026, 1, 1, 12, tzinfo=UTC))


def index_entry(world: World) -> Iterator[None]:
    return _document(world, name=secrets.token_hex(4000))


def never_filled(world: World) -> Iterator[None]:
    world.streams["things"]["columns"] = {**STREAMS["things"]["columns"], "nmae": "text"}
    yield
    world.streams["things"]["columns"] = STREAMS["things"]["columns"]


def quarantined(world: World) -> Iterator[None]:
    world.database.things.insert_one({"_id": 17, "name": "n", "number": 1, "of": "o1"})
    yield
    world.database.things.delete_one({"_id": 17})


def unfit(world: World) -> Iterator[None]:
    world.streams["things"]["rest"] = "fail"
    return _document(world, number="seven")


def duplicate(world: World) -> Iterator[None]:
    world.database.owners.insert_one({"_id": "twin", "mail": "m1"})
    yield
    world.database.owners.update_one({"_id": "twin"}, {"$set": {"mail": "m99"}})


def dangling(world: World) -> Iterator[None]:
    return _document(world, of="nobody")
