"""How much of an evaluation is neither codec nor recogniser: reading images, digests, PSNR, the metric, rows.

`estimated_bits` is the codec's entropy model once more, for what the likelihoods promise, shown apart from encoding and decoding.
"""

import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest
from beside import machine, spread
from cells import CPU, bound, folders
from pytest_benchmark.fixture import BenchmarkFixture

from icmbench.experiment.build import load_task, saved_codec
from icmbench.experiment.cell import Cell
from icmbench.experiment.compute import train_cell
from icmbench.experiment.evaluate import evaluate
from icmbench.experiment.folders import Share
from icmbench.plugins.find import Plugins

ROUNDS = 5
Parts = dict[str, float]


@contextmanager
def timed(parts: Parts, owner: Any, attribute: str) -> Iterator[None]:
    """Add to `parts` the seconds that a method of one object takes, for as long as the context lasts."""
    method: Callable[..., Any] = getattr(owner, attribute)

    def call(*of: Any) -> Any:
        start = time.perf_counter()
        try:
            return method(*of)
        finally:
            parts[attribute] += time.perf_counter() - start

    setattr(owner, attribute, call)
    try:
        yield
    finally:
        delattr(owner, attribute)


@pytest.mark.parametrize("name", ["shapes-detection-v3", "shapes-segmentation-v3"])
def test_evaluation_outside_codec_and_recogniser(benchmark: BenchmarkFixture, tmp_path: Path, name: str) -> None:
    plugins, cell = Plugins(), Cell(bound(name), "mse", (), 2, 0)
    train_cell(cell, plugins, folders(tmp_path), CPU, Share())  # mse is not trained for the task: the start codec as it is
    codec, task = saved_codec(cell, plugins, folders(tmp_path), CPU), load_task(cell.protocol, plugins, CPU)
    shares: dict[str, list[float]] = defaultdict(list)

    def whole() -> None:
        parts: Parts = defaultdict(float)
        start = time.perf_counter()
        with ExitStack() as stack:
            for owner, method in ((codec, "encode"), (codec, "decode"), (codec, "estimated_bits"), (task, "predict")):
                stack.enter_context(timed(parts, owner, method))
            evaluate(codec, task)
        total = time.perf_counter() - start
        for part, seconds in [*parts.items(), ("rest", total - sum(parts.values()))]:
            shares[part].append(100 * seconds / total)

    benchmark.pedantic(whole, rounds=ROUNDS)
    benchmark.extra_info |= {f"{part}, %": spread(values, 1) for part, values in shares.items()}
    benchmark.extra_info |= {"images": len(task.dataset("val")), "rounds": ROUNDS} | machine()
