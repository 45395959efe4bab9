"""The contract of a task."""

import contextlib
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from icmbench.api import Metric, Sample, Task
from icmbench.api.classes import make_task, task_class
from icmbench.base.errors import UserError
from icmbench.experiment.build import load_task
from icmbench.experiment.folders import Device
from icmbench.experiment.train import Batches
from icmbench.extras.authoring.trials import Broken, has_gradient, require, require_defined, require_strict
from icmbench.plugins.find import Plugins
from icmbench.schema.protocol import Protocol, override


def _listed(names: Iterable[str]) -> str:
    return ", ".join(sorted(names)) or "none"


def task_points(plugins: Plugins, name: str) -> list[Callable[[], None]]:
    """The points of the contract of a task, on its default protocol, in the order in which they are tested.

    Raises Broken if members of its class are missing or have the wrong form.
    """
    kind = task_class(plugins, name)
    require_defined(kind)
    for options in ("DataOptions", "RecognizerOptions"):
        require(hasattr(kind, options), f"{kind.__name__} does not define {options}, a class derived from icmbench.api.Strict")
        require_strict(options, getattr(kind, options))
    protocol = override(plugins.protocol(plugins.default_protocol(name)), {"training.batch_size": 2})
    return TaskTrial(plugins, protocol).points()


