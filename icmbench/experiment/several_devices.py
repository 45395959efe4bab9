"""One training on several devices, for `icmbench run --devices N`: a process for each."""

import multiprocessing
import threading
from collections.abc import Callable
from functools import partial
from multiprocessing.queues import Queue
from typing import Any

from lightning_fabric import Fabric
from lightning_fabric.strategies import DDPStrategy

from icmbench.experiment.folders import Device
from icmbench.experiment.report import Report

TrainOn = Callable[[Report, Fabric], None]


def launch(train_on: TrainOn, device: Device, precision: str, report: Report) -> None:
    """Call `train_on` in a process for each device. What these processes report is reported here."""
    strategy = DDPStrategy(start_method="spawn", find_unused_parameters=True)
    fabric = Fabric(accelerator=device.accelerator, devices=device.count, precision=precision, strategy=strategy)
    reports: Queue[Any] = multiprocessing.get_context("spawn").Queue()

    def relay() -> None:
        while arguments := reports.get():
            report(*arguments)

    thread = threading.Thread(target=relay, daemon=True)
    thread.start()
    try:
        fabric.launch(partial(_train_here, train_on, reports))
    finally:
        reports.put(None)
        thread.join(timeout=5)  # a process that was killed may have left the queue locked


def _train_here(train_on: TrainOn, reports: "Queue[Any]", fabric: Fabric) -> None:
    train_on(lambda *arguments: reports.put(arguments), fabric)
