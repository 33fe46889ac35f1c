"""What preflight makes of servers that are not at hand: Atlas, shards, older and busy ones, by what they answer."""

from __future__ import annotations

import gc
import socket
import socketserver
import threading
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import replace
from typing import Any, TypeAlias

import pymongo
import pytest

from tests.conformance.answers import Answer, answering, failure
from tests.conformance.source_suite import THINGS
from tranship.connectors.errors import RefusedError, TransientError
from tranship.connectors.mongodb import MongoSource, connect
from tranship.connectors.mongodb.connection import SOCKET_TIMEOUT_MS
from tranship.connectors.mongodb.source import KEY_TIME_MS
from tranship.connectors.protocols import Finding
from tranship.orchestrator.sandbox.databases import SourceDatabase
from tranship.plans.streams import Column, Endpoint, LogicalType

TEXT = replace(THINGS, key=(Column("_id", ("_id",), LogicalType.TEXT, "string"),))

Behind: TypeAlias = Callable[[Answer], MongoSource]


@pytest.fixture
def behind(source_db: SourceDatabase) -> Iterator[Behind]:
    """A source with the collection `things`, of which some commands are answered by the test."""
    with ExitStack() as stack:
        client = stack.enter_context(pymongo.MongoClient[dict[str, Any]](source_db.uri))
        client[source_db.name].create_collection(THINGS.collection)

        def made(answer: Answer) -> MongoSource:
            uri = stack.enter_context(answering(source_db.uri, answer))
            source = connect(Endpoint("mongodb", uri, source_db.name), [THINGS])
            stack.callback(source.close)
            return source

        yield made


def to(name: str, reply: Mapping[str, Any], *, having: str = "") -> Answer:
    """Replies to one command, or to those of its kind that have an option."""
    return lambda command: reply if next(iter(command)) == name and (not having or having in command) else None


def codes(findings: Sequence[Finding]) -> list[tuple[str, str]]:
    return [(finding.code, finding.severity) for finding in findings]


class TestTopology:
    def test_a_shard_of_a_cluster_is_refused(self, behind: Behind) -> None:
        shard = {"enabled": True, "shardName": "rs1", "ok": 1.0}
        (finding,) = behind(to("shardingState", shard)).findings([THINGS])
        assert (finding.code, finding.severity) == ("source.sharded", "error")
        assert "shard" in finding.message

    @pytest.mark.parametrize("command", ["shardingState", "replSetGetConfig"])
    @pytest.mark.parametrize(
        ("code", "name"), [(13, "Unauthorized"), (59, "CommandNotFound"), (115, "CommandNotSupported"),
                           (323, "APIStrictError"), (8000, "AtlasError")],
    )  # fmt: skip
    def test_what_the_user_may_not_ask_is_no_error(self, behind: Behind, command: str, code: int, name: str) -> None:
        source = behind(to(command, failure(code, name)))
        found = source.findings([THINGS])
        refused = code in (13, 8000)  # else the server has no such command, and nobody could grant it
        assert [(one.code, one.severity) for one in found] == [("source.cluster_unknown", "info")] * refused
        assert all(f"may not {command} on the cluster" in one.message for one in found)
        assert source.identity() == source.identity() != ""

    def test_a_set_whose_configuration_may_not_be_read_is_known_by_its_name(self, behind: Behind) -> None:
        source = behind(to("replSetGetConfig", failure(8000, "AtlasError")))
        hello = source._client.admin.command("hello")
        assert source.identity().startswith(f"mongodb:{hello['setName']}/")

    def test_check_meets_what_a_run_would_meet(self, behind: Behind) -> None:
        (finding,) = behind(to("replSetGetConfig", failure(96, "OperationFailed"))).findings([THINGS])
        assert (finding.code, finding.severity) == ("source.unusable", "error")
        assert "96" in finding.message


