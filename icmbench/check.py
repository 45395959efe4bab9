"""`icmbench check`: the contract that every plugin must keep, tried on a few steps of real training."""

import contextlib
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import pandas as pd
import safetensors.torch
import torch
from compressai.models import CompressionModel
from lightning_fabric import Fabric
from PIL import Image
from torch import Tensor

from icmbench.cell import CellRun, Place, load_task
from icmbench.codec import Codec, build_model
from icmbench.errors import UserError, unknown
from icmbench.method import ClassicalMethod, TrainedMethod
from icmbench.plugins import Plugins, options
from icmbench.protocol import Protocol, override
from icmbench.runner import plan
from icmbench.stats.tally import KINDS
from icmbench.task import Metric, Task
from icmbench.train import Batches, train

STEPS = 4
TINY = {"training.steps": STEPS, "training.batch_size": 2}


@dataclass(frozen=True)
class Result:
    """One point of the contract, and what is wrong with it (empty: nothing)."""

    what: str
    problem: str = ""


class Broken(Exception):
    """A point of the contract is not kept; the text says how."""


def check(plugins: Plugins, name: str, task: str) -> list[Result]:
    """Try the contract of the method or task `name`; a method is tried with `task`'s default protocol, shortened.

    Raises UserError where no plugin has that name.
    """
    methods, tasks = plugins.find("methods"), plugins.find("tasks")
    if name not in methods and name not in tasks:
        raise unknown("method or task", name, [*methods, *tasks])
    with tempfile.TemporaryDirectory() as folder:
        return list(_results(plugins, name, name in methods, task, Path(folder)))


def _results(plugins: Plugins, name: str, is_method: bool, task: str, folder: Path) -> Iterator[Result]:
    try:
        protocol = override(plugins.protocol(plugins.default_protocol(task if is_method else name)), TINY)
        trial = MethodTrial(plugins, name, protocol, folder) if is_method else TaskTrial(plugins, protocol)
        points = trial.points()
    except UserError as error:
        yield Result("can be loaded", str(error))
        return
    yield Result("can be loaded")
    for point in points:
        what = (point.__doc__ or point.__name__).rstrip(".")
        try:
            point()
        except (Broken, UserError) as error:
            yield Result(what, str(error))
        except Exception as error:  # a plugin may raise anything
            yield Result(what, f"{type(error).__name__}: {error}")
        else:
            yield Result(what)


def _require(holds: bool, problem: str) -> None:
    if not holds:
        raise Broken(problem)


def _fingerprint(module: torch.nn.Module) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in module.state_dict().items()}


