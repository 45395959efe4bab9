"""The tables that a running app shows, kept up to date beside it: no page waits for a BD-rate."""

import threading
import time
from functools import cache
from pathlib import Path

from icmbench.leaderboard import derived
from icmbench.leaderboard.derived import Tables

PATIENCE = 5.0  # seconds between two looks at the folder


class LiveTables:
    """The tables of one results folder. `tables` are whole at any time; `busy` while newer ones are made.

    `signature`: of the folder that they were made of.
    """

    def __init__(self, results: Path) -> None:
        self.results = results
        self.busy = False
        self.problem = ""
        self.signature = derived.signature(results)  # before the tables: what comes while they are made is seen later
        self.tables: Tables = derived.build(results)
        self._looked = time.monotonic()
        self._lock = threading.Lock()
        self._worker: threading.Thread | None = None

    def look(self) -> None:
        """Make newer tables beside whatever goes on, if the folder has changed; returns at once."""
        with self._lock:
            if (self._worker and self._worker.is_alive()) or time.monotonic() - self._looked < PATIENCE:
                return
            self._looked = time.monotonic()
            self._worker = threading.Thread(target=self._renew, daemon=True)
            self._worker.start()

    def _renew(self) -> None:
        now = derived.signature(self.results)
        if now == self.signature:
            return
        self.busy = True
        try:
            self.tables = derived.build(self.results)
            self.problem = ""
        except Exception as error:  # the old tables stay, and pages say why
            self.problem = str(error)
        self.signature = now
        self.busy = False


@cache
def of(results: Path) -> LiveTables:
    """The tables of a folder, the same for all visitors."""
    return LiveTables(results)
