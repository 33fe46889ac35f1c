"""Fences that a side's server keeps: it refuses what applications write, whether they know of tranship or not.

Raising and lowering are commands that check nothing (`rules.md` F3). So each is registered beside the side's routing
record first, by a swap that compares it; what was there before is kept there too, as the passport, with which a fence
can be lowered with nothing but this side. A command leaves the register by its own reply, or once it is certain that
it can do nothing any more; while one is left no fence is raised, and nothing is handed over.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Protocol, runtime_checkable

from tranship.plans.streams import Endpoint, Stream


class FenceKind(StrEnum):
    """Strongest first. `VALIDATORS` refuse what is inserted or updated, and let deletes through."""

    WRITE_BLOCK = "write-block"
    ROLES = "roles"
    VALIDATORS = "validators"


class Deed(StrEnum):
    """What a command does to a fence."""

    RAISE = "raise"
    LOWER = "lower"


@dataclass(frozen=True)
class Writer:
    """An application's user on the fenced side, and where its users are kept. `login`: its own credentials, by which it
    is tried whether the fence holds; None where they are not given."""

    user: str
    database: str
    login: Endpoint | None = field(default=None, repr=False)

    def __str__(self) -> str:
        return f"{self.database}.{self.user}"


@dataclass(frozen=True)
class Fenced:
    """What a fence is of."""

    writers: tuple[Writer, ...]
    streams: tuple[Stream, ...]


@dataclass(frozen=True)
class Command:
    """A command that is registered under a token that no other one has, and not known to have ended."""

    id: str
    version: int
    deed: Deed
    token: str


@dataclass(frozen=True)
class Passport:
    """What stands on this side because of a run: a fence of a kind, raised behind a version of the record; what it has
    changed, in words; the commands that are registered."""

    id: str
    kind: FenceKind | None
    version: int
    changed: tuple[str, ...]
    commands: tuple[Command, ...]


@runtime_checkable
class Fences(Protocol):
    """The fences of one side. Raises `RefusedError` where the server does not let this user do something."""

    def objections(self, kind: FenceKind, what: Fenced) -> list[str]:
        """Why a fence of this kind could not be raised now, or would not hold. Reads only."""

    def register_raise(self, id: str, version: int, kind: FenceKind, what: Fenced) -> Command:  # noqa: A002
        """Keep the passport and the command, if the record says fenced(version) and no fence stands yet. Raises
        `TakenOverError` when it does not."""

    def register_lower(self, id: str, version: int) -> Command:  # noqa: A002
        """Keep the command, if the record says lifting(version), or handed_over(version). Raises `TakenOverError` when
        it does not."""

    def send(self, command: Command) -> None:
        """Carry a command out: returns once the server has done what it says and the register is without it.

        Behind a raised fence no operation of its writers from before is under way any more. Behind a lowered one all
        is as the passport says, it is gone, and so are all commands that can be proven to be dead. Raises
        `TakenOverError` when another process has taken the command over.
        """

    def try_writers(self, kind: FenceKind, what: Fenced) -> list[str]:
        """What the writers whose logins are given can still do of what a fence of this kind stops: tried in
        transactions that are aborted in any case. Empty: all of it was refused."""

    def forget_commands(self, id: str) -> None:  # noqa: A002
        """Empty the register: a person says that the processes of what is left in it have ended. Idempotent."""

    def passport(self, id: str) -> Passport | None:  # noqa: A002
        """What stands on this side because of a run, None when nothing does."""
