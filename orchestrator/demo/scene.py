"""A stage for real runs: a shop in MongoDB with its writers, an empty PostgreSQL, `tranship run` as a child process.

The demo plays on it, and so do the crash tests and the torture: whoever uses it decides when to kill what, and asks the
oracle in the end.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.resources import files
from pathlib import Path
from typing import IO, Any

import pymongo
import yaml

from tranship.orchestrator.demo import oracle
from tranship.orchestrator.demo.ledger import States
from tranship.orchestrator.demo.shop import Shop, seed_shop
from tranship.orchestrator.engine.session import Session, open_session
from tranship.orchestrator.journal.control import RequestKind
from tranship.orchestrator.journal.state import State
from tranship.orchestrator.reports.status import Status, status_of
from tranship.orchestrator.sandbox import Servers
from tranship.orchestrator.sandbox.databases import SourceDatabase, fresh_source, fresh_target
from tranship.plans import load

APPROVAL_LIMIT_S = 120.0
POLL_S = 0.05
EXAMPLE = "02-shop.yaml"


class SceneError(Exception):
    """Something on the stage did not happen as it must."""


@dataclass
class Scene:
    """One shop on its way. `folder` holds plan, ledger and logs; `stderr` is where the runs' output goes."""

    source: SourceDatabase
    target_uri: str
    folder: Path
    shop: Shop
    stderr: IO[bytes] | int
    written: list[dict[str, Any]] = field(default_factory=list)
    """What the writers that were stopped have said of themselves."""
    _children: list[subprocess.Popen[bytes]] = field(default_factory=list)

    @property
    def environment(self) -> dict[str, str]:
        """The child processes' environment: URIs travel in it, never on a command line."""
        return {**os.environ, "SOURCE_URI": self.source.uri, "TARGET_URI": self.target_uri}

    @property
    def ledger(self) -> Path:
        """Where the writers keep their ledger."""
        return self.folder / "ledger"

    def write_plan(self, name: str = "shop", rest: str = "residue", **changes: dict[str, Any]) -> Path:
        """The shop's example plan for this scene's database, with one policy for all streams and some parts changed."""
        text = files("tranship.plans").joinpath("examples", EXAMPLE).read_text(encoding="utf-8")
        declared: dict[str, Any] = yaml.safe_load(text)
        declared["plan"] = name
        declared["source"]["database"] = self.source.name
        declared["streams"] = {stream: {**spec, "rest": rest} for stream, spec in declared["streams"].items()}
        # Its odd documents are odd on purpose, and in a small shop soon more than one in a hundred.
        declared["limits"] = {**declared.get("limits", {}), "misfit": "100%"}
        for part, values in changes.items():
            declared[part] = {**declared[part], **values}
        path = self.folder / f"{name}.yaml"
        path.write_text(yaml.safe_dump(declared, sort_keys=False), encoding="utf-8")
        return path

    def seed(self) -> None:
        """Fill the source with what its server keeps."""
        self.shop = self.shop.on(self.source.uri)
        seed_shop(self.source.uri, self.source.name, self.shop)

    # --- child processes ------------------------------------------------------------------------------------------

    @contextmanager
    def writers(self, rate: float, plan: str = "shop", max_s: float = 600.0) -> Iterator[subprocess.Popen[bytes]]:
        """Writers at work for the length of the block, through a router of a plan; they finish what they began and then
        stop."""
        command = ["--uri-env", "SOURCE_URI", "--database", self.source.name, "--ledger", str(self.ledger)]
        command += [
            "--seed",
            str(self.shop.seed),
            "--documents",
            str(self.shop.documents),
            "--rate",
            str(rate),
            "--plan",
            plan,
        ]
        command += [f"--without={name}" for name in sorted(self.shop.without)]
        child = self._start(
            "tranship.orchestrator.demo.writers", [*command, "--max-seconds", str(max_s)], {}, talks=True
        )
        try:
            assert child.stdout is not None
            if not child.stdout.readline():
                raise SceneError("the writers did not start")
            yield child
        finally:
            self.stop_writers(child)

    def stop_writers(self, child: subprocess.Popen[bytes]) -> None:
        """End the writers and see that none of them failed. May be called again."""
        if child.stdin is not None and not child.stdin.closed:
            child.stdin.close()
        code = child.wait(60)
        if child.stdout is not None and not child.stdout.closed:
            with child.stdout:
                self.written.append(json.loads(child.stdout.readline() or b"{}"))
        if code != 0:
            raise SceneError("a writer failed; its message is above")

    def run(self, plan: Path, command: str = "run", **environment: str) -> subprocess.Popen[bytes]:
        """`tranship run`, or another command with its options, in a session of its own: one signal ends all of it."""
        return self._start("tranship", [*command.split(), str(plan)], environment)

    def command(self, *arguments: str) -> subprocess.Popen[bytes]:
        """Any `tranship` command."""
        return self._start("tranship", list(arguments), {})

    def _start(
        self, module: str, arguments: list[str], environment: dict[str, str], *, talks: bool = False
    ) -> subprocess.Popen[bytes]:
        child = subprocess.Popen(
            [sys.executable, "-P", "-m", module, *arguments],
            env={**self.environment, **environment},
            stdin=subprocess.PIPE if talks else subprocess.DEVNULL,
            stdout=subprocess.PIPE if talks else self.stderr,
            stderr=self.stderr,
            start_new_session=True,
        )
        self._children.append(child)
        return child

    def kill(self, child: subprocess.Popen[bytes]) -> None:
        """SIGKILL the child with its workers."""
        os.killpg(child.pid, signal.SIGKILL)
        child.wait()

    def close(self) -> None:
        """End whatever still runs."""
        for child in self._children:
            if child.poll() is None:
                self.kill(child)

    # --- looking and asking ---------------------------------------------------------------------------------------

    @contextmanager
    def session(self, plan: Path) -> Iterator[Session]:
        """The plan's control store, to look at its run from beside it."""
        with open_session(load(plan, self.environment)) as session:
            yield session

    def approve(self, session: Session) -> None:
        """What `tranship approve` does, until it is heard: an orchestrator that takes over asks anew."""
        run, answered = run_name(session), set[int]()
        end = time.monotonic() + APPROVAL_LIMIT_S
        state = session.state(run)
        while not any(approval.asking in answered for approval in state.approved.values()):
            if state.asking is not None and state.asking not in answered:
                session.control.request(run, RequestKind.APPROVE, state.asking)
                answered.add(state.asking)
            if time.monotonic() > end:
                raise SceneError(f"waited {APPROVAL_LIMIT_S:g} s for the approval to be heard")
            time.sleep(POLL_S)
            state = session.state(run)

    def expected(self) -> States:
        """What both databases have to hold according to seed and ledger."""
        return oracle.expected_states(self.shop, self.ledger)

    def judge(self, schema: str) -> oracle.Comparison:
        """The oracle's verdict on PostgreSQL; `SceneError` when the source itself is not as the ledger says."""
        states = self.expected()
        on_source = oracle.expected_on_source(self.shop, self.ledger)
        source = oracle.compare_source(self.source.uri, self.source.name, on_source)
        if not source.equal:
            raise SceneError(f"the source does not equal the ledger, so nothing can be judged: {source.examples}")
        return oracle.compare_target(self.target_uri, schema, states)


