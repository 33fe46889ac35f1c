"""Heartbeat: renews the lease from a thread of its own, so that no long statement of a phase can lose it, and says with
it how far the work is, for whoever asks from another process.

Losing the lease is not an error to be retried: somebody else may act already. What makes that safe is the epoch, not
this thread; it only makes us stop early.
"""

from __future__ import annotations

import threading

import structlog

from tranship.connectors.errors import ConnectorError
from tranship.orchestrator.dataplane.work import Work
from tranship.orchestrator.journal.control import Control, LeaseLostError

log = structlog.get_logger(__name__)

BEATS_PER_LEASE = 4


class Heartbeat:
    """Renews a lease until closed; `check` raises `LeaseLostError` once it is lost."""

    def __init__(self, control: Control, run: str, ttl_s: float, work: Work) -> None:
        self._control = control
        self._run = run
        self._ttl_s = ttl_s
        self._work = work
        self._stop = threading.Event()
        self._lost: LeaseLostError | None = None
        self._thread = threading.Thread(target=self._beat, name="heartbeat", daemon=True)
        self._thread.start()

    def _beat(self) -> None:
        while not self._stop.wait(self._ttl_s / BEATS_PER_LEASE):
            try:
                report = self._work.report()
                self._control.renew(self._run, self._ttl_s, report.as_dict() if report else None)
            except LeaseLostError as error:
                self._lost = error
                return
            except ConnectorError as error:
                # Whether the lease is lost is known only by the database that keeps it: a lease that ended while that
                # was away, and that nobody took, is renewed. Work that needs the database waits for it, too.
                log.warning("the lease could not be renewed", error=str(error))

    def check(self) -> None:
        """Raise when the lease is lost."""
        if self._lost is not None:
            raise self._lost

    def close(self) -> None:
        """Stop renewing."""
        self._stop.set()
        self._thread.join()
