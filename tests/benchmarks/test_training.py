"""What the harness adds to a training step: a whole cell's training beside the same mathematics in a bare PyTorch loop.

The two take turns step by step, with the same batches: where the harness asks for its next batch, the bare loop makes a step, at
odd numbers before the harness makes its own, at even ones after it. Losses must agree to the bit, or it would not be the same.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import torch
from bare import BareLoop
from beside import Seconds, by_clock, machine, now, ratios, seconds, spread
from cells import CPU, bound, folders
from pytest_benchmark.fixture import BenchmarkFixture

from icmbench.api.task import Batch
from icmbench.experiment.build import load_task
from icmbench.experiment.cell import Cell
from icmbench.experiment.compute import train_cell
from icmbench.experiment.folders import Share
from icmbench.plugins.find import Plugins

STEPS, BLOCK = 100, 10  # a block holds one line of the log; the first one warms up


@dataclass
class Turns:
    """Seconds of every step: of the harness without its batch, of the bare loop, and of making the batch with `make`."""

    bare: BareLoop
    make: Callable[..., Batch]
    ours: list[Seconds] = field(default_factory=list)
    theirs: list[Seconds] = field(default_factory=list)
    batches: list[Seconds] = field(default_factory=list)
    waiting: Batch | None = None
    began: Seconds | None = None

    def next_batch(self, *of: Any) -> Batch:
        """What the harness calls for every batch."""
        self.ended()
        start = now()
        batch = self.make(*of)
        self.batches.append(now() - start)
        if len(self.batches) % 2:  # who goes first finds other things in the cache than who goes second
            self.other(batch)
        else:
            self.waiting = batch
        self.began = now()
        return batch

    def ended(self) -> None:
        """The harness has ended a step, if it has begun one."""
        if self.began is not None:
            self.ours.append(now() - self.began)
        if self.waiting is not None:
            self.other(self.waiting)
            self.waiting = None

    def other(self, batch: Batch) -> None:
        """The bare loop's turn."""
        self.theirs.append(seconds(lambda: self.bare.step(batch)))


@pytest.mark.parametrize("name", ["shapes-detection-v3", "shapes-segmentation-v3"])
def test_a_training_step_beside_a_bare_loop(
    benchmark: BenchmarkFixture, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    plugins, protocol = Plugins(), bound(name, {"training.steps": STEPS})
    losses: list[float] = []

    def report(phase: str, done: int, total: int, terms: dict[str, float]) -> None:
        losses.append(terms["loss"])

    cell, task = Cell(protocol, "task_loss", (), 2, 0), load_task(protocol, plugins, CPU)
    turns = Turns(BareLoop(cell, plugins, CPU, torch.channels_last), task.batch)
    # checkpoints, ledger and TensorBoard are there as in every run; each batch makes room for the bare loop
    monkeypatch.setattr(task, "batch", turns.next_batch)
    benchmark.pedantic(train_cell, (cell, plugins, folders(tmp_path), CPU, Share(), report), rounds=1)
    turns.ended()  # with all that follows the last step: the last block is left out
    bare = [float(loss) for loss in turns.bare.losses]
    assert losses == [*bare[::BLOCK], bare[-1]]
    ours, theirs, batches = (values[BLOCK:-BLOCK] for values in (turns.ours, turns.theirs, turns.batches))
    benchmark.extra_info |= by_clock("step over bare step", ratios(ours, theirs))
    benchmark.extra_info |= by_clock("ten steps over ten bare ones", ratios(ours, theirs, BLOCK))
    benchmark.extra_info |= by_clock("batch over bare step", ratios(batches, theirs))
    milliseconds = spread([1000 * both[1] for both in theirs], 1)
    benchmark.extra_info |= {"bare step, ms of processor": milliseconds, "steps": len(ours)} | machine()
