"""The tables that a running app shows, kept up to date beside it: no page waits for a BD-rate."""

import threading
import time
from pathlib import Path

from icmbench.leaderboard import derived
from icmbench.leaderboard.derived import Tables

PATIENCE = 2.0  # seconds between two looks at the folder


class Library:
    """The tables of one results folder. `tables` are whole at any time; `busy` while newer ones are made."""

    def __init__(self, results: Path) -> None:
        self.results = results
        self.tables: Tables = derived.build(results)
        self.problem = ""
        self._seen = derived.signature(results)
        self._looked = time.monotonic()
        self._lock = threading.Lock()
        self._worker: threading.Thread | None = None

    @property
    def busy(self) -> bool:
        """Whether newer tables are being made."""
        return self._worker is not None and self._worker.is_alive()

    def look(self) -> None:
        """Start making newer tables if the folder has changed; returns at once."""
        with self._lock:
            if self.busy or time.monotonic() - self._looked < PATIENCE:
                return
            self._looked = time.monotonic()
            if (now := derived.signature(self.results)) != self._seen:
                self._worker = threading.Thread(target=self._renew, args=(now,), daemon=True)
                self._worker.start()

    def _renew(self, now: str) -> None:
        try:
            self.tables = derived.build(self.results)
            self.problem = ""
        except Exception as error:  # the old tables stay, and pages say why
            self.problem = str(error)
        self._seen = now
