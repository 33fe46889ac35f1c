"""`Fences` of a MongoDB database: by its write block, by roles, by validators."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

from pymongo import MongoClient
from pymongo.database import Database

from tranship.connectors.errors import TakenOverError, TransientError
from tranship.connectors.mongodb.errors import translated
from tranship.connectors.mongodb.fencing.register import Register
from tranship.connectors.mongodb.fencing.roles import RolesFence
from tranship.connectors.mongodb.fencing.trial import Trial
from tranship.connectors.mongodb.fencing.validators import ValidatorsFence
from tranship.connectors.mongodb.fencing.writeblock import WriteBlock
from tranship.connectors.protocols.fencing import Command, Deed, Fenced, FenceKind, Fences, Passport

Document = dict[str, Any]

OBSERVE_S = 10.0
"""For the server to say that it is as the command has made it: its own reply has come before."""
_AGAIN_S = 0.02


class Means(Protocol):
    """What one kind of fence does to a server. `saved` is what was there before, as documents."""

    def objections(self, what: Fenced) -> list[str]: ...

    def survey(self, what: Fenced) -> Document: ...

    def changed(self, saved: Mapping[str, Any]) -> list[str]: ...

    def provide(self, token: str, deed: Deed, saved: Mapping[str, Any]) -> None: ...

    def carry_out(self, token: str, deed: Deed, saved: Mapping[str, Any]) -> None: ...

    def missing(self, deed: Deed, saved: Mapping[str, Any]) -> list[str]: ...

    def bury(self, token: str) -> bool: ...

    def end_operations(self, saved: Mapping[str, Any]) -> None: ...


_MEANS: dict[FenceKind, Callable[[MongoClient[Document], str], Means]] = {
    FenceKind.WRITE_BLOCK: WriteBlock,
    FenceKind.ROLES: RolesFence,
    FenceKind.VALIDATORS: ValidatorsFence,
}


class MongoFences:
    """`Fences`. `trial`: keeps the logins of writers open between its uses."""

    def __init__(self, database: Database[Document], trial: Trial) -> None:
        self._database = database
        self._register = Register(database)
        self._trial = trial

    def objections(self, kind: FenceKind, what: Fenced) -> list[str]:
        with translated("asking whether a fence could be raised"):
            standing = [
                f"a fence of run {run} stands on the source already: `tranship unfence` takes it away"
                for run in self._register.standing()
            ]
            # Else what that one has left would be taken for what was there before.
            return standing or [*self._means(kind).objections(what), *self._trial.objections(what)]

    def register_raise(self, id: str, version: int, kind: FenceKind, what: Fenced) -> Command:  # noqa: A002
        command = Command(id, version, Deed.RAISE, secrets.token_hex(8))
        with translated("registering the fence"):
            means = self._means(kind)
            saved = means.survey(what)
            means.provide(command.token, command.deed, saved)
            passport = {"kind": kind.value, "version": version, "token": command.token, "saved": saved}
            if not self._register.raising(command, passport):
                means.bury(command.token)
                raise TakenOverError("the fence was not registered: the routing record is another one by now")
        return command

    def register_lower(self, id: str, version: int) -> Command:  # noqa: A002
        command = Command(id, version, Deed.LOWER, secrets.token_hex(8))
        with translated("registering that the fence is lowered"):
            passport, _ = self._register.read(id)
            if passport is not None:
                self._means(FenceKind(passport["kind"])).provide(command.token, command.deed, passport["saved"])
            if not self._register.lowering(command):
                if passport is not None:
                    self._means(FenceKind(passport["kind"])).bury(command.token)
                raise TakenOverError("the routing record is not being lifted any more; nothing was lowered")
        return command

    def send(self, command: Command) -> None:
        with translated(f"carrying out the command to {command.deed} the fence"):
            passport, commands = self._register.read(command.id)
            if command not in commands:
                raise TakenOverError(f"the command to {command.deed} the fence was taken over by another process")
            if command.deed is Deed.RAISE:
                self._raise(command, passport or {})
            else:
                self._lower(command, passport, [one for one in commands if one != command])

    def try_writers(self, kind: FenceKind, what: Fenced) -> list[str]:
        with translated("trying the writers behind the fence"):
            return self._trial.passing(kind, what)

    def forget_commands(self, id: str) -> None:  # noqa: A002
        with translated("emptying the register"):
            self._register.forget(id)

    def passport(self, id: str) -> Passport | None:  # noqa: A002
        with translated("reading the passport of the fence"):
            found, commands = self._register.read(id)
            if found is None:
                return Passport(id, None, 0, (), tuple(commands)) if commands else None
            kind = FenceKind(found["kind"])
            changed = self._means(kind).changed(found["saved"])
            return Passport(id, kind, int(found["version"]), tuple(changed), tuple(commands))

    def _raise(self, command: Command, passport: Mapping[str, Any]) -> None:
        means, saved = self._means(FenceKind(passport["kind"])), passport["saved"]
        means.carry_out(command.token, command.deed, saved)
        _observe(lambda: means.missing(command.deed, saved))
        # Behind it: what began before the fence would end after it, and after the marker, else.
        means.end_operations(saved)
        if not self._register.close(command):
            raise TakenOverError("the command to raise the fence was taken over by another process")

    def _lower(self, command: Command, passport: Mapping[str, Any] | None, others: Sequence[Command]) -> None:
        if passport is None:  # somebody else has lowered it: what is left are commands that may still be on their way
            self._register.close(command)
            return
        means, saved = self._means(FenceKind(passport["kind"])), passport["saved"]
        means.carry_out(command.token, command.deed, saved)
        means.bury(passport["token"])
        for other in others:
            # A late one may have come in between, and what it did is taken back with what it names.
            if means.bury(other.token):
                self._register.close(other)
        if means.missing(command.deed, saved):
            means.carry_out(command.token, command.deed, saved)
        _observe(lambda: means.missing(command.deed, saved))
        # Before it leaves the register: whoever finds it there clears up behind it.
        means.bury(command.token)
        if not self._register.lowered(command):
            raise TakenOverError("the command to lower the fence was taken over by another process")

    def _means(self, kind: FenceKind) -> Means:
        return _MEANS[kind](self._database.client, self._database.name)


def _observe(missing: Callable[[], list[str]]) -> None:
    end = time.monotonic() + OBSERVE_S
    while found := missing():
        if time.monotonic() > end:
            raise TransientError("; ".join(found))
        time.sleep(_AGAIN_S)


def _implements(fences: MongoFences) -> Fences:
    return fences
