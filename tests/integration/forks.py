"""`tranship` commands that begin as forks of one process that has imported them: a second of CPU less for each.

A whole run of the tests starts some thousand commands. What a fork does is what `python -P -m tranship` does behind its
imports, in a session of its own, with descriptors and environment of its own. That a command starts from nothing is
shown where that is the question: README, demo, crash and terminal tests, `test_costs.py`.
"""

from __future__ import annotations

import array
import atexit
import contextlib
import importlib
import io
import json
import os
import pkgutil
import runpy
import select
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from multiprocessing import forkserver, util
from typing import IO, Any

COMMAND = (sys.executable, "-P", "-m", "tranship")

STEADY = "TRANSHIP_TESTS_STEADY_S"
"""Of a command's environment: for so long its lag has to stay small. Three waits of a run that show nothing here."""

_size = struct.Struct("<q")
_number = struct.Struct("<i")

APART = ("demo", "sandbox", "memory")
"""Parts of the program that commands with a plan do not use."""


class Forked:
    """As much of `subprocess.Popen` as tests use."""

    def __init__(self, channel: socket.socket) -> None:
        self._channel = channel
        self._lock = threading.Lock()
        self.returncode: int | None = None
        (self.pid,) = _number.unpack(_exactly(channel, _number.size))

    def poll(self) -> int | None:
        """The exit code, or None while it runs."""
        with self._lock:
            if self.returncode is None and select.select([self._channel], [], [], 0)[0]:
                (self.returncode,) = _number.unpack(_exactly(self._channel, _number.size))
                self._channel.close()
            return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        """The exit code, once it has ended. Other threads may ask meanwhile."""
        end = None if timeout is None else time.monotonic() + timeout
        while (code := self.poll()) is None:
            if end is not None and time.monotonic() > end:
                raise subprocess.TimeoutExpired("tranship", timeout or 0)
            time.sleep(0.02)
        return code

    def send_signal(self, number: int) -> None:
        """As long as it runs."""
        if self.poll() is None:
            os.kill(self.pid, number)

    def terminate(self) -> None:
        """SIGTERM."""
        self.send_signal(signal.SIGTERM)


class Parent:
    """The process that has imported everything; it ends with this one."""

    def __init__(self) -> None:
        self._control, other = socket.socketpair()
        with other:
            command = [sys.executable, "-P", __file__, str(other.fileno())]
            # Else numpy has threads when it forks.
            environment = {**os.environ, "OPENBLAS_NUM_THREADS": "1"}
            self._process = subprocess.Popen(command, env=environment, pass_fds=[other.fileno()])
        self._lock = threading.Lock()
        atexit.register(self.close)

    def start(self, arguments: Sequence[str], environment: Mapping[str, str], output: int, given: int) -> Forked:
        """Start a command with all that it says in one file."""
        asked = json.dumps({"arguments": list(arguments), "environment": dict(environment)}).encode()
        here, there = socket.socketpair()
        with there, self._lock:
            socket.send_fds(self._control, [_size.pack(len(asked))], [there.fileno(), given, output])
            self._control.sendall(asked)
        return Forked(here)

    def close(self) -> None:
        """No more commands; those under way go on."""
        self._control.close()
        self._process.wait()


_parents: dict[int, Parent] = {}
_starting = threading.Lock()


def start(
    arguments: Sequence[str], environment: Mapping[str, str], output: IO[bytes]
) -> Forked | subprocess.Popen[bytes]:
    """Start a command as a fork; from nothing if its environment is about how an interpreter begins."""
    if any(environment.get(name) != os.environ.get(name) for name in {**os.environ, **environment} if _early(name)):
        return begin(arguments, environment, output)
    with open(os.devnull, "rb") as nothing:
        return on_terminal(arguments, environment, output.fileno(), nothing.fileno())


def on_terminal(arguments: Sequence[str], environment: Mapping[str, str], output: int, given: int) -> Forked:
    """Start a command as a fork that reads and writes at a terminal, or what else these descriptors are."""
    with _starting:
        if os.getpid() not in _parents:
            _parents[os.getpid()] = Parent()
    return _parents[os.getpid()].start(arguments, environment, output, given)


def _early(name: str) -> bool:
    return name.startswith(("PYTHON", "LC_", "LANG"))


def begin(arguments: Sequence[str], environment: Mapping[str, str], output: IO[bytes]) -> subprocess.Popen[bytes]:
    """Start a command from nothing."""
    return subprocess.Popen(
        [*COMMAND, *arguments],
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )


def _exactly(channel: socket.socket, size: int) -> bytes:
    found = b""
    while len(found) < size:
        block = channel.recv(size - len(found))
        if not block:
            raise EOFError("the process that starts the commands has ended")
        found += block
    return found


# --- in that process --------------------------------------------------------------------------------------------------


