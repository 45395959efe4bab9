"""Object detection: any mmdetection network as the frozen recogniser, COCO AP."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from mmdet.registry import DATASETS
from mmengine.config import ConfigDict
from torch import Tensor, nn

from icmbench.api import LightHead, Sample, Strict, UserError, crops, data_root
from icmbench.tasks._data import shapes
from icmbench.tasks._data.coco import Boxes, CocoFolder
from icmbench.tasks._openmmlab.models import RecognizerOptions
from icmbench.tasks._openmmlab.task import OpenMMLabTask, folders_of
from icmbench.tasks.detection import mmdet_network
from icmbench.tasks.detection.metric import AveragePrecision

NARROWEST = 2  # pixels: width and height of an object in training
OWN_SCORE = 0.5  # the recogniser's own detections of at least this score are targets in training
SMALLEST_VISIBLE = 0.25  # a crop keeps an object if at least this share of its box is inside


class CocoSplit(Strict):
    """A folder of images and its annotation file, below `$ICMBENCH_DATA` unless absolute.

    `subset`: the file is meant to list only some of the images that lie there.
    """

    images: Path
    annotations: Path
    subset: bool = False


class DetectionData(Strict):
    """`shapes`: the procedural images; `coco`: any COCO-format folders, one per split."""

    source: Literal["shapes", "coco"]
    seed: int = 0
    train: CocoSplit | None = None
    val: CocoSplit | None = None


class Detection(OpenMMLabTask[CocoFolder]):
    """Object detection. Targets are `Boxes`; predictions are (boxes [N, 4] in pixels, scores [N], labels [N])."""

    DataOptions = DetectionData
    default_protocol = "shapes-detection-v3"
    datasets = DATASETS

    def __init__(self, data: DetectionData, recognizer: RecognizerOptions) -> None:
        super().__init__(data, recognizer)
        self.data = data

    def build(self, config: ConfigDict) -> nn.Module:
        return mmdet_network.build(config)

    def open(self, split: str) -> CocoFolder:
        if self.data.source == "shapes":
            dataset = shapes.pictures(split, self.data.seed, self.classes)
        else:
            folders = folders_of(split, self.data.train, self.data.val)
            images, annotations = data_root() / folders.images, data_root() / folders.annotations
            dataset = CocoFolder(images, annotations, classes=self.classes, subset=folders.subset)
        self.require_classes([row["name"] for row in dataset.categories], str(dataset.annotations))
        return dataset

    def check_data(self) -> None:
        super().check_data()
        train, val = ([row["name"] for row in self.dataset(split).categories] for split in ("train", "val"))
        if train != val:  # only where the network's classes are unknown
            raise UserError(f"the categories of the splits differ: {', '.join(train)} and {', '.join(val)}.")

    def crop(self, sample: Sample, size: int, flip: bool, rng: np.random.Generator) -> Sample:
        top, left = crops.window(sample.image.shape[1], sample.image.shape[2], size, rng)
        mirrored = flip and rng.random() < 0.5
        image = crops.cut(sample.image, top, left, size, mirrored, fill=114)
        target: Boxes = sample.target
        moved = target.boxes - torch.tensor([left, top, left, top], dtype=torch.float32)
        inside = moved.clamp(0, size)
        visible = _area(inside) >= SMALLEST_VISIBLE * _area(moved)
        visible &= _wide_enough(inside)
        boxes = inside[visible]
        if mirrored:
            boxes = torch.stack([size - boxes[:, 2], boxes[:, 1], size - boxes[:, 0], boxes[:, 3]], 1)
        return Sample(image, Boxes(boxes, target.labels[visible], (size, size), target.image_id), sample.name)

    def loss(self, images: Tensor, targets: Sequence[Any]) -> Tensor:
        inputs, shape = self.preprocess(images, self.options.crop_scale)
        samples = mmdet_network.samples(inputs, shape, targets, self.options.crop_scale)
        return mmdet_network.total_loss(self.recognizer, inputs, samples)

    @torch.no_grad()
    def predict(self, image: Tensor, sample: Sample) -> tuple[Tensor, Tensor, Tensor]:
        scale = self.preprocess.scale_of(image.shape[1], image.shape[2])
        device = next(self.recognizer.parameters()).device
        detections = self._detect(image[None].to(device) / 255, scale)[0]
        return detections.bboxes.cpu(), detections.scores.cpu(), detections.labels.cpu()

    def _detect(self, images: Tensor, scale: float) -> list[Any]:
        """Instances (`bboxes` in pixels of the images, `scores`, `labels`) in each of images float [B, 3, H, W] in 0..1."""
        inputs, shape = self.preprocess(images, scale)
        size = (images.shape[2], images.shape[3])
        samples = mmdet_network.samples(inputs, shape, [_blank(size)] * len(images), scale)
        return [sample.pred_instances for sample in self.recognizer.predict(inputs, samples, rescale=True)]  # type: ignore[operator]

    @torch.no_grad()
    def own_targets(self, images: Tensor) -> list[Boxes]:
        """The detections with a score of at least `OWN_SCORE`, none narrower than a crop's annotations may be."""
        size = (images.shape[2], images.shape[3])
        instances = self._detect(images, self.options.crop_scale)
        sure = [detections[(detections.scores >= OWN_SCORE) & _wide_enough(detections.bboxes)] for detections in instances]
        return [Boxes(detections.bboxes, detections.labels, size, number) for number, detections in enumerate(sure)]

    def object_masks(self, targets: Sequence[Any], size: tuple[int, int]) -> Tensor:
        """An object's pixels are those whose middle is inside its box."""
        return torch.stack([_inside(target.boxes, size) for target in targets]) if targets else torch.zeros(0, 1, *size)

    def metric(self) -> AveragePrecision:
        return AveragePrecision(self.dataset("val"))

    def light(self, config: ConfigDict, body: dict[str, int]) -> LightHead:
        return LightDetector(mmdet_network.build(mmdet_network.light_config(config, body)), self)


