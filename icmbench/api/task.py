"""The task contract: data set, frozen recogniser, task loss, metric.

A task plugin is a module or package with one class derived from `Task`.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from icmbench.api.taps import Tap
from icmbench.base.errors import UserError
from icmbench.schema.protocol import Strict
from icmbench.stats.tally import Tally


@dataclass(frozen=True)
class Sample:
    """One image as the protocol loads it: `image` uint8 [3, H, W] RGB, the task's `target`, and a `name`."""

    image: Tensor
    target: Any
    name: str


@dataclass(frozen=True)
class Batch:
    """Training crops: `images` float32 [B, 3, h, w] in 0..1 and one target each."""

    images: Tensor
    targets: Sequence[Any]

    def to(self, device: torch.device, layout: torch.memory_format) -> "Batch":
        """The batch with its images on `device` in a memory layout; targets move when they are used."""
        images = self.images.to(device, memory_format=layout, non_blocking=True)
        return Batch(images, self.targets)


class Dataset(ABC):
    """Samples by index. Raises UserError for a missing or unreadable file."""

    @abstractmethod
    def __len__(self) -> int: ...

    @abstractmethod
    def __getitem__(self, index: int) -> Sample: ...

    @abstractmethod
    def fingerprint(self) -> str:
        """SHA-256 of everything that the samples are made of. It identifies the data of trainings and results.

        `icmbench.api.fingerprint` makes one of images (by name and size in bytes) and annotations (by content).
        """


class Metric(ABC):
    """Accumulates predictions over a data set.

    `tally`: the class whose columns `update` returns. Without one, intervals cannot cover the choice of images.
    """

    tally: ClassVar[type[Tally] | None] = None

    @abstractmethod
    def update(self, sample: Sample, prediction: Any) -> Mapping[str, Any]:
        """Add one image; returns columns for its row: `score` if it has its own, and those of the tally."""

    @abstractmethod
    def merge(self, other: Any) -> None:
        """Add everything that another metric of the same kind has seen."""

    @abstractmethod
    def compute(self) -> dict[str, float]:
        """Scores by name, in percent."""


class LightHead(nn.Module, ABC):
    """A lightweight version of the task's recogniser that reads a feature map."""

    @abstractmethod
    def loss(self, features: Tensor, targets: Sequence[Any]) -> Tensor:
        """Scalar loss of features [B, C, h, w] against the targets of the batch."""

    def predict(self, features: Tensor, size: tuple[int, int]) -> Any:
        """A prediction as the task's own from features [1, C, h, w] of an image of `size` (H, W), without gradient.

        Raises UserError if the task does not define it; then the accuracy of a branch is not reported.
        """
        raise UserError(f"{type(self).__name__} does not say how it predicts.")


class Task(ABC):
    """A data set with a frozen recogniser. `recognizer` never changes: no gradients to it, norm layers in eval mode."""

    DataOptions: ClassVar[type[Strict]]
    RecognizerOptions: ClassVar[type[Strict]]
    default_protocol: ClassVar[str]
    recognizer: nn.Module

    @abstractmethod
    def __init__(self, data: Any, recognizer: Any) -> None:
        """Build from the protocol's `data` and `recognizer` options; raises UserError for missing files."""

    @abstractmethod
    def dataset(self, split: str) -> Dataset:
        """The `train` or `val` images."""

    def check_data(self) -> None:
        """Look at the whole of both splits for everything that can be wrong with them, before anything is trained.

        Raises UserError naming the file. Called once for a run; a long look should be remembered until a file changes.
        """
        for split in ("train", "val"):
            self.dataset(split)

    @abstractmethod
    def crop(self, sample: Sample, size: int, flip: bool, rng: np.random.Generator) -> Sample:
        """A random crop of size x size pixels (padded where the image is smaller), mirrored at random if `flip`."""

    @abstractmethod
    def loss(self, images: Tensor, targets: Sequence[Any]) -> Tensor:
        """Task loss, a scalar differentiable with respect to images float [B, 3, H, W] in 0..1."""

    @abstractmethod
    def predict(self, image: Tensor, sample: Sample) -> Any:
        """The recogniser's prediction on a decoded image uint8 [3, H, W]; of `sample` it may use names and sizes only."""

    @abstractmethod
    def metric(self) -> Metric:
        """A fresh metric over the `val` images."""

    @property
    @abstractmethod
    def branch_points(self) -> Mapping[str, Tap]:
        """Points inside the recogniser where a branch can be attached, among them `mid_recognizer`."""

    @abstractmethod
    def light_head(self, channels: int, stride: int, depth: int = 1, width: int = 32) -> LightHead:
        """A new lightweight version of this recogniser for a feature map of `channels` at `stride` image pixels.

        It has `depth` layers of `width` channels (a multiple of 8) between the feature map and the recogniser's kind of head.
        """

    def features(self, images: Tensor) -> tuple[Tensor, ...]:
        """The feature maps [B, C, h, w] that the recogniser's head reads, differentiable with respect to the images.

        `images`: float [B, 3, H, W] in 0..1, preprocessed at the scale of crops as in `loss`. Raises UserError if the
        task does not define them, as do the two methods below; a method can try them in its `build`.
        """
        raise self._undefined("which feature maps its recogniser's head reads")

    def own_targets(self, images: Tensor) -> Sequence[Any]:
        """The recogniser's own predictions on images float [B, 3, H, W] in 0..1, as targets for `loss`, without gradient.

        One target per image; annotations are not used.
        """
        raise self._undefined("what its recogniser's own predictions are as targets")

    def object_masks(self, targets: Sequence[Any], size: tuple[int, int]) -> Tensor:
        """Where the objects are: float [B, 1, H, W], 1 inside an object and 0 elsewhere.

        `targets`: those of a training batch or of samples, whose images all have the `size` (H, W); none gives [0, 1, H, W].
        """
        raise self._undefined("where the objects are")

    def _undefined(self, what: str) -> UserError:
        return UserError(f"the task {type(self).__name__} does not say {what}.")

    def recognizer_fingerprint(self) -> str:
        """SHA-256 of what defines the recogniser besides the protocol's own fields, such as the content of a config file.

        Neither builds the network nor reads a checkpoint. Empty if there is nothing else.
        """
        return ""

    def to(self, device: torch.device) -> None:
        """Move the recogniser to a device."""
        self.recognizer.to(device)

    def freeze(self) -> None:
        """Fix the recogniser: no gradients to its parameters, norm and dropout layers in eval mode."""
        self.recognizer.requires_grad_(False).eval()

    def batch(self, dataset: Dataset, indices: Sequence[int], size: int, flip: bool, rng: np.random.Generator) -> Batch:
        """Crops of the samples `indices` as one batch."""
        samples = [self.crop(dataset[int(i)], size, flip, rng) for i in indices]
        images = torch.stack([sample.image for sample in samples]).float() / 255
        return Batch(images, [sample.target for sample in samples])
