"""Which training settings make the anchor of a protocol best? Measured on images that are set apart from the training split.

    .venv/bin/python studies/tune_anchor.py PROTOCOL OUT.json [FIELD ...]

It begins with the protocol's own settings. One field after the other is changed, with the best values of the earlier ones, and a
value that saves more than 1 % of the bits is kept. Nothing is trained or scored on the `val` split. An interrupted study
continues from OUT.json, which keeps the result of every training.
"""

import json
import sys
import tempfile
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import torch
from lightning_fabric import Fabric

from icmbench.api.method import TrainedMethod
from icmbench.api.task import Dataset, Sample, Task
from icmbench.base.files import write_text
from icmbench.codecs.neural import NeuralCodec
from icmbench.experiment.build import build_method, load_task
from icmbench.experiment.evaluate import evaluate
from icmbench.experiment.folders import Device
from icmbench.experiment.train import Batches, train
from icmbench.plugins.find import Plugins
from icmbench.running.runner import bind, plan
from icmbench.schema.protocol import override
from icmbench.stats.bdrate import bd_rate

PLUGINS = Plugins()
APART = 5  # every fifth image of the training split is set apart
WORTH = -1.0  # percent
FIELDS: dict[str, list[Any]] = {
    "prior_lr": [5e-4, 2e-3, 5e-3, 2e-2],
    "quantisation": ["noise", "rounding"],
    "lr": [2.5e-4, 5e-4, 1e-3],
    "warmup": [0.0, 0.1],
    "clip_norm": [1.0, 10.0],
    "hold": [0.3, 0.6],
}
Point = tuple[float, float]  # rate in bits per pixel, score


class Part(Dataset):
    """Some images of a data set, which otherwise is the whole one."""

    def __init__(self, whole: Dataset, indices: list[int]) -> None:
        self.whole, self.indices = whole, indices

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, index: int) -> Sample:
        return self.whole[self.indices[index]]

    def __getattr__(self, name: str) -> Any:
        return getattr(self.whole, name)

    def fingerprint(self) -> str:
        """That of the whole set; nothing here is recorded."""
        return self.whole.fingerprint()


def set_apart(task: Task) -> dict[str, Dataset]:
    """The training split in two parts, under the names of a task's splits."""
    whole = task.dataset("train")
    indices = range(len(whole))
    apart = [i for i in indices if i % APART == APART - 1]
    return {"train": Part(whole, [i for i in indices if i % APART != APART - 1]), "val": Part(whole, apart)}


def measure(protocol: str, settings: dict[str, Any], rate_index: int) -> Point:
    """Rate and score of the anchor at one rate point, seed 0."""
    torch.set_num_threads(1)
    bound = bind(PLUGINS.protocol(protocol), PLUGINS)
    chosen = override(bound, {f"training.{field}": value for field, value in settings.items()})
    (cell,) = plan(PLUGINS, chosen, {chosen.anchor: {}}, [rate_index], 1)
    task = load_task(chosen, PLUGINS, Device())
    parts = set_apart(task)
    method = build_method(cell, PLUGINS, Device())
    assert isinstance(method, TrainedMethod)
    batches = Batches(task.batch, parts["train"], chosen.training, 0)  # one seed for all settings
    with tempfile.TemporaryDirectory() as folder:
        train(method, batches, Fabric(accelerator="cpu", devices=1), Path(folder) / "checkpoint", "tune", save_seconds=1e9)
    codec = NeuralCodec(method.codec, chosen.codec)
    codec.refit()
    task.dataset = parts.__getitem__  # type: ignore[method-assign]
    try:
        result = evaluate(codec, task)
    finally:
        del task.dataset
    return result.bpp, result.scores[chosen.evaluation.metric]


def curve(protocol: str, settings: dict[str, Any], known: dict[str, Point], pool: ProcessPoolExecutor, out: Path) -> list[Point]:
    """The anchor's curve under these settings; points that are not yet known are measured and written down."""
    keys = [json.dumps([settings, index]) for index in range(len(PLUGINS.protocol(protocol).rates))]
    missing = [number for number, key in enumerate(keys) if key not in known]
    for number, point in zip(missing, pool.map(partial(measure, protocol, settings), missing), strict=True):
        known[keys[number]] = point
        write_text(out, json.dumps(known, indent=1))
    return [known[key] for key in keys]


def main(protocol: str, out: Path, fields: list[str]) -> None:
    """Tune one field after the other, and print every curve as a row of a Markdown table."""
    known: dict[str, Point] = json.loads(out.read_text()) if out.exists() else {}
    best = {field: getattr(PLUGINS.protocol(protocol).training, field) for field in FIELDS}
    print("| setting | BD-rate to the best before, % | rate -> score |\n| --- | --- | --- |", flush=True)
    with ProcessPoolExecutor(2) as pool:
        leader = curve(protocol, best, known, pool, out)
        show("start", None, leader)
        for field in fields:
            others = [value for value in FIELDS[field] if value != best[field]]
            tried = {value: curve(protocol, best | {field: value}, known, pool, out) for value in others}
            changes = {value: bd_rate(leader, points).percent for value, points in tried.items()}
            for value, points in tried.items():
                show(f"{field} = {value}", changes[value], points)
            value, change = min(changes.items(), key=lambda item: item[1] if item[1] is not None else 0.0)
            if change is not None and change < WORTH:
                best[field], leader = value, tried[value]
    print("\nbest:", best)


def show(setting: str, change: float | None, points: list[Point]) -> None:
    """Print a row."""
    text = ", ".join(f"{rate:.3f} -> {score:.1f}" for rate, score in points)
    print(f"| {setting} | {'' if change is None else f'{change:+.1f}'} | {text} |", flush=True)


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), sys.argv[3:] or list(FIELDS))
