"""The contract of a method."""

import contextlib
import subprocess
import sys
from collections.abc import Callable, Iterator
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.torch
import torch
from compressai.models import CompressionModel
from lightning_fabric import Fabric
from PIL import Image
from torch import Tensor

from icmbench.api.classes import method_class
from icmbench.api.method import ClassicalMethod, Method, TrainedMethod
from icmbench.api.task import Dataset, Task
from icmbench.codecs.neural import Codec, build_model
from icmbench.experiment.build import build_method, load_task, parameters_of, saved_codec
from icmbench.experiment.compute import save_codec, train_cell, training_batches
from icmbench.experiment.folders import Device, Folders, Share
from icmbench.experiment.train import Batches, train
from icmbench.extras.authoring.trials import STEPS, require
from icmbench.plugins.find import Plugins
from icmbench.running.runner import plan
from icmbench.schema.protocol import Protocol
from icmbench.schema.store import Store


def _fingerprint(module: torch.nn.Module) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in module.state_dict().items()}


def _same(before: dict[str, Tensor], after: dict[str, Tensor]) -> bool:
    return before.keys() == after.keys() and all(torch.equal(before[name], after[name]) for name in before)


def _gets_gradient(module: torch.nn.Module) -> bool:
    return any(p.grad is not None and bool(p.grad.abs().sum() > 0) for p in module.parameters())


@contextlib.contextmanager
def _watched(task: Task) -> Iterator[set[str]]:
    """Collect the splits that are requested from the task while the block runs."""
    asked: set[str] = set()
    real = task.dataset

    def dataset(split: str) -> Dataset:
        asked.add(split)
        return real(split)

    task.dataset = dataset  # type: ignore[method-assign]
    try:
        yield asked
    finally:
        del task.dataset  # the class's own again


class _Interrupted(Exception):
    pass


