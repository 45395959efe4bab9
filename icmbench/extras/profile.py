"""`icmbench profile`: where the time of a training step goes, and how far it is from what the device can do."""

import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from math import inf
from pathlib import Path
from typing import Any

import torch
from lightning_fabric import Fabric
from rich import box
from rich.console import Console
from rich.table import Table
from torch.profiler import ProfilerActivity, profile, schedule
from torch.utils.flop_counter import FlopCounterMode

from icmbench.api.method import TrainedMethod
from icmbench.base.errors import UserError
from icmbench.base.files import demand_writable, replacing
from icmbench.experiment.cell import Cell, CellRun, Place
from icmbench.experiment.train import BACKWARD, BATCH, CHECK, FORWARD, UPDATE, device_name, train
from icmbench.running.job import Job
from icmbench.running.plan import plan
from icmbench.schema.protocol import Protocol, override

PARTS = (BATCH, FORWARD, BACKWARD, CHECK, UPDATE)
WARM_UP = 3  # steps before those that are looked at
OPERATORS = 12
MATRIX = {"cpu": 2048, "cuda": 8192}  # rows and columns of the product that tells what the device can do


@dataclass(frozen=True)
class Span:
    """Seconds a step on the processor and on the GPU (0 without one), and how often a step it happens."""

    name: str
    host: float
    device: float
    calls: float


@dataclass(frozen=True)
class Profile:
    """Where a training's time went. `step`: median seconds of a step while nothing traced it.

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

    @property
    def speed(self) -> float:
        """Operations a second."""
        return self.operations / self.step


def measure(cell: Cell, place: Place, steps: int, trace: Path) -> Profile:
    """Train a cell for some steps, as `icmbench run` does, and write the trace of them, for chrome://tracing or Perfetto.

    Nothing else is left behind. Raises UserError for a method that is not trained.
    """
    torch.set_num_threads(1 if place.accelerator == "cpu" else torch.get_num_threads())
    protocol = override(cell.protocol, {"training.steps": WARM_UP + steps})
    run = CellRun(Cell(protocol, cell.method, cell.parameters, cell.rate_index, cell.seed), place)
    seconds, traced = _plain(run), _traced(run, trace)
    spans = {event.key: _span(event, steps) for event in traced.key_averages()}
    parts = [spans[name] for name in PARTS if name in spans]
    by_cost = sorted((s for s in spans.values() if s.name.startswith("aten::")), key=lambda s: -max(s.host, s.device))
    operations = _operations(run)
    limit = _limit(place.device, protocol.training.precision)
    return Profile(device_name(place.device), statistics.median(seconds), parts, by_cost[:OPERATORS], operations, limit)


def _method(run: CellRun) -> TrainedMethod:
    if not issubclass(run.kind, TrainedMethod):
        raise UserError(f"{run.cell.method} is not trained: there is no training step to look into.")
    method = run.method()
    assert isinstance(method, TrainedMethod)
    return method


def _train(run: CellRun, after_step: Callable[[], None]) -> None:
    fabric = Fabric(accelerator=run.place.accelerator, devices=1, precision=run.protocol.training.precision)
    with tempfile.TemporaryDirectory() as folder:
        checkpoint = Path(folder) / "checkpoint.safetensors"
        train(_method(run), run.batches(), fabric, checkpoint, "", lambda step, terms: after_step(), 1, inf)


def _plain(run: CellRun) -> list[float]:
    """Seconds of the steps after the first ones. A step ends when its loss terms are known, so a GPU is waited for."""
    ends: list[float] = []
    _train(run, lambda: ends.append(time.perf_counter()))
    return [end - start for start, end in pairwise(ends[WARM_UP - 1 :])]


def _traced(run: CellRun, path: Path) -> Any:
    activities = [ProfilerActivity.CPU] + [ProfilerActivity.CUDA] * (run.place.accelerator == "cuda")
    steps = run.protocol.training.steps - WARM_UP
    plan = schedule(wait=WARM_UP - 1, warmup=1, active=steps, repeat=1)
    with profile(activities=activities, schedule=plan, on_trace_ready=partial(_write, path=path)) as profiler:
        _train(run, profiler.step)
    return profiler


def _write(profiler: profile, path: Path) -> None:
    with replacing(path) as temporary:
        profiler.export_chrome_trace(str(temporary))


def _span(event: Any, steps: int) -> Span:
    """An average of the profiler as seconds a step: whole for our own ranges, without what they call for operators."""
    own = event.key in PARTS
    host, device = (
        (event.cpu_time_total, event.device_time_total) if own else (event.self_cpu_time_total, event.self_device_time_total)
    )
    return Span(event.key, host / 1e6 / steps, device / 1e6 / steps, event.count / steps)


def _operations(run: CellRun) -> int:
    method = _method(run).to(run.place.device)
    batch = run.batches()[0].to(run.place.device, torch.contiguous_format)
    with FlopCounterMode(display=False) as counter:
        torch.autograd.backward(method.loss(batch)["loss"])
    return int(counter.get_total_flops())


def _limit(device: torch.device, precision: str) -> float:
    """Floating-point operations a second in the best of five large matrix products."""
    size = MATRIX[device.type]
    dtype = torch.bfloat16 if precision.startswith("bf16") else torch.float32
    one, other = (torch.randn(size, size, device=device, dtype=dtype) for _ in range(2))
    seconds = []
    for _ in range(6):
        start = time.perf_counter()
        _ = (one @ other)[0, 0].item()  # waits for the GPU
        seconds.append(time.perf_counter() - start)
    return 2 * size**3 / min(seconds[1:])


def run(job: Job, protocol: Protocol, place: Place, steps: int, console: Console) -> None:
    """Measure one rate point of a method (the middle one unless the job says another), print tables, write the trace."""
    demand_writable(place.runs)
    rates = job.rate_indices(protocol) if job.rates else [len(protocol.rates) // 2]
    [cell, *_] = plan(job.plugins, protocol, {job.method: job.parameters}, rates, 1)
    trace = place.runs / protocol.identity / cell.label / "profile" / "trace.json"
    trace.parent.mkdir(parents=True, exist_ok=True)
    found = measure(cell, place, steps, trace)
    console.print(f"{protocol.identity}, {cell.name}, on {found.device}", highlight=False, markup=False)
    console.print(f"a step takes {1000 * found.step:.1f} ms (median of {steps})\n", highlight=False)
    _print(console, "part of a step", found.parts, place)
    _print(console, "operator, without what it calls", found.operators, place)
    reached = (
        f"{found.operations / 1e9:.1f} GFLOP a step: {found.speed / 1e9:.1f} GFLOP/s, {found.speed / found.limit:.0%} of the"
    )
    console.print(f"{reached} {found.limit / 1e9:.1f} that a large matrix product reaches here.", highlight=False)
    console.print(f"trace: {trace}", highlight=False, markup=False, soft_wrap=True)


def _print(console: Console, title: str, spans: list[Span], place: Place) -> None:
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 2, 0, 0), pad_edge=False)
    on_gpu = place.accelerator == "cuda"
    table.add_column(title, no_wrap=True)
    for header in ("ms a step", *(["ms on the GPU"] if on_gpu else []), "calls a step"):
        table.add_column(header, justify="right")
    for span in spans:
        times = [span.host, span.device] if on_gpu else [span.host]
        table.add_row(span.name.removeprefix("step: "), *(f"{1000 * value:.2f}" for value in times), f"{span.calls:.1f}")
    console.print(table)
