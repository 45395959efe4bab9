"""What detection and segmentation share: a recogniser from an OpenMMLab config behind its own preprocessing."""

import copy
from abc import abstractmethod
from collections.abc import Mapping
from functools import cached_property
from typing import Any, Generic, TypeVar

from mmengine.config import ConfigDict
from torch import Tensor, nn

from icmbench.api import Dataset, LightHead, Tap, Task, UserError
from icmbench.tasks._openmmlab import models

Split = TypeVar("Split", bound=Dataset)
Folders = TypeVar("Folders")


def folders_of(split: str, train: Folders | None, val: Folders | None) -> Folders:
    """The folders that the data options name for a split. Raises UserError if they name none."""
    folders = train if split == "train" else val
    if folders is None:
        raise UserError(f"the data options name no folder for the split '{split}'.")
    return folders


class OpenMMLabTask(Task, Generic[Split]):
    """A task whose recogniser comes from an OpenMMLab toolbox."""

    RecognizerOptions = models.RecognizerOptions

    def __init__(self, data: Any, recognizer: models.RecognizerOptions) -> None:
        self.options = recognizer
        self.config = models.read_config(recognizer.config)
        self.preprocess = models.Preprocessor(self.config, recognizer)
        self.splits: dict[str, Split] = {}

    @abstractmethod
    def open(self, split: str) -> Split:
        """Open the data set of a split."""

    @abstractmethod
    def build(self, config: ConfigDict) -> nn.Module:
        """The toolbox's network of a config."""

    @abstractmethod
    def light(self, config: ConfigDict, body: dict[str, int]) -> LightHead:
        """A light head from a copy of the recogniser's config, behind a `body` of `FeatureLevels`."""

    @cached_property
    def recognizer(self) -> nn.Module:  # type: ignore[override]
        network = self.build(self.config)
        if self.options.checkpoint is not None:
            models.load_checkpoint(network, self.options.checkpoint)
        return network.requires_grad_(False).eval()

    def recognizer_fingerprint(self) -> str:
        return models.config_fingerprint(self.options.config)

    def dataset(self, split: str) -> Split:
        if split not in self.splits:
            self.splits[split] = self.open(split)
        return self.splits[split]

    def features(self, images: Tensor) -> tuple[Tensor, ...]:
        """The output of the backbone (and the neck, if there is one)."""
        return tuple(self.recognizer.extract_feat(self.preprocess(images, self.options.crop_scale)[0]))  # type: ignore[operator]

    @property
    def branch_points(self) -> Mapping[str, Tap]:
        module = models.middle(self.recognizer.backbone)  # type: ignore[arg-type]
        channels, stride = models.probe(self.recognizer, module)
        return {"mid_recognizer": Tap(module, "output", channels, max(1, round(stride / self.options.crop_scale)))}

    def light_head(self, channels: int, stride: int, depth: int = 1, width: int = 32) -> LightHead:
        network_stride = max(1, round(stride * self.options.crop_scale))
        body = {"in_channels": channels, "in_stride": network_stride, "depth": depth, "width": width}
        return self.light(copy.deepcopy(self.config), body)
