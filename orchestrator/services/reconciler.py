"""Reconciler: while a run waits for its cutover, what is applied meanwhile is compared beforehand, and so is what is on
record as different: repaired rows leave the record.

So the comparison of touched keys, for which applications stand still, costs what changed in the last seconds, not what
changed in all the time that people took to approve.
"""

from __future__ import annotations

import threading
from contextlib import closing
from itertools import chain

from tranship.connectors.errors import AmbiguousCommitError, TransientError
from tranship.orchestrator.dataplane.touched import Sides
from tranship.orchestrator.services import Setting

PAUSE_S = 10.0
"""Between two looks: a key that is written to all the time is read so often, and no more."""


def body(setting: Setting, stop: threading.Event) -> None:
    """The reconciler service."""
    while not stop.wait(PAUSE_S):
        setting.patience.call(lambda: _look(setting, stop), stop)


def _look(setting: Setting, stop: threading.Event) -> None:
    connect = setting.connect
    with (
        closing(connect.source()) as source,
        closing(connect.target(setting.scope)) as target,
        closing(connect.progress()) as progress,
    ):
        sides = Sides(source, target, progress, setting.scope)
        try:
            for stream in setting.streams:
                for _ in chain(sides.forget_equal(stream), sides.settle_recorded(stream)):
                    if stop.is_set():
                        return
        except AmbiguousCommitError as error:
            # Keys that are forgotten twice, or late, were equal all the same.
            raise TransientError(str(error)) from error
