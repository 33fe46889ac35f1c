"""`tranship init` where something is in its way: rights, kinds of collections and servers, documents at the limits."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import bson
import pymongo
import pytest
import yaml

from tests.integration.private import private_mongo
from tests.integration.rawbytes import found, insert
from tests.integration.route import Route
from tests.unit.mongodb.bson_strategies import pack_document, pack_string
from tranship.connectors.mongodb import kinds

FINISHED, BAD_PLAN, REFUSED = 0, 2, 3

READ = {
    "resource": {"db": "shop", "collection": ""},
    "actions": ["find", "listIndexes", "listCollections", "collStats"],
}


@contextmanager
def server_with(folder: Path, *privileges: Mapping[str, Any]) -> Iterator[str]:
    """The URI of a MongoDB with two collections, as a user who has these privileges."""
    with private_mongo(folder) as server:
        with pymongo.MongoClient[dict[str, Any]](server.uri) as client:
            client.shop.open.insert_many([{"_id": n, "n": n} for n in range(5)])
            client.shop.shut.insert_one({"_id": 1, "secret": "word"})
            client.admin.command("createRole", "part", privileges=list(privileges), roles=[])
            client.admin.command("createUser", "mover", pwd="open-sesame", roles=["part"])
        server.stop()
        server.start("--auth")
        yield server.uri.replace("//", "//mover:open-sesame@")


def made(route: Route, uri: str, *options: str, database: str = "shop") -> tuple[int, str, str]:
    path = route.folder / "made.yaml"
    code, said = route.tranship("init", "--database", database, "-o", path, *options, SOURCE_URI=uri)
    assert "Traceback" not in said, said
    assert "open-sesame" not in said
    return code, said, path.read_text(encoding="utf-8") if path.exists() else ""


def test_collections_that_may_not_be_listed(route: Route, tmp_path: Path) -> None:
    of_one = {"resource": {"db": "shop", "collection": "open"}, "actions": ["find"]}
    with server_with(tmp_path, of_one) as uri:
        code, said, text = made(route, uri)
    assert (code, text) == (REFUSED, ""), said
    assert "asking which collections are there" in said


def test_a_collection_that_may_not_be_read_is_left_out_with_the_reason(route: Route, tmp_path: Path) -> None:
    listing = {"resource": {"db": "shop", "collection": ""}, "actions": ["listCollections"]}
    reading = {"resource": {"db": "shop", "collection": "open"}, "actions": ["find", "listIndexes", "collStats"]}
    with server_with(tmp_path, listing, reading) as uri:
        code, said, text = made(route, uri)
    assert code == FINISHED, said
    assert list(yaml.safe_load(text)["streams"]) == ["open"]
    assert "# shut: " in text
    assert "left out, with the reasons at the end of the file: shut" in said


def test_indexes_that_may_not_be_read_are_told(route: Route, tmp_path: Path) -> None:
    without = {**READ, "actions": [action for action in READ["actions"] if action != "listIndexes"]}
    with server_with(tmp_path, without) as uri:
        code, said, text = made(route, uri)
    assert code == FINISHED, said
    assert list(yaml.safe_load(text)["streams"]) == ["open", "shut"]
    assert text.count("its indexes could not be read") == 2


def test_credentials_that_are_refused(route: Route, tmp_path: Path) -> None:
    with server_with(tmp_path, READ) as uri:
        code, said, text = made(route, uri.replace("mover", "stranger"))
    assert (code, text) == (REFUSED, ""), said
    assert "check the credentials" in said


def test_a_server_without_a_replica_set_is_read_and_check_says_what_is_missing(route: Route, tmp_path: Path) -> None:
    with private_mongo(tmp_path, "--standalone") as server:
        with pymongo.MongoClient[dict[str, Any]](server.uri) as client:
            client.shop.open.insert_many([{"_id": n, "n": n} for n in range(5)])
        code, said, text = made(route, server.uri)
        assert code == FINISHED, said
        assert list(yaml.safe_load(text)["streams"]) == ["open"]
        code, said = route.tranship("check", route.folder / "made.yaml", SOURCE_URI=server.uri)
    assert (code, "standalone" in said) == (REFUSED, True), said


def test_time_series_are_left_out_with_the_reason() -> None:
    """The servers that run here have none: by what MongoDB's documentation says of listCollections."""
    info = {"name": "weather", "type": "timeseries", "options": {"timeseries": {"timeField": "at"}}}
    (finding,) = kinds.findings("it", info)
    assert (finding.code, "no change stream" in finding.message) == ("source.timeseries", True)


def test_documents_of_sixteen_megabytes(route: Route) -> None:
    room = 16 * 1024 * 1024 - len(bson.encode({"_id": 1, "n": 1, "text": ""}))
    largest = bson.encode({"_id": 1, "n": 1, "text": "x" * room})
    assert len(largest) == 16 * 1024 * 1024
    collection = route.client[route.source.name]["large"]
    insert(collection, [largest])
    collection.insert_many([{"_id": n, "n": n, "text": "short"} for n in range(2, 500)])
    for options in (["--full"], ["--sample", "100"]):
        code, said, text = made(route, route.source.uri, *options, database=route.source.name)
        assert code == FINISHED, said
        assert yaml.safe_load(text)["streams"]["large"]["columns"] == {"n": "int32", "text": "text"}
        (route.folder / "made.yaml").unlink()
        (route.folder / "made.profile.json").unlink()


def test_texts_that_are_no_utf_8_are_counted_and_no_end(route: Route) -> None:
    """They cannot be decoded, so a run keeps them aside; the others decide what the plan says."""
    collection = route.client[route.source.name]["odd"]
    collection.insert_many([{"_id": n, "name": f"n{n}"} for n in range(200)])
    broken = pack_document([(0x10, "_id", (1000).to_bytes(4, "little")), (2, "name", b"\x03\0\0\0\xff\xfe\0")])
    assert pack_string("ab")[4:] == b"ab\0"
    try:
        insert(collection, [broken])
    except (pymongo.errors.PyMongoError, bson.errors.InvalidBSON, UnicodeDecodeError):
        pytest.skip("the source server refuses text that is no UTF-8")
    if broken not in found(collection):
        pytest.skip("the source server changes text that is no UTF-8")
    code, said, text = made(route, route.source.uri, "--full", database=route.source.name)
    assert code == FINISHED, said
    assert yaml.safe_load(text)["streams"]["odd"]["columns"] == {"name": "text"}
    assert "1 document could not be decoded: to be quarantined" in text
    profile = json.loads((route.folder / "made.profile.json").read_text(encoding="utf-8"))
    assert profile["collections"]["odd"]["undecodable"] == 1
