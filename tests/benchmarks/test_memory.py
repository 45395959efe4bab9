"""How much memory a cell takes, on an embedded data set as it is and on one with every image several times.

Resident peaks of the worker process, as the record holds them: of training, and of the evaluation after it.
"""

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from icmbench.plugins.find import Plugins
from icmbench.schema.store import Store
from icmbench.tasks._data import shapes

STEPS = 40
READ = """
import sys
from pathlib import Path
from icmbench.experiment import cost
from icmbench.tasks._data.coco import CocoFolder
import torch
images, annotations = map(Path, sys.argv[1:])
data = CocoFolder(images, annotations)
before = cost.peak_memory_mib(torch.device("cpu"))
pixels = sum(data[index].image.numel() for index in range(len(data)))
print(len(data), pixels / 2**20, cost.peak_memory_mib(torch.device("cpu")) - before)
"""


def repeated(split: str, times: int, folder: Path) -> tuple[Path, Path]:
    """The generated images with their annotations, each `times` times under another name: folder and file."""
    source = shapes.pictures(split)
    images, file = folder / split, folder / f"{split}.json"
    images.mkdir(parents=True)
    coco: dict[str, Any] = source.coco | {"images": [], "annotations": []}
    step = 1 + max(row["id"] for row in source.coco["images"])
    for number in range(times):
        for row in source.coco["images"]:
            name = f"{number}-{row['file_name']}"
            (images / name).symlink_to((source.folder / row["file_name"]).resolve())
            coco["images"].append(row | {"id": row["id"] + number * step, "file_name": name})
        for row in source.coco["annotations"]:
            ids = {"id": len(coco["annotations"]) + 1, "image_id": row["image_id"] + number * step}
            coco["annotations"].append(row | ids)
    file.write_text(json.dumps(coco))
    return images, file


def protocol(times: int, folder: Path) -> Path:
    """The embedded detection protocol on the repeated images."""
    lines = ['source = "coco"']
    for split in ("train", "val"):
        images, annotations = repeated(split, times, folder)
        lines.append(f'{split} = {{ images = "{images}", annotations = "{annotations}" }}')
    text = Plugins().protocols()["shapes-detection-v3"].read_text()
    text = re.sub(r'^source = "shapes"$', "\n".join(lines), text, flags=re.MULTILINE)
    file = folder / "repeated.toml"
    file.write_text(text.replace('name = "shapes-detection-v3"', 'name = "repeated-v1"'))
    return file


@pytest.mark.parametrize("times", [1, 4])
def test_memory_of_a_cell(benchmark: BenchmarkFixture, tmp_path: Path, times: int) -> None:
    words = f"run task_loss detection --protocol {protocol(times, tmp_path)} --no-anchor --rates 1 --device cpu"
    words += f" --set training.steps={STEPS} --results {tmp_path / 'results'} --runs {tmp_path / 'runs'}"
    command = [sys.executable, "-m", "icmbench", *words.split()]
    benchmark.pedantic(subprocess.run, (command,), {"check": True, "capture_output": True}, rounds=1)
    ((record,), _) = Store(tmp_path / "results").read()
    benchmark.extra_info |= {
        "images": record.images,
        "training, MiB": round(record.cost.peak_memory_mib),
        "evaluation, MiB": round(record.cost.coding_peak_memory_mib),
    }


@pytest.mark.parametrize("times", [4, 20])
def test_memory_of_decoded_images(benchmark: BenchmarkFixture, tmp_path: Path, times: int) -> None:
    command = [sys.executable, "-c", READ, *map(str, repeated("train", times, tmp_path))]
    done = benchmark.pedantic(subprocess.run, (command,), {"check": True, "capture_output": True, "text": True}, rounds=1)
    images, pixels, peak = map(float, done.stdout.split())
    benchmark.extra_info |= {"images": round(images), "decoded, MiB": round(pixels), "resident, MiB": round(peak)}
