"""Object detection: any mmdetection network as the frozen recogniser, COCO AP."""

import copy
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn

from icmbench import crops
from icmbench.errors import UserError
from icmbench.features import Tap
from icmbench.files import data_root
from icmbench.protocol import Strict
from icmbench.task import LightHead, Sample, Task
from icmbench.tasks._data import shapes
from icmbench.tasks._data.coco import Boxes, CocoFolder
from icmbench.tasks._openmmlab import models
from icmbench.tasks.detection import mmdet_network
from icmbench.tasks.detection.metric import AveragePrecision

SMALLEST_VISIBLE = 0.25  # a crop keeps an object of which at least this share of the box is inside


class CocoSplit(Strict):
    """A folder of images and its annotation file, below `$ICMBENCH_DATA` unless absolute."""

    images: Path
    annotations: Path


class DataOptions(Strict):
    """`shapes`: the procedural pictures; `coco`: any COCO-format folders, one per split."""

    source: Literal["shapes", "coco"]
    seed: int = 0
    train: CocoSplit | None = None
    val: CocoSplit | None = None


class Detection(Task):
    """Object detection. Targets are `Boxes`; predictions are (boxes [N, 4] in pixels, scores [N], labels [N])."""

    DataOptions = DataOptions
    RecognizerOptions = models.RecognizerOptions
    default_protocol = "shapes-detection-v2"

    def __init__(self, data: DataOptions, recognizer: models.RecognizerOptions) -> None:
        self.data = data
        self.config = models.read_config(recognizer.config)
        self.preprocess = models.Preprocessor(self.config, recognizer)
        self.options = recognizer
        self.splits: dict[str, CocoFolder] = {}

    @cached_property
    def recognizer(self) -> nn.Module:  # type: ignore[override]
        network = mmdet_network.build(self.config)
        if self.options.checkpoint is not None:
            models.load_checkpoint(network, self.options.checkpoint)
        return network.requires_grad_(False).eval()

    def dataset(self, split: str) -> CocoFolder:
        if split not in self.splits:
            self.splits[split] = self._open(split)
        return self.splits[split]

    def _open(self, split: str) -> CocoFolder:
        if self.data.source == "shapes":
            return shapes.pictures(split, self.data.seed)
        folders = self.data.train if split == "train" else self.data.val
        if folders is None:
            raise UserError(f"the data options name no folder for the split '{split}'.")
        return CocoFolder(data_root() / folders.images, data_root() / folders.annotations)

    def crop(self, sample: Sample, size: int, flip: bool, rng: np.random.Generator) -> Sample:
        top, left = crops.window(sample.image.shape[1], sample.image.shape[2], size, rng)
        mirrored = flip and rng.random() < 0.5
        image = crops.cut(sample.image, top, left, size, mirrored, fill=114)
        target: Boxes = sample.target
        moved = target.boxes - torch.tensor([left, top, left, top], dtype=torch.float32)
        inside = moved.clamp(0, size)
        visible = _area(inside) >= SMALLEST_VISIBLE * _area(moved)
        visible &= (inside[:, 2:] - inside[:, :2] >= 2).all(1)
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
        inputs, shape = self.preprocess(image[None].to(device) / 255, scale)
        blank = Boxes(torch.zeros(0, 4), torch.zeros(0, dtype=torch.int64), (image.shape[1], image.shape[2]), 0)
        samples = mmdet_network.samples(inputs, shape, [blank], scale)
        found = self.recognizer.predict(inputs, samples, rescale=True)[0].pred_instances  # type: ignore[operator]
        return found.bboxes.cpu(), found.scores.cpu(), found.labels.cpu()

    def metric(self) -> AveragePrecision:
        return AveragePrecision(self.dataset("val"))

    @property
    def branch_points(self) -> Mapping[str, Tap]:
        module = models.middle(self.recognizer.backbone)  # type: ignore[arg-type]
        channels, stride = models.probe(self.recognizer, module)
        return {"mid_recognizer": Tap(module, "output", channels, max(1, round(stride / self.options.crop_scale)))}

    def light_head(self, channels: int, stride: int, depth: int = 1, width: int = 32) -> LightHead:
        network_stride = max(1, round(stride * self.options.crop_scale))
        body = {"in_channels": channels, "in_stride": network_stride, "depth": depth, "width": width}
        config = mmdet_network.light_config(copy.deepcopy(self.config), body)
        return LightDetector(mmdet_network.build(config), self)


class LightDetector(LightHead):
    """The recogniser's own kind of detector, narrow, reading a feature map instead of a picture."""

    def __init__(self, network: nn.Module, task: Detection) -> None:
        super().__init__()
        self.network, self.task = network, [task]  # in a list: the task's modules are not the branch's

    def loss(self, features: Tensor, targets: Sequence[Any]) -> Tensor:
        task = self.task[0]
        scale = task.options.crop_scale
        height, width = (round(side * scale) for side in targets[0].picture)
        grid = (height + -height % task.preprocess.divisor, width + -width % task.preprocess.divisor)
        self.network.backbone.grid = grid  # type: ignore[union-attr]
        samples = mmdet_network.samples(features.new_empty(len(targets), 3, *grid), (height, width), targets, scale)
        return mmdet_network.total_loss(self.network, features, samples)


def _area(boxes: Tensor) -> Tensor:
    return (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