def _import_all() -> None:
    os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "__all__")
    for name in ("tranship.plans", "tranship.connectors", "tranship.orchestrator"):
        package = importlib.import_module(name)
        for module in pkgutil.walk_packages(package.__path__, f"{name}."):
            if not set(module.name.split(".")) & {*APART, "__main__"}:
                importlib.import_module(module.name)
    # The allocator of pyarrow has a thread, too, and takes care of forks; the program's own fork server has it as well.
    assert threading.active_count() == 1, "a process with threads must not fork"


def _serve(control: socket.socket) -> dict[str, Any] | None:
    """Fork for each request, and tell who asked when it has ended; returns in each fork, and at the end."""
    woken, wake = os.pipe()
    os.set_blocking(wake, False)
    os.set_blocking(woken, False)
    signal.set_wakeup_fd(wake)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for pytest, which goes on to end what it has started
    running: dict[int, socket.socket] = {}
    while True:
        ready = select.select([control, woken], [], [])[0]
        if woken in ready:
            os.read(woken, 4096)
            _reap(running)
        if control not in ready:
            continue
        try:
            head, descriptors = _head(control)
            asked = json.loads(_exactly(control, _size.unpack(head)[0]))
        except (EOFError, ConnectionError):
            return None
        channel = socket.socket(fileno=descriptors[0])
        pid = os.fork()
        if pid:
            channel.sendall(_number.pack(pid))
            running[pid] = channel
            for descriptor in descriptors[1:]:
                os.close(descriptor)
            continue
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        os.setsid()
        for place, descriptor in enumerate((*descriptors[1:], descriptors[2])):
            os.dup2(descriptor, place)
        for one in (control, channel, *running.values()):
            one.close()
        for descriptor in (woken, wake, *descriptors[1:]):
            os.close(descriptor)
        return dict(asked)


def _head(control: socket.socket) -> tuple[bytes, list[int]]:
    size = array.array("i", [0] * 3).itemsize * 3
    data, ancillary, _, _ = control.recvmsg(_size.size, socket.CMSG_LEN(size))
    if not data:
        raise EOFError
    found = array.array("i")
    for _, _, values in ancillary:
        found.frombytes(values)
    return data, list(found)


def _reap(running: dict[int, socket.socket]) -> None:
    while running:
        pid, status = os.waitpid(-1, os.WNOHANG)
        if not pid:
            return
        with running.pop(pid) as channel:
            try:
                channel.sendall(_number.pack(os.waitstatus_to_exitcode(status)))
            except OSError:
                continue  # who asked does not wait for it any more


def _become(asked: dict[str, Any]) -> None:
    """What the interpreter does before it runs a module, and then that."""
    os.environ.clear()
    os.environ.update(asked["environment"])
    sys.stdin = sys.__stdin__ = io.TextIOWrapper(io.FileIO(0, closefd=False), "utf-8")
    for name, number, errors in (("stdout", 1, "strict"), ("stderr", 2, "backslashreplace")):
        raw = io.BufferedWriter(io.FileIO(number, "w", closefd=False))
        stream = io.TextIOWrapper(raw, "utf-8", errors, line_buffering=number == 2 or os.isatty(number))
        setattr(sys, name, stream)
        setattr(sys, f"__{name}__", stream)
    _fork_the_fork_server()
    steady = os.environ.pop(STEADY, None)
    if steady is not None:
        importlib.import_module("tranship.orchestrator.phases.catch_up").STEADY_S = float(steady)
    sys.argv = ["tranship", *asked["arguments"]]
    runpy._run_module_as_main("tranship")  # type: ignore[attr-defined]  exactly what `-m tranship` does


def _fork_the_fork_server() -> None:
    """What a command starts to have workers (`processes.prepared`) is a fork, too, and imports nothing anew.

    It begins now, while this process has no threads, and waits until it is asked for its service, or the command ends.
    """
    here, there = socket.socketpair()
    pid = os.fork()
    if not pid:
        here.close()
        _serve_forks(there)
        os._exit(0)
    there.close()
    begin_new = util.spawnv_passfds

    def spawn(path: bytes, arguments: list[str], descriptors: list[int]) -> int:
        if "multiprocessing.forkserver" not in arguments[-1]:
            return begin_new(path, arguments, descriptors)
        util.spawnv_passfds = begin_new  # another one, after this one's end, begins from nothing
        with here:
            socket.send_fds(here, [b"begin"], descriptors)
        return pid

    util.spawnv_passfds = spawn


def _serve_forks(asked: socket.socket) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with asked:
        _, descriptors, _, _ = socket.recv_fds(asked, 5, 2)
    if descriptors:
        signal.signal(signal.SIGINT, signal.default_int_handler)  # which workers find as if nothing had been before
        with contextlib.suppress(SystemExit):
            forkserver.main(*descriptors, preload=[])


if __name__ == "__main__":
    _import_all()
    request = _serve(socket.socket(fileno=int(sys.argv[1])))
    if request is not None:
        _become(request)