def _same(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def _gets_gradient(module: torch.nn.Module) -> bool:
    return any(p.grad is not None and bool(p.grad.abs().sum() > 0) for p in module.parameters())


class _Interrupted(Exception):
    pass


class MethodTrial:
    """A method at its last rate point: coding, and for a trained one a few steps, several times."""

    def __init__(self, plugins: Plugins, name: str, protocol: Protocol, folder: Path) -> None:
        self.protocol, self.folder = protocol, folder
        cell = plan(plugins, protocol, {name: {}}, range(len(protocol.rates)), 1)[-1]
        self.run = CellRun(cell, Place(plugins, folder / "results", folder / "runs"))
        self.task = self.run.task

    def points(self) -> list[Callable[[], None]]:
        """The points of the contract, in the order in which they are tried."""
        method = self.run.method()
        if isinstance(method, ClassicalMethod):
            return [self.rates, self.sizes, self.same_bytes, self.two_processes]
        coding = [self.absent, self.two_processes]
        if not isinstance(method, TrainedMethod):
            return coding
        return [self.terms, self.gradients, self.frozen, *coding, self.same_numbers, self.resumes]

    def codec_at(self, rate: float) -> Codec:
        kind = self.run.kind
        assert issubclass(kind, ClassicalMethod)
        return kind(self.run.parameters, rate)

    def rates(self) -> None:
        """More bits from each rate point to the next."""
        image, kind = self.task.dataset("val")[0].image, self.run.kind
        assert issubclass(kind, ClassicalMethod)
        bits = [8 * len(self.codec_at(rate).encode(image)) for rate in kind.rates]
        _require(bits == sorted(set(bits)), f"{kind.rate_parameter} {kind.rates} gave {bits} bits")

    def sizes(self) -> None:
        """An image of any size comes back in that size, 8-bit RGB."""
        codec, image = self.run.codec(), self.task.dataset("val")[0].image
        for height, width in ((image.shape[1], image.shape[2]), (37, 51), (1, 1)):
            decoded = codec.decode(codec.encode(image[:, :height, :width].contiguous()))
            good = decoded.dtype == torch.uint8 and tuple(decoded.shape) == (3, height, width)
            _require(good, f"3x{height}x{width} came back as {decoded.dtype} {tuple(decoded.shape)}")

    def same_bytes(self) -> None:
        """The same image gives the same bytes."""
        codec, image = self.run.codec(), self.task.dataset("val")[0].image
        _require(codec.encode(image) == codec.encode(image), "two codings of one image differ")

    def method(self) -> TrainedMethod:
        method = self.run.method()
        assert isinstance(method, TrainedMethod)
        return method

    def losses(self, checkpoint: Path, stop_after: int = STEPS) -> list[float]:
        """Train from `checkpoint` if it exists and return the loss of every step; stopped early, save what is done."""
        seen: list[float] = []

        def log(step: int, terms: dict[str, float]) -> None:
            seen.append(terms["loss"])
            if len(seen) > stop_after:
                raise _Interrupted

        fabric = Fabric(accelerator="cpu", devices=1)
        with contextlib.suppress(_Interrupted):
            train(self.method(), self.run.batches(), fabric, checkpoint, "check", log, log_every=1, save_seconds=0)
        return seen[:stop_after]

    @cached_property
    def undisturbed(self) -> list[float]:
        return self.losses(self.folder / "undisturbed.safetensors")

    def terms(self) -> None:
        """The loss is a set of named, finite scalars with one called loss."""
        method = self.method()
        terms = method.loss(self.run.batches()[0])
        _require("loss" in terms, f"loss() returned {sorted(terms)} without 'loss'")
        wrong = [name for name, value in terms.items() if value.numel() != 1 or not torch.isfinite(value).all()]
        _require(not wrong, f"{', '.join(wrong)}: not one finite number")

    def gradients(self) -> None:
        """Gradients reach the codec, and its encoder where that trains."""
        method = self.method()
        torch.autograd.backward(method.loss(self.run.batches()[0])["loss"])
        codec = method.codec
        _require(any(p.requires_grad for p in codec.parameters()), "no parameter of the codec trains")
        _require(_gets_gradient(codec), "the codec gets no gradient")
        encoder_trains = any(p.requires_grad for p in codec.g_a.parameters())
        _require(_gets_gradient(codec.g_a) or not encoder_trains, "the encoder gets no gradient")

    def frozen(self) -> None:
        """The recogniser is the same after training."""
        before = _fingerprint(self.task.recognizer)
        _ = self.undisturbed
        _require(_same(before, _fingerprint(self.task.recognizer)), "the recogniser's weights or statistics changed")
        _require(not any(p.requires_grad for p in self.task.recognizer.parameters()), "the recogniser's parameters train")

    def absent(self) -> None:
        """What exists in training only is absent from the saved codec."""
        self.run.train()
        saved = set(safetensors.torch.load_file(self.run.codec_path))
        plain = set(self.architecture().state_dict())
        _require(saved == plain, f"the saved codec has other tensors than the architecture: {sorted(saved ^ plain)[:5]}")

    def architecture(self) -> CompressionModel:
        """The protocol's codec, freshly built, with what the method adds to it for good."""
        cell = self.run.cell
        cls, codec = self.run.place.plugins.method(cell.method), build_model(self.protocol.codec)
        if issubclass(cls, TrainedMethod):
            cls.extend(codec, options(cls.Parameters, dict(cell.parameters), f"the parameters of method {cell.method}"))
        return codec

    def two_processes(self) -> None:
        """What one process encodes, another decodes to the same image."""
        codec, image = self.run.codec(), self.task.dataset("val")[0].image
        data, bits = codec.encode(image), self.folder / "picture.icm"
        bits.write_bytes(data)
        name = self.run.cell.method if issubclass(self.run.kind, ClassicalMethod) else self.run.codec_path
        command = [sys.executable, "-m", "icmbench", "decode", *map(str, (bits, name, self.folder))]
        loose = [argument for file in self.run.place.plugins.files for argument in ("--plugin", str(file))]
        done = subprocess.run([*command, *loose, "--device", "cpu"], capture_output=True, text=True, check=False)
        _require(done.returncode == 0, f"decoding in a fresh process failed: {done.stderr.strip()[-300:]}")
        decoded = torch.from_numpy(np.array(Image.open(self.folder / "picture.png"))).permute(2, 0, 1)
        _require(torch.equal(decoded, codec.decode(data)), "the fresh process decoded another image")

    def same_numbers(self) -> None:
        """The same seed gives the same numbers."""
        again = self.losses(self.folder / "again.safetensors")
        _require(again == self.undisturbed, f"losses {self.undisturbed} became {again}")

    def resumes(self) -> None:
        """An interrupted training goes on as if nothing had happened."""
        path = self.folder / "interrupted.safetensors"
        both = self.losses(path, stop_after=STEPS // 2) + self.losses(path)
        _require(both == self.undisturbed, f"losses {self.undisturbed} became {both}")


class TaskTrial:
    """A task tried on two pictures."""

    def __init__(self, plugins: Plugins, protocol: Protocol) -> None:
        self.protocol = protocol
        self.task: Task = load_task(protocol.model_dump_json(by_alias=True), plugins, "cpu")

    def points(self) -> list[Callable[[], None]]:
        """The points of the contract, in the order in which they are tried."""
        training = [self.differentiable, self.features, self.own_targets, self.object_masks, self.branch]
        return [self.samples, self.crops, self.frozen, *training, self.scores, self.merges, self.tallies]

    def batch_at(self, step: int) -> tuple[Tensor, list[object]]:
        training = self.protocol.training
        batch = Batches(self.task.batch, self.task.dataset("train"), training, 0)[step]
        return batch.images, list(batch.targets)

    def samples(self) -> None:
        """Pictures are uint8 [3, H, W] with a name."""
        for split in ("train", "val"):
            sample = self.task.dataset(split)[0]
            good = sample.image.dtype == torch.uint8 and sample.image.ndim == 3 and sample.image.shape[0] == 3
            _require(good and bool(sample.name), f"{split}: {sample.image.dtype} {tuple(sample.image.shape)}")

    def crops(self) -> None:
        """Crops have the size asked for, also where the picture is smaller."""
        sample = self.task.dataset("train")[0]
        for size in (64, 2 * max(sample.image.shape[1:])):
            shape = tuple(self.task.crop(sample, size, True, np.random.default_rng(0)).image.shape)
            _require(shape == (3, size, size), f"a crop of {size} came as {shape}")

    def frozen(self) -> None:
        """The recogniser is frozen and in eval mode."""
        _require(not any(p.requires_grad for p in self.task.recognizer.parameters()), "parameters with gradients")
        _require(not any(m.training for m in self.task.recognizer.modules()), "modules in training mode")

    def differentiable(self) -> None:
        """The loss is a finite scalar with a gradient to the images."""
        images, targets = self.batch_at(0)
        images.requires_grad_(True)
        loss = self.task.loss(images, targets)
        _require(loss.numel() == 1 and bool(torch.isfinite(loss)), f"the loss is {loss}")
        torch.autograd.backward(loss)
        _require(images.grad is not None and bool(images.grad.abs().sum() > 0), "no gradient reaches the images")

    def features(self) -> None:
        """The feature maps, if the task says which, are differentiable."""
        images, _ = self.batch_at(0)
        with contextlib.suppress(UserError):
            maps = self.task.features(images.requires_grad_(True))
            shapes = [tuple(level.shape) for level in maps]
            _require(bool(maps) and all(len(shape) == 4 and shape[0] == len(images) for shape in shapes), f"they are {shapes}")
            torch.autograd.backward(torch.stack([level.square().mean() for level in maps]).sum())
            _require(images.grad is not None and bool(images.grad.abs().sum() > 0), "no gradient reaches the images")

    def own_targets(self) -> None:
        """The recogniser's own predictions, if the task says what they are, serve as targets."""
        images, _ = self.batch_at(0)
        with contextlib.suppress(UserError):
            own = self.task.own_targets(images)
            _require(len(own) == len(images), f"{len(images)} images gave {len(own)} targets")
            _require(bool(torch.isfinite(self.task.loss(images, own))), "the loss against them is not finite")

    def object_masks(self) -> None:
        """The masks of objects, if the task has any, fit the images."""
        images, targets = self.batch_at(0)
        count, _, height, width = images.shape
        with contextlib.suppress(UserError):
            masks = self.task.object_masks(targets, (height, width))
            _require(tuple(masks.shape) == (count, 1, height, width), f"their shape is {tuple(masks.shape)}")
            _require(masks.is_floating_point(), f"they are {masks.dtype}")
            _require(bool(((masks == 0) | (masks == 1)).all()), "they have values other than 0 and 1")

    def _metric_over(self, indices: list[int]) -> Metric:
        metric, dataset = self.task.metric(), self.task.dataset("val")
        for index in indices:
            metric.update(dataset[index], self.task.predict(dataset[index].image, dataset[index]))
        return metric

    def scores(self) -> None:
        """The metric gives the protocol's score, between 0 and 100."""
        name = self.protocol.evaluation.metric
        scores = self._metric_over([0, 1]).compute()
        _require(name in scores, f"compute() gave {sorted(scores)}, the protocol wants {name}")
        _require(0 <= scores[name] <= 100, f"{name} is {scores[name]}")

    def merges(self) -> None:
        """Two merged metrics give what one gives that saw all."""
        together, first, second = (self._metric_over(part) for part in ([0, 1], [0], [1]))
        first.merge(second)
        one, other = together.compute(), first.compute()
        _require(one == other, f"{one} became {other}")

    def tallies(self) -> None:
        """What the images contribute, if the metric says so, gives the same score."""
        metric, dataset, name = self.task.metric(), self.task.dataset("val"), self.protocol.evaluation.metric
        if not metric.tally:
            return
        _require(metric.tally in KINDS, f"there is no kind of tally called {metric.tally}; known: {', '.join(KINDS)}")
        samples = [dataset[index] for index in (0, 1)]
        rows = pd.DataFrame([dict(metric.update(s, self.task.predict(s.image, s))) for s in samples])
        absent = set(KINDS[metric.tally].columns) - set(rows)
        _require(not absent, f"update() returned no {', '.join(sorted(absent))}")
        again, once = KINDS[metric.tally](rows).score(name, np.ones((1, 2)))[0], metric.compute()[name]
        _require(abs(again - once) < 1e-6, f"{name} is {once}, by the tally {again}")

    def branch(self) -> None:
        """A light head trains on the middle of the recogniser."""
        points = self.task.branch_points
        _require("mid_recognizer" in points, f"branch_points are {sorted(points)}")
        tap = points["mid_recognizer"]
        images, targets = self.batch_at(0)
        with tap.capture() as features:
            self.task.loss(images.requires_grad_(True), targets)
        _require(features[0].shape[1] == tap.channels, f"{tap.channels} channels announced, {features[0].shape[1]} came")
        head = self.task.light_head(tap.channels, tap.stride)
        torch.autograd.backward(head.loss(features[0], targets))
        _require(images.grad is not None and bool(images.grad.abs().sum() > 0), "the branch's loss reaches no image")
