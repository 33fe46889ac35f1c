"""The mapper's laws over many generated documents: `python -m tests.fidelity --documents 200000 --seed N`.

What the unit tests try on a few documents is tried here on as many as one has time for:

- *law*: well formed documents, from those that fit the plan to those in which half of the values do not, come back byte
  for byte, and every column holds what an independent reader of BSON says (`tests/unit/mongodb/oracle.py`);
- *rewritten*: of rows that SQL has changed, documents come back as they were but for what was touched, which is what
  the row says (`tests/unit/mongodb/test_rewritten.py`);
- *broken*: documents with flipped bits, lengths that lie, missing ends become rows that come back, or quarantine;
- *keys*: bytes are refused as a key, or are the key of the value that they stand for.

A failure names the seed, which replays it, and the document.
"""

from __future__ import annotations

import argparse
import resource
import secrets
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from itertools import repeat
from multiprocessing import get_context
from random import Random

from tests.residues import residues
from tests.unit.mongodb import mutations, oracle
from tests.unit.mongodb.random_bson import document
from tests.unit.mongodb.test_fuzz import ALL, check, check_key
from tests.unit.mongodb.test_mapper_law import MAPPERS, SHAPE, STREAMS
from tests.unit.mongodb.test_rewritten import judge, repeated, touch
from tranship.connectors.mongodb import rows
from tranship.connectors.mongodb.projection import key_of

BATCH = 500
OFF_SHARES = (0.0, 0.02, 0.1, 0.5)
BROKEN_SHARE = 4
"""One broken document, one broken key and one changed row for so many whole ones."""

SLOW_S, MOST_MIB = 30.0, 1024
"""No batch takes so long or so much memory, on any machine: something hangs, or believes a length that lies."""


class LawBrokenError(Exception):
    """What was found, for people."""


@dataclass(frozen=True)
class Found:
    """What a batch came to: residues among the whole documents, and how many of the broken ones had a row."""

    residues: int
    held: int
    seconds: float


def one_batch(seed: int, number: int, size: int) -> Found:
    """All laws on so many documents; which ones, seed and number say."""
    random = Random(f"{seed}/{number}")
    began = time.monotonic()
    name = list(MAPPERS)[number % len(MAPPERS)]
    residues = law(random, name, size)
    rewritten(random, ("residue", "reversed")[number % 2], size // BROKEN_SHARE)
    held = broken(random, size // BROKEN_SHARE)
    return Found(residues, held, time.monotonic() - began)


def law(random: Random, name: str, size: int) -> int:
    """Whole documents: the number of values that were residue."""
    raws = [document(random, SHAPE, random.choice(OFF_SHARES)) for _ in range(size)]
    mapper, stream = MAPPERS[name], STREAMS[name]
    batch = mapper.batch(raws)
    back = mapper.documents(batch.rows)
    if batch.quarantined or back != raws:
        different = [raw.hex() for raw, again in zip(raws, back, strict=False) if raw != again]
        reasons = [(entry.path, entry.reason) for entry in batch.quarantined]
        raise LawBrokenError(f"stream {name}: quarantined {reasons}, changed {different[:3]}")
    for raw, row in zip(raws, rows.from_batch(batch.rows), strict=True):
        found, expected = oracle.found(stream, row), oracle.expected(stream, raw)
        if found != expected:
            places = [place for place, pair in enumerate(zip(found, expected, strict=True)) if pair[0] != pair[1]]
            raise LawBrokenError(f"stream {name}: columns {places} are not those of {raw.hex()}")
    return residues(batch).total()


def rewritten(random: Random, name: str, size: int) -> None:
    """Documents of rows of which some columns were changed."""
    for _ in range(size):
        raw = repeated(random, document(random, SHAPE, random.choice(OFF_SHARES)))
        row = MAPPERS[name].project(raw)
        touched = touch(random, row)
        try:
            judge(raw, MAPPERS[name].unproject(row), touched)
        except Exception as error:
            raise LawBrokenError(f"stream {name}: {raw.hex()} touched at {touched}") from error


def broken(random: Random, size: int) -> int:
    """Broken documents and keys: the number of documents that are whole all the same."""
    held = 0
    for number in range(size):
        raw = mutations.garbage(random) if number % 10 == 0 else mutations.mutated(random, SHAPE)
        key = bytearray(key_of(raw) + b"\0")
        random.choice(mutations.MUTATIONS)(random, key)
        try:
            held += check(ALL[number % len(ALL)], raw)
            check_key(bytes(key))
        except Exception as error:
            raise LawBrokenError(f"{type(error).__name__}: {error}; document {raw.hex()}, key {key.hex()}") from error
    return held


def main() -> int:
    """Try as many as asked for; 1 when a law is broken."""
    parser = argparse.ArgumentParser(prog="fidelity")
    parser.add_argument("--documents", type=int, default=200_000)
    parser.add_argument("--seed", type=int, default=secrets.randbits(32))
    given = parser.parse_args()
    sys.stdout.write(f"seed {given.seed}\n")
    sys.stdout.flush()
    sizes = [min(BATCH, given.documents - done) for done in range(0, given.documents, BATCH)]
    with ProcessPoolExecutor(mp_context=get_context("spawn")) as pool:
        try:
            found = list(pool.map(one_batch, repeat(given.seed), range(len(sizes)), sizes))
        except LawBrokenError as problem:
            sys.stdout.write(f"{problem}\n")
            pool.shutdown(cancel_futures=True)
            return 1
    residues, held = sum(one.residues for one in found), sum(one.held for one in found)
    tried, slowest = sum(size // BROKEN_SHARE for size in sizes), max(one.seconds for one in found)
    sys.stdout.write(f"{given.documents} documents came back byte for byte; {residues} values were residue\n")
    sys.stdout.write(f"{tried} documents of changed rows were what these say, and all else as it was\n")
    sys.stdout.write(f"{tried} broken documents and keys: {held} documents had a row, the others were quarantined\n")
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss // 1024
    sys.stdout.write(f"at most {slowest:.1f} s for {BATCH} documents, {peak} MiB of memory\n")
    return 0 if slowest < SLOW_S and peak < MOST_MIB else 1


if __name__ == "__main__":
    sys.exit(main())
