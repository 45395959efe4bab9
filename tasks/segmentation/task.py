"""Semantic segmentation: any mmsegmentation network as the frozen recogniser, mIoU."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from mmengine.config import ConfigDict
from mmseg.registry import DATASETS
from torch import Tensor, nn

from icmbench.api import LightHead, Sample, Strict, UserError, crops, data_root
from icmbench.tasks._data import shapes
from icmbench.tasks._data.folders import IGNORED, MaskFolder
from icmbench.tasks._openmmlab.models import RecognizerOptions
from icmbench.tasks._openmmlab.task import OpenMMLabTask, folders_of
from icmbench.tasks.segmentation import mmseg_network
from icmbench.tasks.segmentation.metric import MeanIoU

BACKGROUND = "background"  # the class without objects


class MaskSplit(Strict):
    """A folder of images and one of index masks, below `$ICMBENCH_DATA` unless absolute.

    `names`: a text file with one stem a line, where only some of the images belong to the split.
    """

    images: Path
    masks: Path
    names: Path | None = None


class SegmentationData(Strict):
    """`shapes`: the procedural images; `folders`: image + index-mask folders, one pair per split.

    `classes` are the class names, index by index; `ignore` and 255 are ignored in a mask.
    With `reduce_zero_label` index 0 is ignored and the others are lowered by one (mmsegmentation's convention).
    """

    source: Literal["shapes", "folders"]
    classes: tuple[str, ...]
    seed: int = 0
    ignore: int = IGNORED
    reduce_zero_label: bool = False
    train: MaskSplit | None = None
    val: MaskSplit | None = None


class Segmentation(OpenMMLabTask[MaskFolder]):
    """Semantic segmentation. Targets are masks int64 [H, W] (255: ignored); predictions are masks int64 [H, W]."""

    DataOptions = SegmentationData
    default_protocol = "shapes-segmentation-v3"
    datasets = DATASETS

    def __init__(self, data: SegmentationData, recognizer: RecognizerOptions) -> None:
        super().__init__(data, recognizer)
        self.data = data
        self.require_classes(data.classes, "the data options")

    def build(self, config: ConfigDict) -> nn.Module:
        return mmseg_network.build(config)

    def open(self, split: str) -> MaskFolder:
        if self.data.source == "shapes":
            return shapes.masks(split, self._labels, self.data.seed)
        folders = folders_of(split, self.data.train, self.data.val)
        names = _read_names(data_root() / folders.names) if folders.names else None
        void = (self.data.ignore, IGNORED, *([0] if self.data.reduce_zero_label else []))
        return MaskFolder(data_root() / folders.images, data_root() / folders.masks, self._labels, names, void)

    def _labels(self, mask: Tensor) -> Tensor:
        """Stored indices to class numbers int64, `IGNORED` where there is none."""
        labels = mask.to(torch.int64)
        ignored = labels == self.data.ignore
        if self.data.reduce_zero_label:
            ignored |= labels == 0
            labels = labels - 1
        return labels.masked_fill(ignored | (labels >= len(self.data.classes)), IGNORED)

    def crop(self, sample: Sample, size: int, flip: bool, rng: np.random.Generator) -> Sample:
        top, left = crops.window(sample.image.shape[1], sample.image.shape[2], size, rng)
        mirrored = flip and rng.random() < 0.5
        image = crops.cut(sample.image, top, left, size, mirrored, fill=114)
        return Sample(image, crops.cut(sample.target, top, left, size, mirrored, fill=IGNORED), sample.name)

    def loss(self, images: Tensor, targets: Sequence[Any]) -> Tensor:
        inputs, _ = self.preprocess(images, self.options.crop_scale)
        return mmseg_network.total_loss(self.recognizer, inputs, targets)

    @torch.no_grad()
    def predict(self, image: Tensor, sample: Sample) -> Tensor:
        device = next(self.recognizer.parameters()).device
        scale = self.preprocess.scale_of(image.shape[1], image.shape[2])
        return self._segment(image[None].to(device) / 255, scale)[0].cpu()

    def _segment(self, images: Tensor, scale: float) -> Tensor:
        """Class numbers int64 [B, H, W] for images float [B, 3, H, W] in 0..1."""
        inputs, shape = self.preprocess(images, scale)
        return mmseg_network.predict(self.recognizer, inputs, shape, (images.shape[2], images.shape[3]))

    @torch.no_grad()
    def own_targets(self, images: Tensor) -> list[Tensor]:
        """The most likely class of every pixel."""
        return list(self._segment(images, self.options.crop_scale))

    def object_masks(self, targets: Sequence[Any], size: tuple[int, int]) -> Tensor:
        """Objects are the pixels of all classes but "background", without ignored pixels.

        Raises UserError if no class has that name.
        """
        if BACKGROUND not in self.data.classes:
            raise UserError(f"no class of this segmentation data is called '{BACKGROUND}', so nothing in it is an object.")
        masks = torch.stack(list(targets)) if targets else torch.zeros(0, *size)
        return ((masks != self.data.classes.index(BACKGROUND)) & (masks != IGNORED))[:, None].float()

    def metric(self) -> MeanIoU:
        return MeanIoU(self.data.classes)

    def light(self, config: ConfigDict, body: dict[str, int]) -> LightHead:
        return LightSegmenter(mmseg_network.build(mmseg_network.light_config(config, body)), self.options.crop_scale)


def _read_names(path: Path) -> list[str]:
    try:
        return [line.strip() for line in path.read_text().splitlines() if line.strip()]
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror or error}.") from error


class LightSegmenter(LightHead):
    """The recogniser's own kind of segmenter, narrow, reading a feature map instead of an image."""

    def __init__(self, network: nn.Module, scale: float) -> None:
        super().__init__()
        self.network, self.scale = network, scale

    def loss(self, features: Tensor, targets: Sequence[Any]) -> Tensor:
        self.network.backbone.grid = tuple(round(side * self.scale) for side in targets[0].shape)  # type: ignore[union-attr]
        return mmseg_network.total_loss(self.network, features, targets)

    @torch.no_grad()
    def predict(self, features: Tensor, size: tuple[int, int]) -> Tensor:
        grid = (round(size[0] * self.scale), round(size[1] * self.scale))
        self.network.backbone.grid = grid  # type: ignore[union-attr]
        return mmseg_network.predict(self.network, features, grid, size)[0].cpu()