class TestStreams:
    def test_a_look_at_the_keys_that_takes_too_long_is_a_warning(self, behind: Behind) -> None:
        late = to("aggregate", failure(50, "MaxTimeMSExpired"), having="maxTimeMS")
        assert codes(behind(late).findings([TEXT])) == [("source.long_keys", "warning")]

    def test_the_server_gives_up_on_the_keys_before_the_client_does(self) -> None:
        assert KEY_TIME_MS < SOCKET_TIMEOUT_MS

    def test_the_keys_are_asked_of_the_index_alone(self, behind: Behind) -> None:
        asked: list[Mapping[str, Any]] = []
        behind(lambda command: asked.append(command) if "maxTimeMS" in command else None).findings([TEXT])
        (look,) = (command for command in asked if "aggregate" in command)
        assert look["hint"] == {"_id": 1}
        assert next(iter(look["pipeline"][0])) == "$project"

    def test_a_filter_is_tried_as_the_run_asks_it(self, behind: Behind) -> None:
        # As a server answers when a filter needs another index than the one that is named.
        stream = replace(THINGS, where='{"text": {"$near": [0, 0]}}')
        found = behind(to("find", failure(2, "BadValue"), having="hint")).findings([stream])
        assert codes(found) == [("source.unreadable", "error")]
        assert "$near" in found[0].hint

    @pytest.mark.parametrize(
        ("where", "operator"),
        [
            ('{"number": {"$gtx": 1}}', "$gtx"),
            ('{"$either": []}', "$either"),
            ('{"$expr": {"$plus": [1, 2]}}', "$plus"),
            ('{"number": {"$in": 5}}', "$in"),
        ],
    )
    def test_a_filter_that_the_server_does_not_take_names_the_operator(
        self, source_db: SourceDatabase, where: str, operator: str
    ) -> None:
        with pymongo.MongoClient[dict[str, Any]](source_db.uri) as client:
            client[source_db.name][THINGS.collection].insert_one({"_id": 1})
        source = connect(Endpoint("mongodb", source_db.uri, source_db.name), [THINGS])
        (finding,) = source.findings([replace(THINGS, where=where)])
        source.close()
        assert finding.code == "source.unreadable"
        assert f"about the operator {operator}" in finding.message

    def test_a_server_that_keeps_to_an_older_version_is_told_of(self, behind: Behind) -> None:
        (finding,) = behind(to("aggregate", failure(6188501, "Location6188501"))).findings([THINGS])
        assert finding.code == "source.unwatchable"
        assert "featureCompatibilityVersion" in finding.hint

    def test_a_sample_comes_in_many_replies(self, behind: Behind, source_db: SourceDatabase) -> None:
        with pymongo.MongoClient[dict[str, Any]](source_db.uri) as client:
            client[source_db.name][THINGS.collection].insert_many({"_id": n} for n in range(3000))
        asked: list[str] = []
        source = behind(lambda command: asked.append(next(iter(command))))
        _, size = source.estimate(THINGS)
        assert len(source.spans(THINGS, size // 100)) > 50
        assert asked.count("getMore") >= 1


class TestUnreachable:
    def test_another_replica_set_is_named(self, source_db: SourceDatabase) -> None:
        with pymongo.MongoClient[dict[str, Any]](source_db.uri) as client:
            host, port = client.address or ("", 0)
        assert "replicaSet" in said(f"mongodb://{host}:{port}/?replicaSet=another", source_db.name)

    @pytest.mark.parametrize(
        ("greeting", "options", "what"),
        [(b"I speak no TLS", "tls=true", "TLS handshake"), (b"", "tls=false", "closed the connection")],
    )
    def test_a_server_that_does_not_take_the_options_is_told_from_one_that_is_away(
        self, greeting: bytes, options: str, what: str
    ) -> None:
        with greeting_with(greeting) as port, warnings.catch_warnings():
            # The driver leaves a socket whose handshake failed to the collector, which may come in any later test.
            warnings.simplefilter("ignore", ResourceWarning)
            assert what in said(f"mongodb://127.0.0.1:{port}/?directConnection=true&{options}", "shop")
            gc.collect()

    def test_a_refused_connection_is_said(self) -> None:
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        words = said(f"mongodb://127.0.0.1:{port}/?directConnection=true", "shop")
        assert ("refused" in words, f"(127.0.0.1:{port})" in words) == (True, True)

    @pytest.mark.parametrize("option", ["tlsCAFile", "tlsCertificateKeyFile"])
    def test_a_file_that_is_not_there_is_refused_at_once(self, option: str) -> None:
        source = connect(
            Endpoint("mongodb", f"mongodb://127.0.0.1:1/?tls=true&{option}=/nowhere/x.pem", "shop"), [THINGS]
        )
        with pytest.raises(RefusedError, match=rf"not there or cannot be read: {option}") as caught:
            source.position()
        assert "nowhere" not in str(caught.value)

    def test_a_password_that_is_not_written_as_in_a_uri_is_no_host(self) -> None:
        source = connect(Endpoint("mongodb", "mongodb://u:1234/er2@127.0.0.1:1/d", "shop"), [THINGS])
        with pytest.raises(RefusedError, match="%2F") as caught:
            source.position()
        assert not any(part in str(caught.value) for part in ("1234", "er2"))


@contextmanager
def greeting_with(words: bytes) -> Iterator[int]:
    """The port of a server that hears a little, says these words and hangs up."""

    class Handler(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            with suppress(OSError):
                self.request.recv(1)
                self.request.sendall(words)
                self.request.shutdown(socket.SHUT_WR)
                while self.request.recv(4096):  # to the end: else the client may see a reset
                    pass

    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield server.server_address[1]
        server.shutdown()
        thread.join()


def said(uri: str, database: str) -> str:
    """Why the server cannot be reached."""
    source = connect(Endpoint("mongodb", f"{uri}&serverSelectionTimeoutMS=1000", database), [THINGS])
    try:
        with pytest.raises(TransientError) as caught:
            source.position()
    finally:
        source.close()
    return str(caught.value)
