"""A process that stands still between its router's answer and its write: `python -m tests.cutover.halted`, told what it
needs by a line of JSON on stdin. Continued, it writes what it meant to, and says how that ended: a line of JSON.
"""

from __future__ import annotations

import json
import os
import signal
import sys

import psycopg
import pymongo

from tests.cutover.writers import Setting
from tranship.router import Router


def main() -> None:
    """Stop, and then insert one document, by the side that was chosen before."""
    setting = Setting(**json.loads(sys.stdin.readline()))
    with (
        pymongo.MongoClient[dict[str, object]](setting.source, w="majority") as client,
        Router(
            setting.plan,
            source=client[setting.database],
            target=lambda: psycopg.connect(setting.target, connect_timeout=5),
            initial="source",
        ) as router,
    ):
        written, said = False, "acknowledged"
        try:
            with router.writing() as side:
                assert side == "source"
                os.kill(os.getpid(), signal.SIGSTOP)
                document = {"_id": f"halted{setting.first}", "thread": -1, "version": 1}
                written = client[setting.database][setting.collection].insert_one(document).acknowledged
        except Exception as error:  # noqa: BLE001  whatever it is, the application sees it
            said = type(error).__name__
    sys.stdout.write(json.dumps({"written": written, "said": said}) + "\n")


if __name__ == "__main__":
    main()
