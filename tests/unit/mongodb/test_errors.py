"""The driver's exceptions by what is to be done about them."""

from __future__ import annotations

import pytest
from bson.errors import InvalidBSON
from pymongo.errors import (
    AutoReconnect,
    ConfigurationError,
    CursorNotFound,
    ExecutionTimeout,
    NetworkTimeout,
    NotPrimaryError,
    OperationFailure,
    ServerSelectionTimeoutError,
)

from tranship.connectors.errors import ConnectorError, PositionLostError, RefusedError, TransientError
from tranship.connectors.mongodb.errors import translate, translated


def failure(code: int, name: str = "Name", message: str = "secret value") -> OperationFailure:
    return OperationFailure(message, code, {"codeName": name})


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
        (failure(13), RefusedError),
        (failure(18), RefusedError),
        (failure(2), RefusedError),
        (ConfigurationError("option"), RefusedError),
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


def test_the_drivers_error_is_not_chained() -> None:
    with pytest.raises(TransientError) as caught, translated("reading orders"):
        raise AutoReconnect("mongodb://user:secret@host")
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__


def test_other_errors_pass() -> None:
    with pytest.raises(ZeroDivisionError), translated("reading orders"):
        raise ZeroDivisionError