def run_name(session: Session) -> str:
    """The plan's newest run."""
    name = session.latest()
    if name is None:
        raise SceneError("the plan has no run yet")
    return name


def state_now(session: Session) -> State | None:
    """The run's folded state, or None before there is one."""
    name = session.latest()
    return session.state(name) if name is not None else None


def status_now(session: Session) -> Status:
    """What `tranship status` shows."""
    return status_of(session, run_name(session))


def wait_until(
    condition: Callable[[], bool], limit_s: float, what: str, child: subprocess.Popen[bytes], poll_s: float = POLL_S
) -> None:
    """Wait for a condition while a child runs; `SceneError` when the child ends before, or the time is up."""
    end = time.monotonic() + limit_s
    while not condition():
        if child.poll() is not None:
            raise SceneError(f"the process ended with exit code {child.returncode} before {what}")
        if time.monotonic() > end:
            raise SceneError(f"waited {limit_s:g} s for {what}")
        time.sleep(poll_s)


@contextmanager
def scene(servers: Servers, folder: Path, shop: Shop, stderr: IO[bytes] | int) -> Iterator[Scene]:
    """A seeded shop with databases of its own; everything is removed at the end."""
    with fresh_source(servers) as source, fresh_target(servers) as target_uri:
        stage = Scene(source, target_uri, folder, shop, stderr)
        try:
            stage.seed()
            yield stage
        finally:
            stage.close()


def writes_arrive(stage: Scene) -> bool:
    """Whether the source still takes a write (an update that changes nothing is one for the server)."""
    with pymongo.MongoClient[dict[str, Any]](stage.source.uri) as client:
        result = client[stage.source.name]["products"].update_one({}, {"$inc": {"stock": 0}})
        return result.acknowledged
