"""The training step of the paper-scale protocol on a GPU, in bf16 as a protocol may ask for, beside the plain float32 loop.

The same mathematics: cheng2020-attn, crops of 256×256, Faster R-CNN R50-FPN, with random weights on made-up pictures, so that
no data is needed. Without a GPU the sizes are small, and only show that the benchmark works.
"""

import time
from itertools import pairwise
from math import inf
from pathlib import Path

import numpy as np
import pytest
import torch
from bare import BareLoop
from beside import machine, spread
from lightning_fabric import Fabric
from pytest_benchmark.fixture import BenchmarkFixture
from test_paper_protocols import coco, shortened

from icmbench.experiment.build import build_method, load_task
from icmbench.experiment.cell import Cell
from icmbench.experiment.compute import training_batches
from icmbench.experiment.devices import torch_device
from icmbench.experiment.folders import Device, Share
from icmbench.experiment.train import Batches, train
from icmbench.plugins.find import Plugins
from icmbench.running.runner import bind
from icmbench.running.workers import machine_cores

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
SIZES = {"training.crop": 256, "training.batch_size": 8, "training.steps": 60} if DEVICE == "cuda" else {"training.steps": 4}
WARM_UP = 10 if DEVICE == "cuda" else 1


def batches_of(cell: Cell) -> Batches:
    return training_batches(cell, Plugins(), Device(DEVICE), Share(cores=machine_cores()))


def of_harness(cell: Cell, checkpoint: Path) -> tuple[list[float], list[float]]:
    """Seconds of the steps in bf16, and their losses. A step ends when its loss is known, so a GPU is waited for."""
    ends, losses = list[float](), list[float]()

    def log(step: int, terms: dict[str, float]) -> None:
        ends.append(time.perf_counter())
        losses.append(terms["loss"])

    fabric = Fabric(accelerator=DEVICE, devices=1, precision="bf16-mixed")
    load_task(cell.protocol, Plugins(), Device(DEVICE)).to(fabric.device)
    method = build_method(cell, Plugins(), Device(DEVICE))
    train(method, batches_of(cell), fabric, checkpoint, "", log, log_every=1, save_seconds=inf)
    return [end - start for start, end in pairwise(ends)], losses


def of_bare_loop(cell: Cell) -> tuple[list[float], list[float]]:
    """The same of the plain loop, whose batches are there before the clock runs."""
    batches = [batches_of(cell)[step] for step in range(cell.protocol.training.steps)]
    load_task(cell.protocol, Plugins(), Device(DEVICE)).to(torch_device(Device(DEVICE)))
    bare, ends = BareLoop(cell, Plugins(), Device(DEVICE), torch.contiguous_format), list[float]()
    for batch in batches:
        bare.step(batch)
        float(bare.losses[-1])
        ends.append(time.perf_counter())
    return [end - start for start, end in pairwise(ends)], [float(loss) for loss in bare.losses]


def test_the_step_of_the_paper_in_bf16_beside_a_plain_float32_loop(
    benchmark: BenchmarkFixture, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ICMBENCH_DATA", str(tmp_path))
    coco(tmp_path)
    protocol = bind(shortened("coco2017-fasterrcnn-v1", tmp_path, SIZES), Plugins())
    cell = Cell(protocol, "task_loss", (), 0, 0)
    plain, exact = of_bare_loop(cell)
    ours, half = benchmark.pedantic(of_harness, (cell, tmp_path / "checkpoint.safetensors"), rounds=1)
    off = np.abs(np.array(half) / np.array(exact) - 1)
    benchmark.extra_info |= {
        "device": torch.cuda.get_device_name() if DEVICE == "cuda" else "cpu",
        "plain loop over harness": round(float(np.median(plain[WARM_UP:]) / np.median(ours[WARM_UP:])), 2),
        "harness, ms": spread(np.array(ours[WARM_UP:]) * 1000, 1),
        "plain loop, ms": spread(np.array(plain[WARM_UP:]) * 1000, 1),
        "losses differ by, %": spread(100 * off, 2),
    } | machine()
