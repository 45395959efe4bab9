"""`icmbench profile`: where the time of a training step goes, compared with the speed of the device."""

import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from itertools import pairwise
from math import inf
from pathlib import Path
from typing import Any

import torch
from lightning_fabric import Fabric
from rich.console import Console
from torch.profiler import ProfilerActivity, profile, schedule
from torch.utils.flop_counter import FlopCounterMode

from icmbench.api.method import TrainedMethod
from icmbench.base.errors import UserError
from icmbench.base.files import replacing, require_writable
from icmbench.experiment.build import build_method
from icmbench.experiment.cell import Cell
from icmbench.experiment.compute import training_batches
from icmbench.experiment.devices import device_name, torch_device
from icmbench.experiment.folders import Device, Share
from icmbench.experiment.train import BACKWARD, BATCH, CHECK, FORWARD, UPDATE, train
from icmbench.plugins.find import Plugins
from icmbench.running.job import Job
from icmbench.running.runner import Runner, plan
from icmbench.schema.protocol import Protocol, override
from icmbench.show import sheet

PARTS = (BATCH, FORWARD, BACKWARD, CHECK, UPDATE)
WARM_UP = 3  # steps before the measured ones
OPERATORS = 12
MATRIX = {"cpu": 2048, "cuda": 8192}  # rows and columns of the matrix product that measures the device's speed


@dataclass(frozen=True)
class Span:
    """Seconds per step on the processor and on the GPU (0 without one), and calls per step."""

    name: str
    host: float
    device: float
    calls: float


@dataclass(frozen=True)
class Profile:
    """Where a training's time went. `step`: median seconds of a step without tracing.

    `operations`: floating-point operations of a step (forward and backward, as torch counts them: convolutions, matrix
    products, attention). `limit`: such operations a second in a large matrix product on the same device and threads, in the
    precision of the training.
    """

    device: str
    step: float
    parts: list[Span]
    operators: list[Span]
    operations: int
    limit: float


def measure(cell: Cell, plugins: Plugins, device: Device, steps: int, trace: Path) -> Profile:
    """Train a cell for some steps, as `icmbench run` does, and write the trace of them, for chrome://tracing or Perfetto.

    Nothing else is kept. Raises UserError for a method that is not trained.
    """
    torch.set_num_threads(1 if device.accelerator == "cpu" else torch.get_num_threads())
    short = replace(cell, protocol=override(cell.protocol, {"training.steps": WARM_UP + steps}))
    ends: list[float] = []
    _train(short, plugins, device, lambda: ends.append(time.perf_counter()))
    seconds = [end - start for start, end in pairwise(ends[WARM_UP - 1 :])]
    activities = [ProfilerActivity.CPU] + [ProfilerActivity.CUDA] * (device.accelerator == "cuda")
    traced = schedule(wait=WARM_UP - 1, warmup=1, active=steps, repeat=1)
    with profile(activities=activities, schedule=traced, on_trace_ready=partial(_write, path=trace)) as profiler:
        _train(short, plugins, device, profiler.step)
    spans = {event.key: _span(event, steps) for event in profiler.key_averages()}
    parts = [spans[name] for name in PARTS if name in spans]
    by_cost = sorted((s for s in spans.values() if s.name.startswith("aten::")), key=lambda s: -max(s.host, s.device))
    where = torch_device(device)
    with FlopCounterMode(display=False) as counter:
        batch = training_batches(short, plugins, device, Share())[0].to(where, torch.contiguous_format)
        torch.autograd.backward(_method(short, plugins, device).to(where).loss(batch)["loss"])
    limit = _limit(where, cell.protocol.training.precision)
    operations = int(counter.get_total_flops())
    return Profile(device_name(where), statistics.median(seconds), parts, by_cost[:OPERATORS], operations, limit)


def _method(cell: Cell, plugins: Plugins, device: Device) -> TrainedMethod:
    """The method at the start of its training. Raises UserError for one that is not trained."""
    method = build_method(cell, plugins, device)
    if not isinstance(method, TrainedMethod):
        raise UserError(f"{cell.method} is not trained, so it has no training step to profile; name a trained method.")
    return method


