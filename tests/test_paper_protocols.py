"""The paper-scale protocols' code paths on a handful of pictures, with random weights."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cells import work
from mmdet.datasets import CocoDataset
from PIL import Image

from icmbench.base.files import sha256
from icmbench.codecs.neural import NeuralCodec, build_model
from icmbench.experiment.cell import Cell
from icmbench.plugins.find import Plugins
from icmbench.running.runner import bind
from icmbench.schema.protocol import Protocol, override
from icmbench.schema.store import Store

SIZE = (64, 64)


def pictures(folder: Path, count: int) -> list[str]:
    folder.mkdir(parents=True)
    names = [f"{number:06d}" for number in range(1, count + 1)]
    for name in names:
        pixels = np.random.default_rng(int(name)).integers(0, 256, (*SIZE, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{name}.jpg", quality=95)
    return names


def coco(root: Path) -> None:
    (root / "coco/annotations").mkdir(parents=True)
    categories = [{"id": number, "name": name} for number, name in enumerate(CocoDataset.METAINFO["classes"], 1)]
    for split in ("train2017", "val2017"):
        names = pictures(root / "coco" / split, 2)
        images = [{"id": int(n), "file_name": f"{n}.jpg", "height": SIZE[0], "width": SIZE[1]} for n in names]
        boxes = [
            {"id": int(n), "image_id": int(n), "category_id": 3, "bbox": [10, 10, 50, 40], "area": 2000, "iscrowd": 0}
            for n in names
        ]
        content = {"images": images, "annotations": boxes, "categories": categories}
        (root / f"coco/annotations/instances_{split}.json").write_text(json.dumps(content))


def pascal_context(root: Path) -> None:
    voc = root / "VOCdevkit/VOC2010"
    names = pictures(voc / "JPEGImages", 3)
    (voc / "SegmentationClassContext").mkdir()
    (voc / "ImageSets/SegmentationContext").mkdir(parents=True)
    for name in names:
        mask = np.random.default_rng(int(name)).integers(0, 60, SIZE, dtype=np.uint8)
        Image.fromarray(mask).save(voc / f"SegmentationClassContext/{name}.png")
    (voc / "ImageSets/SegmentationContext/train.txt").write_text("\n".join(names[:2]) + "\n")
    (voc / "ImageSets/SegmentationContext/val.txt").write_text(names[2] + "\n")


def shortened(name: str, root: Path, others: dict[str, Any]) -> Protocol:
    """The protocol with one step, small crops, random weights, images that the recogniser hardly enlarges, and `others`."""
    protocol = override(Plugins().protocol(name), others)
    codec = NeuralCodec(build_model(protocol.codec), protocol.codec)
    codec.refit()
    codec.save(root / "start.safetensors")
    start = {"path": str(root / "start.safetensors"), "sha256": sha256(root / "start.safetensors")}
    changes = {
        "training.steps": 1,
        "training.batch_size": 2,
        "training.crop": 64,
        "recognizer.checkpoint": None,
        "recognizer.scale": [96, 96],
        "rates": [{"lambda": 0.05, "start": start}],
        "evaluation.rate_tolerance": 1.0,
        "evaluation.score_noise": 100.0,
    }
    return override(protocol, changes | others)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "data"), [("coco2017-fasterrcnn-v1", coco), ("pascalcontext59-deeplabv3plus-v1", pascal_context)]
)
def test_the_whole_way_with_random_weights(name: str, data: object, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ICMBENCH_DATA", str(tmp_path))
    data(tmp_path)  # type: ignore[operator]
    protocol = shortened(name, tmp_path, {"codec.sizes.N": 16})
    parameters = (("position", "before_decoder"), ("alpha", 0.5))
    work(tmp_path)(Cell(bind(protocol, Plugins()), "aux_loss", parameters, 0, 0))
    [record], _ = Store(tmp_path / "results").read()
    assert record.bpp > 0
    assert protocol.evaluation.metric in record.scores
    assert record.cost.training_only_parameters > 0
