"""No secret reaches a log, also not by way of a driver's message."""

from __future__ import annotations

import io
import json
import sys

import pytest
import structlog

from tranship.orchestrator import logs

SECRETS = [
    ("mongodb://ann:s3cret@db.example:27017/?x=1", "mongodb://***@db.example:27017/?x=1"),
    ("mongodb+srv://ann:s3cret@db.example", "mongodb+srv://***@db.example"),
    ("could not connect to postgresql://ann:s3cret@h/d now", "could not connect to postgresql://***@h/d now"),
    ("host=h password=s3cret user=ann", "host=h password=*** user=ann"),
    ("password='s3 cret' x", "password=*** x"),
    ("?authMechanismProperties=AWS_SESSION_TOKEN:s3cret,X:y", "?authMechanismProperties=AWS_SESSION_TOKEN:***,X:y"),
    ("AWS_SESSION_TOKEN%3As3cret&tls=true", "AWS_SESSION_TOKEN%3A***&tls=true"),
    ("nothing to hide at http://h/path", "nothing to hide at http://h/path"),
]


@pytest.mark.parametrize(("text", "masked"), SECRETS)
def test_credentials_are_masked(text: str, masked: str) -> None:
    assert logs.without_secrets(text) == masked


def test_every_event_is_masked_and_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    written = io.StringIO()
    monkeypatch.setattr(sys, "stderr", written)
    logs.configure("json", run="r-1")
    try:
        structlog.get_logger().info("connecting", uri="mongodb://ann:s3cret@h")
        try:
            raise RuntimeError("no route to postgresql://ann:s3cret@h/d")
        except RuntimeError:
            structlog.get_logger().error("failed", exc_info=True)
    finally:
        structlog.reset_defaults()
        structlog.contextvars.clear_contextvars()
    lines = [json.loads(line) for line in written.getvalue().splitlines()]
    assert [line["run"] for line in lines] == ["r-1", "r-1"]
    assert "s3cret" not in written.getvalue()
    assert "no route to" in lines[1]["exception"]
