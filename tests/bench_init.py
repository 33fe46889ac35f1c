"""`tranship init --full` against a scan decoded by the Python driver in the same run; its counts against the server's.

Prints, as JSON, seconds and CPU of both (medians of three), their ratio, the peak memory of all processes of `init`,
and whether each field's types are as often as the server's own aggregation says. Exit code 1 if a count differs. Not a
test: no bar for speed, machines differ.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from statistics import median
from typing import Any

import pymongo

from tranship.orchestrator.demo.shop import SHARES, Shop
from tranship.orchestrator.sandbox import sandbox
from tranship.orchestrator.sandbox.databases import SourceDatabase, fresh_source

SEED = 1
BATCH = 1_000
POLL_S = 0.05
BSON_NAMES = {
    "int": "int32",
    "long": "int64",
    "decimal": "decimal128",
    "objectId": "objectid",
    "binData": "binary",
    "maxKey": "maxKey",
    "minKey": "minKey",
}


def seed(source: SourceDatabase, documents: int) -> None:
    """Fill the source with a shop, without its unique indexes: to build them over half a million documents takes the
    embedded server many minutes."""
    shop = Shop(SEED, documents).on(source.uri)
    with pymongo.MongoClient[dict[str, Any]](source.uri) as client:
        for name in SHARES:
            left = shop.collection(name)
            while batch := list(islice(left, BATCH)):
                client[source.name][name].insert_many(batch)


def scan(source: SourceDatabase) -> tuple[float, float]:
    """Seconds and CPU seconds of this process for reading and decoding every document."""
    began, cpu = time.monotonic(), time.process_time()
    with pymongo.MongoClient[dict[str, Any]](source.uri, datetime_conversion="DATETIME_AUTO") as client:
        for name in SHARES:
            for _ in client[source.name][name].find({}):
                pass
    return time.monotonic() - began, time.process_time() - cpu


def profile(source: SourceDatabase, plan: Path) -> tuple[float, float, float]:
    """Seconds, CPU seconds and the highest memory (MB, shared pages by their part) of `init --full`."""
    command = [sys.executable, "-P", "-m", "tranship", "init", "--full", "--database", source.name, "-o", str(plan)]
    began, before = time.monotonic(), os.times()
    child = subprocess.Popen(command, env={**os.environ, "SOURCE_URI": source.uri}, stderr=subprocess.DEVNULL)
    highest = 0.0
    while child.poll() is None:
        highest = max(highest, sum(map(memory, family(child.pid))))
        time.sleep(POLL_S)
    assert child.returncode == 0, child.returncode
    after = os.times()
    cpu = after.children_user + after.children_system - before.children_user - before.children_system
    return time.monotonic() - began, cpu, highest


def family(pid: int) -> Iterator[int]:
    """A process and all below it."""
    yield pid
    try:
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="ascii").split()
    except OSError:
        return
    for child in children:
        yield from family(int(child))


def memory(pid: int) -> float:
    """MB of a process, by /proc."""
    try:
        text = Path(f"/proc/{pid}/smaps_rollup").read_text(encoding="ascii")
    except OSError:
        return 0.0
    return next(int(line.split()[1]) / 1000 for line in text.splitlines() if line.startswith("Pss:"))


def differences(source: SourceDatabase, figures: dict[str, Any]) -> list[str]:
    """Root fields whose types the profile counts otherwise than the server."""
    found = []
    with pymongo.MongoClient[dict[str, Any]](source.uri) as client:
        for name in SHARES:
            paths = [p for p in figures["collections"][name]["paths"] if len(p["path"]) == 1]
            types = {p["path"][0]: {"$type": f"${p['path'][0]}"} for p in paths}
            counted: dict[str, Counter[str]] = {field: Counter() for field in types}
            for group in client[source.name][name].aggregate([{"$group": {"_id": types, "n": {"$sum": 1}}}]):
                for field, kind in group["_id"].items():
                    counted[field][BSON_NAMES.get(kind, kind)] += group["n"]
            found += [f"{name}.{p['path'][0]}" for p in paths if not agree(p, counted[p["path"][0]])]
    return found


def agree(figures: dict[str, Any], counted: Counter[str]) -> bool:
    """Whether both say the same; subtypes of binaries are one type to the server."""
    mine: Counter[str] = Counter()
    for kind, values in figures["types"].items():
        mine["binary" if kind.startswith(("binary", "uuid")) else kind] += values["count"]
    mine["null"] = figures["null"]
    mine["object"] = figures.get("documents", {}).get("count", 0)
    mine["array"] = figures.get("arrays", {}).get("count", 0)
    return +mine == Counter({kind: n for kind, n in counted.items() if kind not in ("missing", "undefined")})


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--documents", type=int, default=1_000_000)
    documents = parser.parse_args().documents
    with (
        tempfile.TemporaryDirectory() as folder,
        sandbox(Path(folder) / "servers") as servers,
        fresh_source(servers) as source,
    ):
        seed(source, documents)
        scans = [scan(source) for _ in range(3)]
        profiles = [profile(source, Path(folder) / f"{n}.yaml") for n in range(3)]
        figures = json.loads((Path(folder) / "0.profile.json").read_text(encoding="utf-8"))
        wrong = differences(source, figures)
    result = {
        "documents": documents,
        "scan_s": round(median(s for s, _ in scans), 2),
        "scan_cpu_s": round(median(cpu for _, cpu in scans), 2),
        "init_s": round(median(s for s, _, _ in profiles), 2),
        "init_cpu_s": round(median(cpu for _, cpu, _ in profiles), 2),
        "ratio": round(median(s for s, _, _ in profiles) / median(s for s, _ in scans), 2),
        "peak_mb": round(max(highest for _, _, highest in profiles)),
        "counted_otherwise": wrong,
    }
    print(json.dumps(result, indent=2))  # noqa: T201
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
