"""Work that pages wait for: done one thing after the other beside the app, so that no page stands still."""

import threading
from collections.abc import Callable, Hashable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from typing import Any, TypeVar

from icmbench.base.errors import UserError

MOST_WAITING = 20
KEPT = 200
PATIENCE = 0.5  # seconds that who asks waits, so that what is quick needs no second look
Result = TypeVar("Result")


class Workshop:
    """One worker and its jobs by key. Whoever asks for a key again gets the same job; the oldest finished ones are forgotten."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._jobs: dict[Hashable, Future[Any]] = {}
        self._pool = ThreadPoolExecutor(1, "workshop")

    def ask(self, key: Hashable, work: Callable[[], Result]) -> "Future[Result]":
        """The job of this key, started if there is none. One that is refused, because too many wait, has failed."""
        with self._lock:
            if key not in self._jobs:
                if self._waiting() >= MOST_WAITING:
                    return _refused()
                self._forget_old()
                self._jobs[key] = self._pool.submit(work)
            job = self._jobs[key]
        wait([job], PATIENCE)
        return job

    def knows(self, key: Hashable) -> bool:
        """Whether somebody has asked for this key."""
        return key in self._jobs

    def forget(self, key: Hashable) -> None:
        """Let the next who asks start it anew."""
        with self._lock:
            self._jobs.pop(key, None)

    def _waiting(self) -> int:
        return sum(not job.done() for job in self._jobs.values())

    def _forget_old(self) -> None:
        done = [key for key, job in self._jobs.items() if job.done()]
        for key in done[: max(0, len(self._jobs) - KEPT)]:
            del self._jobs[key]


def _refused() -> Future[Any]:
    job: Future[Any] = Future()
    job.set_exception(UserError("too much is being computed for others at the moment."))
    return job
