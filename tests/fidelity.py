"""The projection law over many generated documents: `python -m tests.fidelity --documents 200000 --seed N`.

What the unit tests try on a few documents is tried here on as many as one has time for. The documents range from those
that fit the plan to those in which half of the values do not. A failure names the seed, which replays it.
"""

from __future__ import annotations

import argparse
import secrets
import sys
from itertools import cycle
from random import Random

from tests.unit.mongodb.random_bson import document
from tests.unit.mongodb.test_mapper_law import MAPPERS, SHAPE

BATCH = 500
OFF_SHARES = (0.0, 0.02, 0.1, 0.5)


def main() -> int:
    """Project and rebuild the documents; 1 when one comes back other than it was or is quarantined."""
    parser = argparse.ArgumentParser(prog="fidelity")
    parser.add_argument("--documents", type=int, default=200_000)
    parser.add_argument("--seed", type=int, default=secrets.randbits(32))
    arguments = parser.parse_args()
    sys.stdout.write(f"seed {arguments.seed}\n")
    random = Random(arguments.seed)
    mappers = cycle(MAPPERS.items())
    done = residues = 0
    while done < arguments.documents:
        size = min(BATCH, arguments.documents - done)
        raws = [document(random, SHAPE, random.choice(OFF_SHARES)) for _ in range(size)]
        name, mapper = next(mappers)
        batch = mapper.batch(raws)
        back = mapper.documents(batch.rows)
        if batch.quarantined or back != raws:
            different = [raw.hex() for raw, again in zip(raws, back, strict=False) if raw != again]
            reasons = [(entry.path, entry.reason) for entry in batch.quarantined]
            sys.stdout.write(f"stream {name}: quarantined {reasons}, changed {different[:3]}\n")
            return 1
        done += size
        residues += batch.residues.total()
    sys.stdout.write(f"{done} documents came back byte for byte; {residues} values were residue\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
