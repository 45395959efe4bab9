"""What takes longer than a page may: done beside the app, while the page says so and then shows the result."""

from collections.abc import Callable, Hashable
from concurrent.futures import Future
from typing import Any, TypeVar

import streamlit as st

from icmbench.base.errors import UserError
from icmbench.leaderboard.workshop import Workshop

LOOK = 1.0  # seconds between two looks at what is being done
Result = TypeVar("Result")


@st.cache_resource
def workshop(lane: str) -> Workshop:
    """Where this kind of work is done, for all visitors; numbers do not wait for pictures."""
    return Workshop()


def obtain(lane: str, key: Hashable, work: Callable[[], Result], what: str) -> Result | None:
    """The result, or None as long as it is being computed, and where that failed; the page says which."""
    job = workshop(lane).ask(key, work)
    if not job.done():
        _wait(job, what)
        return None
    if (problem := job.exception()) is None:
        return job.result()
    st.warning(f"{what} could not be made:")
    st.text(str(problem) if isinstance(problem, UserError) else f"{type(problem).__name__}: {problem}")
    if st.button("Try again", key=f"again-{what}"):
        workshop(lane).forget(key)
        st.rerun()
    return None


@st.fragment(run_every=LOOK)
def _wait(job: "Future[Any]", what: str) -> None:
    if job.done():
        st.rerun()
    st.info(f"{what}: not ready yet. The page shows the result as soon as it is there.", icon=":material/hourglass_top:")