class MethodTrial:
    """A method at its last rate point: coding, and for a trained one a few steps, several times."""

    def __init__(self, plugins: Plugins, name: str, protocol: Protocol, folder: Path) -> None:
        self.plugins, self.protocol, self.folder = plugins, protocol, folder
        self.cell = plan(plugins, protocol, {name: {}}, range(len(protocol.rates)), 1)[-1]
        self.folders, self.device = Folders(Store(folder / "results"), folder / "runs"), Device()
        self.kind, self.parameters = method_class(plugins, name), parameters_of(self.cell, plugins)
        self.task = load_task(protocol, plugins, self.device)
        self.asked: set[str] = set()  # the splits that training requested

    def points(self) -> list[Callable[[], None]]:
        """The points of the contract, in the order in which they are tested."""
        method = self.build()
        if isinstance(method, ClassicalMethod):
            return [self.sizes, self.rates, self.same_bytes, self.two_processes]
        coding = [self.absent, self.two_processes]
        if not isinstance(method, TrainedMethod):
            return coding
        return [self.terms, self.gradients, self.frozen, self.unseen, *coding, self.same_numbers, self.resumes]

    def build(self) -> Method:
        return build_method(self.cell, self.plugins, self.device)

    def codec(self) -> Codec:
        return saved_codec(self.cell, self.plugins, self.folders, self.device)

    def batches(self) -> Batches:
        return training_batches(self.cell, self.plugins, self.device, Share())

    def codec_at(self, rate: float) -> Codec:
        kind = self.kind
        assert issubclass(kind, ClassicalMethod)
        return kind(self.parameters, rate)

    def rates(self) -> None:
        """More bits from each rate point to the next."""
        image, kind = self.task.dataset("val")[0].image, self.kind
        assert issubclass(kind, ClassicalMethod)
        bits = [8 * len(self.codec_at(rate).encode(image)) for rate in kind.rates]
        require(bits == sorted(set(bits)), f"{kind.rate_parameter} {kind.rates} gave {bits} bits")

    def sizes(self) -> None:
        """An image of any size comes back in that size, 8-bit RGB."""
        codec, image = self.codec(), self.task.dataset("val")[0].image
        for height, width in ((image.shape[1], image.shape[2]), (37, 51), (1, 1)):
            decoded = codec.decode(codec.encode(image[:, :height, :width].contiguous()))
            good = decoded.dtype == torch.uint8 and tuple(decoded.shape) == (3, height, width)
            require(good, f"3x{height}x{width} came back as {decoded.dtype} {tuple(decoded.shape)}")

    def same_bytes(self) -> None:
        """The same image gives the same bytes."""
        codec, image = self.codec(), self.task.dataset("val")[0].image
        require(codec.encode(image) == codec.encode(image), "two codings of one image differ")

    def method(self) -> TrainedMethod:
        method = self.build()
        assert isinstance(method, TrainedMethod)
        return method

    def losses(self, checkpoint: Path, stop_after: int = STEPS) -> list[float]:
        """Train from `checkpoint` if it exists and return the loss of every step; a training that ends saves its codec."""
        seen: list[float] = []

        def log(step: int, terms: dict[str, float]) -> None:
            seen.append(terms["loss"])
            if len(seen) > stop_after:
                raise _Interrupted

        method, fabric = self.method(), Fabric(accelerator="cpu", devices=1)
        with contextlib.suppress(_Interrupted):
            ledger = train(method, self.batches(), fabric, checkpoint, "check", log, log_every=1, save_seconds=0)
            save_codec(self.cell, self.plugins, self.folders, method, ledger)
        return seen[:stop_after]

    @cached_property
    def undisturbed(self) -> list[float]:
        with _watched(self.task) as self.asked:
            return self.losses(self.folder / "undisturbed.safetensors")

    @cached_property
    def begun(self) -> list[float]:
        return self.losses(self.folder / "interrupted.safetensors", stop_after=STEPS - 1)

    def terms(self) -> None:
        """The loss is a set of named, finite scalars with one called loss."""
        method = self.method()
        terms: Any = method.loss(self.batches()[0])
        expected = 'a dictionary of named terms, {"loss": …, "rate": …}'
        require(isinstance(terms, dict), f"loss() returned a {type(terms).__name__}, not {expected}")
        require("loss" in terms, f"loss() returned the terms {sorted(terms)}; the one to be minimised must be called 'loss'")
        for name, value in terms.items():
            require(isinstance(value, Tensor), f"the term '{name}' is a {type(value).__name__}, not a tensor")
            require(value.numel() == 1, f"the term '{name}' has the shape {tuple(value.shape)}; it must be one number")
            require(bool(torch.isfinite(value)), f"the term '{name}' is {float(value)}")

    def gradients(self) -> None:
        """Gradients reach the codec, and its encoder where that trains."""
        method = self.method()
        codec, loss = method.codec, method.loss(self.batches()[0])["loss"]
        require(any(p.requires_grad for p in codec.parameters()), "no parameter of the codec trains (requires_grad is off)")
        cut = "was it cut off by detach(), item(), torch.no_grad() or a rounding?"
        require(loss.requires_grad, f"'loss' does not depend on anything that trains; {cut}")
        torch.autograd.backward(loss)
        require(_gets_gradient(codec), f"'loss' sends no gradient to the codec; {cut}")
        encoder_trains = any(p.requires_grad for p in codec.g_a.parameters())
        require(_gets_gradient(codec.g_a) or not encoder_trains, f"'loss' sends no gradient to the encoder; {cut}")

    def frozen(self) -> None:
        """The recogniser is the same after training."""
        before = _fingerprint(self.task.recognizer)
        _ = self.undisturbed
        require(_same(before, _fingerprint(self.task.recognizer)), "the recogniser's weights or statistics changed")
        require(not any(p.requires_grad for p in self.task.recognizer.parameters()), "the recogniser's parameters train")

    def unseen(self) -> None:
        """Training never asks for the validation images."""
        _ = self.undisturbed
        called = "build() or loss() called self.task.dataset('val'); what a method trains on is in its batch"
        require("val" not in self.asked, called)

    def absent(self) -> None:
        """What exists in training only is absent from the saved codec."""
        train_cell(self.cell, self.plugins, self.folders, self.device, Share())  # unless `losses` has saved its codec
        saved = set(safetensors.torch.load_file(self.folders.codec(self.cell)))
        plain = set(self.architecture().state_dict())
        odd = ", ".join(sorted(saved ^ plain)[:5])
        require(saved == plain, f"the saved codec and the architecture differ in {odd}; what stays in it is added in extend()")

    def architecture(self) -> CompressionModel:
        """The protocol's codec, freshly built, with the modules that the method adds to it."""
        codec = build_model(self.protocol.codec)
        if issubclass(self.kind, TrainedMethod):
            self.kind.extend(codec, self.parameters)
        return codec

    def two_processes(self) -> None:
        """What one process encodes, another decodes to the same image."""
        codec, image = self.codec(), self.task.dataset("val")[0].image
        data, bits = codec.encode(image), self.folder / "image.icm"
        bits.write_bytes(data)
        name = self.cell.method if issubclass(self.kind, ClassicalMethod) else self.folders.codec(self.cell)
        command = [sys.executable, "-m", "icmbench", "decode", *map(str, (bits, name, self.folder))]
        loose = [argument for file in self.plugins.files for argument in ("--plugin", str(file))]
        done = subprocess.run([*command, *loose, "--device", "cpu"], capture_output=True, text=True, check=False)
        require(done.returncode == 0, f"decoding in a fresh process failed: {done.stderr.strip()[-300:]}")
        decoded = torch.from_numpy(np.array(Image.open(self.folder / "image.png"))).permute(2, 0, 1)
        require(torch.equal(decoded, codec.decode(data)), "the fresh process decoded another image")

    def same_numbers(self) -> None:
        """The same seed gives the same numbers."""
        once = self.undisturbed[: len(self.begun)]
        require(self.begun == once, f"the losses {once} became {self.begun}; is there a random state of the method's own?")

    def resumes(self) -> None:
        """An interrupted training goes on as if nothing had happened."""
        both = self.begun + self.losses(self.folder / "interrupted.safetensors")
        cause = "state that is kept between steps must be a buffer or a parameter"
        require(both == self.undisturbed, f"the losses {self.undisturbed} became {both}; {cause}")
