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
from pytest_benchmark.fixture import BenchmarkFixture

from icmbench.experiment.cell import Cell, CellRun, Place
from icmbench.experiment.evaluate import evaluate
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


@pytest.mark.parametrize("name", ["shapes-detection-v2", "shapes-segmentation-v2"])
def test_evaluation_outside_codec_and_recogniser(benchmark: BenchmarkFixture, tmp_path: Path, name: str) -> None:
    plugins = Plugins()
    run = CellRun(Cell(plugins.protocol(name), "mse", (), 2, 0), Place(plugins, tmp_path / "results", tmp_path / "runs"))
    run.train()  # mse is not trained for the task: the start codec as it is
    codec, task = run.codec(), run.task
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