def _train(cell: Cell, plugins: Plugins, device: Device, after_step: Callable[[], None]) -> None:
    """Train a cell and keep nothing. A step ends when its loss terms are known, which waits for the GPU."""
    method, batches = _method(cell, plugins, device), training_batches(cell, plugins, device, Share())
    fabric = Fabric(accelerator=device.accelerator, devices=1, precision=cell.protocol.training.precision)
    with tempfile.TemporaryDirectory() as folder:
        checkpoint = Path(folder) / "checkpoint.safetensors"
        train(method, batches, fabric, checkpoint, "", lambda step, terms: after_step(), log_every=1, save_seconds=inf)


def _write(profiler: profile, path: Path) -> None:
    with replacing(path) as temporary:
        profiler.export_chrome_trace(str(temporary))


def _span(event: Any, steps: int) -> Span:
    """An average of the profiler per step: total time for our own ranges, self time for operators."""
    own = event.key in PARTS
    host, device = (
        (event.cpu_time_total, event.device_time_total) if own else (event.self_cpu_time_total, event.self_device_time_total)
    )
    return Span(event.key, host / 1e6 / steps, device / 1e6 / steps, event.count / steps)


def _limit(device: torch.device, precision: str) -> float:
    """Floating-point operations a second in the best of five large matrix products."""
    size = MATRIX[device.type]
    dtype = torch.bfloat16 if precision.startswith("bf16") else torch.float32
    a, b = (torch.randn(size, size, device=device, dtype=dtype) for _ in range(2))
    seconds = []
    for _ in range(6):
        start = time.perf_counter()
        _ = (a @ b)[0, 0].item()  # waits for the GPU
        seconds.append(time.perf_counter() - start)
    return 2 * size**3 / min(seconds[1:])


def run(job: Job, protocol: Protocol, runner: Runner, steps: int) -> None:
    """Measure one rate point of a method (the middle one unless the job names another), print tables, write the trace."""
    runs, console = runner.folders.runs, runner.console
    require_writable(runs)
    rates = job.rate_indices(protocol) if job.rates else [len(protocol.rates) // 2]
    [cell, *_] = plan(job.plugins, protocol, {job.method: job.parameters}, rates, 1)
    trace = runs / protocol.identity / cell.label / "profile" / "trace.json"
    trace.parent.mkdir(parents=True, exist_ok=True)
    result = measure(cell, runner.plugins, runner.device, steps, trace)
    console.print(f"{protocol.identity}, {cell.name}, on {result.device}", highlight=False, markup=False)
    console.print(f"a step takes {1000 * result.step:.1f} ms (median of {steps})\n", highlight=False)
    _print(console, "part of a step", result.parts, runner.device)
    _print(console, "operator (without what it calls)", result.operators, runner.device)
    speed, limit = result.operations / result.step, result.limit
    reached = f"{result.operations / 1e9:.1f} GFLOP a step: {speed / 1e9:.1f} GFLOP/s"
    share = f"{speed / limit:.0%} of the {limit / 1e9:.1f} that a large matrix product reaches here."
    console.print(f"{reached}, {share}", highlight=False)
    console.print(f"trace: {trace}", highlight=False, markup=False, soft_wrap=True)


def _print(console: Console, title: str, spans: list[Span], device: Device) -> None:
    headers = ("ms a step", "ms on the GPU", "calls a step")
    columns = [sheet.Column(title, short=True), *(sheet.Column(header, numeric=True) for header in headers)]
    lines = []
    for span in spans:
        times = [sheet.number(1000 * seconds, ".2f") for seconds in (span.host, span.device)]
        lines.append([sheet.Cell(span.name.removeprefix("step: ")), *times, sheet.number(span.calls, ".1f")])
    table = sheet.Sheet("profile", f"where the time goes, by {title}", columns, lines)
    (table if device.accelerator == "cuda" else table.only(title, "ms a step", "calls a step")).show(console)
