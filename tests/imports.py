"""What other processes import: every process that is started under `watched` writes it down, workers of workers too."""

from __future__ import annotations

import os
from pathlib import Path

_HOOK = """
import os, sys
_kind = "worker" if any("forkserver" in word for word in sys.orig_argv) else "main"
_file = open(os.path.join({folder!r}, f"{{_kind}}-{{os.getpid()}}.modules"), "a", buffering=1)
sys.addaudithook(lambda event, data: _file.write(data[0] + "\\n") if event == "import" and data[0] else None)
"""


def watched(folder: Path) -> dict[str, str]:
    """The environment in which a process writes down what it imports, into the folder."""
    (folder / "sitecustomize.py").write_text(_HOOK.format(folder=str(folder)), encoding="utf-8")
    before = os.environ.get("PYTHONPATH")
    return {"PYTHONPATH": f"{folder}{os.pathsep}{before}" if before else str(folder)}


def imported(folder: Path, kind: str = "main", pid: int | None = None) -> list[set[str]]:
    """What each process of a kind has imported so far, or the one of this number."""
    found = sorted(folder.glob(f"{kind}-{pid or '*'}.modules"))
    return [set(one.read_text(encoding="utf-8").split()) for one in found]


def packages(modules: set[str]) -> set[str]:
    """Their top packages."""
    return {name.partition(".")[0] for name in modules}
