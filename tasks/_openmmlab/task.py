"""What detection and segmentation share: a recogniser from an OpenMMLab config behind its own preprocessing."""

import copy
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any, ClassVar, Generic, TypeVar

from mmengine.config import ConfigDict
from mmengine.registry import Registry
from torch import Tensor, nn

from icmbench.api import LightHead, Tap, Task, UserError
from icmbench.tasks._data.coco import CocoFolder
from icmbench.tasks._data.folders import MaskFolder
from icmbench.tasks._openmmlab import models

Split = TypeVar("Split", bound=CocoFolder | MaskFolder)
Folders = TypeVar("Folders")


def folders_of(split: str, train: Folders | None, val: Folders | None) -> Folders:
    """The folders that the data options name for a split. Raises UserError if they name none."""
    folders = train if split == "train" else val
    if folders is None:
        raise UserError(f"the data options name no folder for the split '{split}'.")
    return folders


class OpenMMLabTask(Task, Generic[Split]):
    """A task whose recogniser comes from an OpenMMLab toolbox, which knows the data sets in the registry `datasets`.

    `classes`: the names of the network's classes in its order, empty where its config does not tell.
    """

    RecognizerOptions = models.RecognizerOptions
    datasets: ClassVar[Registry]

    def __init__(self, data: Any, recognizer: models.RecognizerOptions) -> None:
        self.options = recognizer
        self.config = models.read_config(recognizer.config)
        self.classes = models.class_names(recognizer.config, self.datasets)
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

    def require_classes(self, names: Sequence[str], where: str) -> None:
        """Raises UserError unless the classes that are named in `where` are those of the network."""
        count = models.class_count(self.config)
        if count is not None and count != len(names):
            raise UserError(f"the recogniser has {count} classes, but {where} has {len(names)}.")
        for number, (own, name) in enumerate(zip(self.classes, names, strict=False)):
            if own != name:
                raise UserError(f"class {number} of the recogniser is '{own}', but {where} has '{name}' there.")

    def check_data(self) -> None:
        splits = [self.dataset(name) for name in ("train", "val")]
        known = [path for split in splits for path in split.files]
        for split in splits:
            split.check_unlisted(known)
            split.check()

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