class TaskTrial:
    """A task, tested on two images."""

    def __init__(self, plugins: Plugins, protocol: Protocol) -> None:
        self.plugins, self.protocol = plugins, protocol
        self.task: Task = load_task(protocol, plugins, Device())

    def points(self) -> list[Callable[[], None]]:
        """The points of the contract, in the order in which they are tested."""
        training = [self.differentiable, self.features, self.own_targets, self.object_masks, self.branch]
        return [self.samples, self.fingerprints, self.crops, self.frozen, *training, self.scores, self.merges, self.tallies]

    def batch(self) -> tuple[Tensor, list[object]]:
        """Images float [B, 3, H, W] of a training batch, and their targets."""
        batch = Batches(self.task.batch, self.task.dataset("train"), self.protocol.training, seed=0)[0]
        return batch.images, list(batch.targets)

    def samples(self) -> None:
        """Images are uint8 [3, H, W] with a name."""
        for split in ("train", "val"):
            sample: Any = self.task.dataset(split)[0]
            first = f"the first image of {split}"
            require(isinstance(sample, Sample), f"{first} is a {type(sample).__name__}, not an icmbench.api.Sample")
            image = sample.image
            good = image.dtype == torch.uint8 and image.ndim == 3 and image.shape[0] == 3
            require(good, f"{first} is {image.dtype} {tuple(image.shape)}, not torch.uint8 (3, H, W)")
            require(bool(sample.name), f"{first} has no name")

    def fingerprints(self) -> None:
        """The fingerprint of a split is the same when it is opened again, and another one for the other split."""
        again = make_task(self.plugins, self.protocol.task, self.protocol.data, self.protocol.recognizer)
        once, twice = ([task.dataset(split).fingerprint() for split in ("train", "val")] for task in (self.task, again))
        require(once == twice, f"{once} became {twice}")
        require(once[0] != once[1], f"train and val both have {once[0]}")

    def crops(self) -> None:
        """Crops have the size asked for, also where the image is smaller."""
        sample = self.task.dataset("train")[0]
        for size in (64, 2 * max(sample.image.shape[1:])):
            shape = tuple(self.task.crop(sample, size, True, np.random.default_rng(0)).image.shape)
            require(shape == (3, size, size), f"a crop of {size} came as {shape}")

    def frozen(self) -> None:
        """The recogniser is frozen and in eval mode."""
        network = self.task.recognizer
        require(not any(p.requires_grad for p in network.parameters()), "its parameters require gradients; call self.freeze()")
        require(not any(m.training for m in network.modules()), "some modules are in training mode; call self.freeze()")

    def differentiable(self) -> None:
        """The loss is a finite scalar with a gradient to the images."""
        images, targets = self.batch()
        images.requires_grad_(True)
        loss = self.task.loss(images, targets)
        require(isinstance(loss, Tensor) and loss.numel() == 1, f"the loss is not a tensor with one number: {loss}")
        require(bool(torch.isfinite(loss)), f"the loss is {float(loss)}")
        require(loss.requires_grad, "the loss does not depend on the images; was it cut off by detach() or torch.no_grad()?")
        torch.autograd.backward(loss)
        require(has_gradient(images), "no gradient reaches the images")

    def features(self) -> None:
        """The feature maps, if the task says which, are differentiable."""
        images, _ = self.batch()
        with contextlib.suppress(UserError):
            maps = self.task.features(images.requires_grad_(True))
            shapes = [tuple(level.shape) for level in maps]
            require(bool(maps) and all(len(shape) == 4 and shape[0] == len(images) for shape in shapes), f"they are {shapes}")
            torch.autograd.backward(torch.stack([level.square().mean() for level in maps]).sum())
            require(has_gradient(images), "no gradient reaches the images")

    def own_targets(self) -> None:
        """The recogniser's own predictions, if the task says what they are, serve as targets."""
        images, _ = self.batch()
        with contextlib.suppress(UserError):
            own = self.task.own_targets(images)
            require(len(own) == len(images), f"{len(images)} images gave {len(own)} targets")
            require(bool(torch.isfinite(self.task.loss(images, own))), "the loss against them is not finite")

    def object_masks(self) -> None:
        """The masks of objects, if the task has any, fit the images."""
        images, targets = self.batch()
        count, _, height, width = images.shape
        with contextlib.suppress(UserError):
            masks = self.task.object_masks(targets, (height, width))
            require(tuple(masks.shape) == (count, 1, height, width), f"their shape is {tuple(masks.shape)}")
            require(masks.is_floating_point(), f"they are {masks.dtype}")
            require(bool(((masks == 0) | (masks == 1)).all()), "they have values other than 0 and 1")

    def _scored(self, *indices: int) -> tuple[Metric, pd.DataFrame]:
        """A metric that has seen these images of `val`, and their rows."""
        metric, samples = self.task.metric(), [self.task.dataset("val")[index] for index in indices]
        return metric, pd.DataFrame([dict(metric.update(s, self.task.predict(s.image, s))) for s in samples])

    def _score(self, metric: Metric) -> float:
        name, scores = self.protocol.evaluation.metric, metric.compute()
        require(name in scores, f"the protocol reports {name} (evaluation.metric), compute() gives {_listed(scores)}")
        return scores[name]

    def scores(self) -> None:
        """The metric gives the protocol's score, between 0 and 100."""
        score = self._score(self._scored(0, 1)[0])
        require(0 <= score <= 100, f"{self.protocol.evaluation.metric} is {score}")

    def merges(self) -> None:
        """Two merged metrics give what one gives that saw all."""
        (together, _), (first, _), (second, _) = self._scored(0, 1), self._scored(0), self._scored(1)
        first.merge(second)
        whole, merged = together.compute(), first.compute()
        require(whole == merged, f"{whole} became {merged}")

    def tallies(self) -> None:
        """What the images contribute, if the metric says so, gives the same score."""
        (metric, rows), name = self._scored(0, 1), self.protocol.evaluation.metric
        if metric.tally is None:
            return
        kind, called = self.plugins.tally(metric.tally.name), metric.tally.name
        if kind is None:
            advice = "give its file with --plugin, or name it as an entry point of the group icmbench.tallies"
            raise Broken(f"no tally called '{called}' is found where records are read; {advice}")
        absent = set(kind.columns) - set(rows)
        require(not absent, f"the tally '{called}' needs the column {_listed(absent)} from update()")
        try:
            again = kind(rows).score(name, np.ones((1, 2)))[0]
        except KeyError as error:
            raise Broken(f"the tally '{called}' reads the column {error} for {name}, and update() does not give it") from error
        once = self._score(metric)
        require(abs(again - once) < 1e-6, f"{name} is {once}, by the tally {again}")

    def branch(self) -> None:
        """A light head trains on the middle of the recogniser."""
        points = self.task.branch_points
        require("mid_recognizer" in points, f"branch_points must have 'mid_recognizer' among them; there is {_listed(points)}")
        tap = points["mid_recognizer"]
        images, targets = self.batch()
        with tap.capture() as features:
            self.task.loss(images.requires_grad_(True), targets)
        require(features[0].shape[1] == tap.channels, f"{tap.channels} channels announced, {features[0].shape[1]} came")
        head = self.task.light_head(tap.channels, tap.stride)
        torch.autograd.backward(head.loss(features[0], targets))
        require(has_gradient(images), "the branch's loss reaches no image")
