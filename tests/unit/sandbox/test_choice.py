"""Which servers the environment asks for, and what is said when they are not there."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from tranship.orchestrator.sandbox import Kind, SandboxError, ServerMissingError, Servers, sandbox
from tranship.orchestrator.sandbox.embedded import mongodb_executable
from tranship.orchestrator.sandbox.servers import chosen_kind, external_servers

BOTH = {"SOURCE_URI": "mongodb://source.example/", "TARGET_URI": "postgresql://target.example/shop"}


@pytest.mark.parametrize(
    ("environment", "kind"),
    [
        ({}, Kind.EMBEDDED),
        ({"SANDBOX": ""}, Kind.EMBEDDED),
        ({"SANDBOX": "embedded"}, Kind.EMBEDDED),
        ({"SANDBOX": "docker"}, Kind.DOCKER),
        (BOTH, Kind.EXTERNAL),
        (BOTH | {"SANDBOX": "docker"}, Kind.EXTERNAL),
    ],
)
def test_the_environment_chooses(environment: dict[str, str], kind: Kind) -> None:
    assert chosen_kind(environment) is kind


@pytest.mark.parametrize(
    ("environment", "message"),
    [
        ({"SOURCE_URI": "mongodb://source.example/"}, "SOURCE_URI is set alone"),
        ({"TARGET_URI": "postgresql://target.example/"}, "TARGET_URI is set alone"),
        ({"SANDBOX": "podman"}, "'podman'"),
        ({"SANDBOX": "external"}, "'external'"),
    ],
)
def test_a_choice_that_makes_no_sense_is_an_error(environment: dict[str, str], message: str) -> None:
    with pytest.raises(SandboxError, match=message):
        chosen_kind(environment)


def test_given_servers_are_used_as_they_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in BOTH.items():
        monkeypatch.setenv(name, value)
    with sandbox(tmp_path / "unused") as servers:
        assert servers == external_servers(BOTH) == Servers(Kind.EXTERNAL, *BOTH.values())
    assert not (tmp_path / "unused").exists()


def test_no_uri_is_shown_by_accident() -> None:
    assert "example" not in repr(external_servers(BOTH))


def test_a_missing_mongodb_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    with pytest.raises(ServerMissingError, match="no MongoDB server"):
        mongodb_executable()


def test_the_fast_mongodb_is_preferred(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("secantusd-py", "secantusd-rs"):
        (tmp_path / name).touch(mode=0o755)
        monkeypatch.setenv("PATH", str(tmp_path))
        monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
        assert mongodb_executable().name == name