class LightDetector(LightHead):
    """The recogniser's own kind of detector, narrow, reading a feature map instead of an image."""

    def __init__(self, network: nn.Module, task: Detection) -> None:
        super().__init__()
        self.network, self.task = network, [task]  # in a list: the task's modules are not the branch's

    def loss(self, features: Tensor, targets: Sequence[Any]) -> Tensor:
        return mmdet_network.total_loss(self.network, features, self._samples(features, targets))

    def _samples(self, features: Tensor, targets: Sequence[Any]) -> list[Any]:
        task = self.task[0]
        scale = task.options.crop_scale
        height, width = (round(side * scale) for side in targets[0].size)
        grid = (height + -height % task.preprocess.divisor, width + -width % task.preprocess.divisor)
        self.network.backbone.grid = grid  # type: ignore[union-attr]
        return mmdet_network.samples(features.new_empty(len(targets), 3, *grid), (height, width), targets, scale)

    @torch.no_grad()
    def predict(self, features: Tensor, size: tuple[int, int]) -> tuple[Tensor, Tensor, Tensor]:
        found = self.network.predict(features, self._samples(features, [_blank(size)]), rescale=True)[0].pred_instances  # type: ignore[operator]
        return found.bboxes.cpu(), found.scores.cpu(), found.labels.cpu()


def _blank(size: tuple[int, int]) -> Boxes:
    """No objects in an image of `size`."""
    return Boxes(torch.zeros(0, 4), torch.zeros(0, dtype=torch.int64), size, 0)


def _wide_enough(boxes: Tensor) -> Tensor:
    """Which of the boxes [N, 4] are at least `NARROWEST` pixels wide and high: bool [N]."""
    return (boxes[:, 2:] - boxes[:, :2] >= NARROWEST).all(1)


def _inside(boxes: Tensor, size: tuple[int, int]) -> Tensor:
    """1 where a pixel's middle is in any of the boxes [N, 4]: float [1, H, W]."""
    y, x = (torch.arange(side, device=boxes.device) + 0.5 for side in size)
    left, top, right, bottom = boxes.T[:, :, None]
    rows = (top <= y) & (y < bottom)
    columns = (left <= x) & (x < right)
    inside: Tensor = (rows[:, :, None] & columns[:, None]).any(0, keepdim=True)
    return inside.float()


def _area(boxes: Tensor) -> Tensor:
    sides = boxes[:, 2:] - boxes[:, :2]
    return sides[:, 0] * sides[:, 1]
