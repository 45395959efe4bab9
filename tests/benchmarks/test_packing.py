"""What it gains to compute several cells at once on the device that is there: as many as it bears beside one after the other.

With --benchmark-only. On a GPU cells of the embedded protocol leave most of it idle; on a CPU they take a core each.
"""

import time
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from beside import machine
from cells import bound, folders
from pytest_benchmark.fixture import BenchmarkFixture

from icmbench.experiment.cell import Cell
from icmbench.experiment.compute import ComputeCell
from icmbench.experiment.folders import Device
from icmbench.plugins.find import Plugins
from icmbench.running.runner import plan
from icmbench.running.workers import LocalPool, compute
from icmbench.schema.store import Store

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
STEPS, SEEDS = (200, 4) if DEVICE == "cuda" else (40, 1)


def elapsed(cells: Sequence[Cell], plugins: Plugins, folder: Path, pack: int | None) -> tuple[float, int]:
    """Seconds until all cells are done, start of the workers included, and how many were computed at once."""
    device = Device(DEVICE)
    work = ComputeCell(plugins, folders(folder), device)
    start = time.perf_counter()
    pool = LocalPool(device, pack, len(cells))
    ended = [event.phase for event in compute(cells, work, pool, pack) if event.phase in ("done", "failed")]
    taken = time.perf_counter() - start
    assert ended == ["done"] * len(cells)
    return taken, Store(folder / "results").read()[0][0].cost.packed


@pytest.mark.parametrize("name", ["shapes-detection-v3", "shapes-segmentation-v3"])
def test_packed_cells_beside_one_after_the_other(benchmark: BenchmarkFixture, tmp_path: Path, name: str) -> None:
    plugins, protocol = Plugins(), bound(name, {"training.steps": STEPS})
    cells = plan(plugins, protocol, {"task_loss": {}}, range(4), SEEDS)
    found: list[tuple[float, int]] = []

    def both() -> None:
        found.extend(elapsed(cells, plugins, tmp_path / str(pack), pack) for pack in (1, None))

    benchmark.pedantic(both, rounds=1)
    (alone, _), (packed, at_once) = found
    benchmark.extra_info |= {
        "device": DEVICE,
        "cells": len(cells),
        "at once": at_once,
        "one after the other, s": round(alone, 1),
        "packed, s": round(packed, 1),
        "one after the other over packed": round(alone / packed, 2),
    } | machine()
