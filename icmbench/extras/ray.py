"""Cells on a Ray cluster: each is a task with its own resources, tried again if its worker or its node dies.

Every machine has icmbench installed and sees the folders of results and runs under the same paths. If a node dies, its
trainings continue from their checkpoints on another one.
"""

import os
import socket
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from typing import Any

from icmbench.base.errors import UserError
from icmbench.experiment.folders import Device, Share
from icmbench.running.progress import Event
from icmbench.running.workers import report_to

RETRIES = 20  # of a cell whose worker or node dies; a cell with an error is not tried again


class RayPool:
    """A pool (see `icmbench.running.workers`) of the tasks of the Ray cluster at `address` (None: a new one on this machine).

    `pack`: cells at once on each GPU; None: one at first. Raises UserError if Ray or the cluster cannot be reached.
    """

    def __init__(self, device: Device, pack: int | None, address: str | None) -> None:
        self.device, self.address, self.ray = device, address, _ray()
        _require_reachable(address)
        try:
            self.ray.init(address=address, log_to_driver=False, include_dashboard=False, logging_level="ERROR")
        except (ConnectionError, RuntimeError, ValueError, OSError) as error:
            reason = str(error).rstrip(".")
            raise UserError(f"cannot join the Ray cluster {address or 'on this machine'}: {reason}.") from error
        if reason := self._unfit(pack):
            self.ray.shutdown()
            raise UserError(reason)
        from ray.util.queue import Queue
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        here = NodeAffinitySchedulingStrategy(self.ray.get_runtime_context().get_node_id(), soft=False)
        self.events = Queue(actor_options={"num_cpus": 0, "scheduling_strategy": here})
        self.pack(pack or 1)

    def _unfit(self, pack: int | None) -> str:
        """Why the cluster cannot do the job; "" if it can."""
        if self._on_gpu and not self.ray.cluster_resources().get("GPU"):
            return f"the Ray cluster {self.address or 'on this machine'} has no GPU."
        if not self._on_gpu and (pack or 1) > 1:
            return "on a cluster's processors one cell is computed per core: omit --pack."
        return ""

    @property
    def _on_gpu(self) -> bool:
        return self.device.accelerator == "cuda"

    def pack(self, cells: int) -> None:
        """Compute that many cells at once on each GPU from now on."""
        self.share = Share(cores=1, packed=cells)

    @property
    def workers(self) -> int:
        """The cells that the cluster holds at once; nodes join and leave."""
        return self.share.packed * max(1, int(self.ray.cluster_resources().get("GPU" if self._on_gpu else "CPU", 1)))

    def submit(self, function: Callable[..., Any], *arguments: Any) -> "Future[Any]":
        """Call a function on some node."""
        gpus = self.device.count / self.share.packed if self._on_gpu else 0
        task = self.ray.remote(_on_node).options(
            num_cpus=self.share.cores, num_gpus=gpus, max_retries=RETRIES, retry_exceptions=False
        )
        named = {name: value for name, value in os.environ.items() if name.startswith("ICMBENCH_")}
        future: Future[Any] = task.remote(named, self.events, self.share.cores, function, *arguments).future()
        return future

    def drain(self) -> Iterator[Event]:
        """The events that the cells have reported since the last call."""
        if waiting := self.events.qsize():
            yield from self.events.get_nowait_batch(waiting)

    def close(self) -> None:
        """Leave the cluster and cancel the running cells."""
        self.events.shutdown(force=True)
        self.ray.shutdown()


def _ray() -> Any:
    try:
        import ray
    except ImportError as error:
        raise UserError("the engine ray needs the package ray: install icmbench with the extra 'ray'.") from error
    return ray


def _require_reachable(address: str | None) -> None:
    """Raises UserError if nothing answers; Ray itself would retry for many minutes."""
    host, colon, port = (address or "").rpartition(":")
    if not (host and colon and port.isdecimal()) or "://" in host:
        return
    try:
        socket.create_connection((host, int(port)), timeout=10).close()
    except OSError as error:
        raise UserError(f"no Ray cluster answers at {address}: {error.strerror or error}.") from error


def _on_node(environment: dict[str, str], events: Any, threads: int, function: Callable[..., Any], *arguments: Any) -> Any:
    """In a worker of the cluster: let `function` report to the driver and use the driver's data folders."""
    os.environ.update(environment)
    report_to(events, threads)
    return function(*arguments)
