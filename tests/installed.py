"""The PostgreSQL that the machine has, if any: usually an older one than the sandbox's."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote

import psycopg
from tenacity import Retrying, stop_after_delay, wait_fixed

from tranship.orchestrator.sandbox import processes

OLDEST = 14


def executables() -> Path | None:
    """Where its `initdb` and `postgres` lie; None where there is none that tranship supports."""
    asked = shutil.which("pg_config")
    if asked is None:
        return None
    folder = Path(subprocess.check_output([asked, "--bindir"], text=True).strip())
    if not (folder / "initdb").exists():
        return None
    said = subprocess.check_output([folder / "postgres", "--version"], text=True)
    return folder if int(said.split()[2].partition(".")[0]) >= OLDEST else None


@contextmanager
def installed_postgresql(bin_folder: Path, folder: Path, *settings: str) -> Iterator[str]:
    """Run it with its data in a new folder, on a unix socket only; the URI of its database `postgres`. `settings`: each
    as `name=value`."""
    user = "postgres" if os.geteuid() == 0 else None  # it refuses to run as root
    folder.chmod(0o755)
    place = folder / "installed"
    place.mkdir()
    if user is not None:
        shutil.chown(place, user)
    make = [bin_folder / "initdb", "-D", place / "data", "-U", "postgres", "-A", "trust", "-E", "UTF8", "--no-sync"]
    subprocess.run(make, user=user, check=True, capture_output=True, cwd=place)
    uri = f"postgresql://postgres@/postgres?host={quote(str(place), safe='')}"
    given = [word for setting in settings for word in ("-c", setting)]
    server = processes.start(
        "PostgreSQL (installed)",
        [str(bin_folder / "postgres"), "-D", str(place / "data"), "-k", str(place), "-c", "listen_addresses=", *given],
        uri=uri,
        log=folder / "installed.log",
        stop_signal=signal.SIGINT,
        death_signal=signal.SIGINT,
        user=user,
    )
    try:
        _wait(uri, server)
        yield uri
    finally:
        server.stop()


def _wait(uri: str, server: processes.ServerProcess) -> None:
    for attempt in Retrying(stop=stop_after_delay(30), wait=wait_fixed(0.1), reraise=True):
        with attempt:
            server.check_alive()
            psycopg.connect(uri).close()
