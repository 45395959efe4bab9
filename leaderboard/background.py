"""What takes longer than a page may: done beside the app, while the page says so and then shows the result."""

import threading
from collections.abc import Callable, Hashable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from typing import Any, TypeVar

import streamlit as st

from icmbench.base.errors import UserError

MOST_WAITING = 20
KEPT = {"tables": 8}  # finished jobs, by kind: tables are large
PATIENCE = 0.5  # seconds that who asks waits, so that what is quick needs no second look
LOOK = 1.0  # seconds between two looks at what is being done
Result = TypeVar("Result")


class Worker:
    """One thread and its jobs by key. Whoever asks for a key again gets the same job; the oldest finished ones are forgotten."""

    def __init__(self, kept: int = 200) -> None:
        self._kept = kept
        self._lock = threading.Lock()
        self._jobs: dict[Hashable, Future[Any]] = {}
        self._pool = ThreadPoolExecutor(1, "leaderboard")

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
        for key in done[: max(0, len(self._jobs) - self._kept)]:
            del self._jobs[key]


def _refused() -> Future[Any]:
    job: Future[Any] = Future()
    job.set_exception(UserError("too much is being computed for others at the moment."))
    return job


@st.cache_resource
def worker(kind: str) -> Worker:
    """Who does this kind of work, for all visitors; numbers do not wait for images."""
    return Worker(KEPT.get(kind, 200))


def obtain(kind: str, key: Hashable, work: Callable[[], Result], what: str) -> Result | None:
    """The result, or None as long as it is being computed, and where that failed; the page says which."""
    job = worker(kind).ask(key, work)
    if not job.done():
        _wait(job, what)
        return None
    if (problem := job.exception()) is None:
        return job.result()
    st.warning(f"{what} could not be made:")
    st.text(str(problem) if isinstance(problem, UserError) else f"{type(problem).__name__}: {problem}")
    if st.button("Try again", key=f"again-{what}"):
        worker(kind).forget(key)
        st.rerun()
    return None


@st.fragment(run_every=LOOK)
def _wait(job: "Future[Any]", what: str) -> None:
    if job.done():
        st.rerun()
    st.info(f"{what}: not ready yet. The page shows the result as soon as it is there.", icon=":material/hourglass_top:")
