"""What the commands share: errors as exit codes, and who asks."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest
import typer

from tranship.connectors import errors
from tranship.orchestrator.cli.commands import LEASE, REFUSED, exits
from tranship.orchestrator.journal.person import person


def _kinds(kind: type[errors.ConnectorError]) -> Iterator[type[errors.ConnectorError]]:
    yield kind
    for more in kind.__subclasses__():
        yield from _kinds(more)


@pytest.mark.parametrize("kind", sorted(set(_kinds(errors.ConnectorError)), key=str))
def test_what_a_connector_says_is_told_without_a_traceback(
    kind: type[errors.ConnectorError], capsys: pytest.CaptureFixture[str]
) -> None:
    error = kind.__new__(kind, "field price does not fit")
    Exception.__init__(error, "field price does not fit")
    with pytest.raises(typer.Exit) as caught, exits():
        raise error
    assert caught.value.exit_code == (LEASE if kind is errors.EpochMovedError else REFUSED)
    assert capsys.readouterr().err == "field price does not fit\n"


def test_a_user_without_a_name_is_a_number(monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in ("LOGNAME", "USER", "LNAME", "USERNAME"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setattr(os, "getuid", lambda: 2**31 - 7)
    assert person() == "uid 2147483641"
