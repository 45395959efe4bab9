"""Cells in this process, one after the other, so that a debugger can be used."""

from collections.abc import Callable, Iterator
from concurrent.futures import Future
from typing import Any

import torch

from icmbench.experiment.folders import Device, Share
from icmbench.running.progress import Event
from icmbench.running.workers import machine_cores, report_to


class InlinePool:
    """A pool (see `icmbench.running.workers`) without workers: each cell is computed when it is submitted."""

    workers = 1

    def __init__(self, device: Device) -> None:
        self.share = Share(cores=machine_cores())
        self._reported: list[Event] = []
        self._threads = torch.get_num_threads()
        report_to(self, 1 if device.accelerator == "cpu" else self._threads)

    def put(self, event: Event) -> None:
        """Keep an event for `drain`; called by `send`."""
        self._reported.append(event)

    def pack(self, cells: int) -> None:
        """Nothing changes: one cell is computed at a time."""

    def submit(self, function: Callable[..., Any], *arguments: Any) -> "Future[Any]":
        """Call a function at once, in this process."""
        future: Future[Any] = Future()
        try:
            future.set_result(function(*arguments))
        except Exception as error:
            future.set_exception(error)
        return future

    def drain(self) -> Iterator[Event]:
        """The events that the cells have reported since the last call."""
        reported, self._reported = self._reported, []
        yield from reported

    def close(self) -> None:
        """Restore the process's number of threads."""
        torch.set_num_threads(self._threads)
