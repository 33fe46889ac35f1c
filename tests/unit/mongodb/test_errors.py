"""The driver's exceptions by what is to be done about them."""

from __future__ import annotations

import pytest
from bson.errors import InvalidBSON
from dns.resolver import NXDOMAIN, LifetimeTimeout
from pymongo.errors import (
    AutoReconnect,
    ConfigurationError,
    CursorNotFound,
    ExecutionTimeout,
    InvalidURI,
    NetworkTimeout,
    NotPrimaryError,
    OperationFailure,
    ServerSelectionTimeoutError,
)

from tranship.connectors.errors import ConnectorError, PositionLostError, RefusedError, TransientError
from tranship.connectors.mongodb.errors import translate, translated

LABELS = (
    "TransientTransactionError",
    "ResumableChangeStreamError",
    "RetryableWriteError",
    "RetryableError",
    "SystemOverloadedError",
)
AHEAD = "readConcern afterClusterTime value must not be greater than the current clusterTime. secret"
DESCRIBED = (
    ", Timeout: 10s, Topology Description: <TopologyDescription secret, "
    "servers: [<ServerDescription ('host', 1) server_type: Unknown>]>"
)


def failure(
    code: int, name: str = "Name", message: str = "secret value", labels: tuple[str, ...] = ()
) -> OperationFailure:
    return OperationFailure(message, code, {"codeName": name, "errorLabels": list(labels)})


def unresolved(cause: Exception) -> ConfigurationError:
    """What the driver raises when it cannot look up a mongodb+srv address."""
    error = ConfigurationError("_mongodb._tcp.host.secret: not found")
    error.__cause__ = cause
    return error


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (AutoReconnect("host:1"), TransientError),
        (NetworkTimeout("host:1"), TransientError),
        (NotPrimaryError("not primary", {"code": 10107}), TransientError),
        (ServerSelectionTimeoutError("host:1"), TransientError),
        (CursorNotFound("gone", 43), TransientError),
        (ExecutionTimeout("late", 50), TransientError),
        (failure(11602), TransientError),
        (failure(134), TransientError),
        (failure(211), TransientError),
        (failure(28799), TransientError),
        (failure(72, message=AHEAD), TransientError),
        (failure(72), RefusedError),
        *((failure(1, labels=(label,)), TransientError) for label in LABELS),
        (failure(1, labels=("UnknownTransactionCommitResult",)), RefusedError),
        (failure(286, labels=("ResumableChangeStreamError",)), PositionLostError),
        (failure(13), RefusedError),
        (failure(18), RefusedError),
        (failure(2), RefusedError),
        (failure(8000, "AtlasError"), RefusedError),
        (ConfigurationError("option"), RefusedError),
        (InvalidURI("host"), RefusedError),
        (unresolved(ValueError()), RefusedError),
        (unresolved(NXDOMAIN()), TransientError),
        (unresolved(LifetimeTimeout(timeout=1, errors=[])), TransientError),
        (failure(286), PositionLostError),
        (failure(280), PositionLostError),
        (failure(136), PositionLostError),
        (failure(1, message="the resume point may no longer be in the oplog"), PositionLostError),
        (InvalidBSON("broken"), ConnectorError),
    ],
)
def test_errors_are_classed(error: Exception, kind: type[ConnectorError]) -> None:
    found = translate(error, "reading orders")
    assert type(found) is kind
    assert str(found).startswith("reading orders: ")
    assert "secret" not in str(found)
    assert "host" not in str(found)


def test_atlas_is_named_for_what_it_refuses() -> None:
    said = str(translate(failure(8000, "AtlasError"), "reading orders"))
    assert "tier" in said
    assert "privileges" in said


def test_a_fence_that_stops_our_markers_too_says_which_privilege_helps() -> None:
    found = translate(failure(371, "UserWritesBlocked"), "writing a marker")
    assert type(found) is RefusedError
    assert "bypassWriteBlockingMode" in str(found)


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("Could not reach any servers in [('secret', 1)]. Replica set is configured with internal hostnames or IPs?",
         "rs.conf()"),
        ('No replica set members available for replica set name "secret"', "replicaSet"),
        ("client is configured to connect to a replica set named 'secret' but this node belongs to a set named 'a'",
         "replicaSet"),
        ('No replica set members match selector "Primary()"', "primary"),
        ("SSL handshake failed: host:1: [SSL: CERTIFICATE_VERIFY_FAILED] certificate verify failed", "tlsCAFile"),
        ("SSL handshake failed: host:1: [SSL: TLSV1_ALERT_INTERNAL_ERROR] tlsv1 alert", "IP access list"),
        ("host:1: [Errno -2] Name or service not known", "looked up"),
        ("host:1: [Errno -3] Temporary failure in name resolution", "looked up"),
        ("host:1: [Errno 111] Connection refused,host:2: [Errno 111] Connection refused", "refused"),
        ("host:1: connection closed", "tls options"),
        ("host:1: timed out", "firewalls"),
        ("No replica set members found yet", "firewalls"),
    ],
)  # fmt: skip
def test_why_no_server_can_be_reached_is_said_in_our_words(text: str, what: str) -> None:
    found = translate(ServerSelectionTimeoutError(text + DESCRIBED), "reading orders")
    assert type(found) is TransientError
    assert what in str(found)
    assert "secret" not in str(found)
    assert "(host:1)" in str(found)


def test_an_address_that_cannot_be_looked_up_is_named_as_such() -> None:
    assert "mongodb+srv" in str(translate(unresolved(NXDOMAIN()), "connecting"))


def test_the_drivers_error_is_not_chained() -> None:
    with pytest.raises(TransientError) as caught, translated("reading orders"):
        raise AutoReconnect("mongodb://user:secret@host")
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__


def test_other_errors_pass() -> None:
    with pytest.raises(ZeroDivisionError), translated("reading orders"):
        raise ZeroDivisionError
