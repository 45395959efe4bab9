"""The contract of a method."""

import copy
import inspect
import subprocess
import sys
from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import safetensors.torch
import torch
from lightning_fabric import Fabric
from PIL import Image
from torch import Tensor

from icmbench.api.classes import method_class
from icmbench.api.method import ClassicalMethod, Method, Trainable, TrainedMethod
from icmbench.codecs.neural import Codec, build_model
from icmbench.experiment.build import build_method, load_task, parameters_of, saved_codec
from icmbench.experiment.compute import save_codec, train_cell, training_batches
from icmbench.experiment.folders import Device, Folders, Share
from icmbench.experiment.train import Batches, train
from icmbench.extras.authoring.trials import STEPS, has_gradient, require, require_defined, require_strict
from icmbench.plugins.find import Plugins
from icmbench.running.runner import bind, plan
from icmbench.schema.protocol import Protocol, override
from icmbench.schema.store import Store


def method_points(plugins: Plugins, name: str, task: str, folder: Path) -> list[Callable[[], None]]:
    """The points of the contract of a method, on a task's default protocol, shortened, in the order in which they are tested.

    Raises Broken if members of its class are missing or have the wrong form.
    """
    kind = method_class(plugins, name)
    require_defined(kind)
    require_strict("Parameters", kind.Parameters)
    bare = [name for name, field in kind.Parameters.model_fields.items() if field.is_required()]
    require(not bare, f"{', '.join(bare)} in Parameters has no default; every parameter needs one")
    if issubclass(kind, ClassicalMethod):
        _require_constructor(kind, "parameters", "rate")
        absent = [name for name in ("rate_parameter", "rates") if not hasattr(kind, name)]
        require(not absent, f"{kind.__name__} does not define {' and '.join(absent)}")
        require(len(kind.rates) > 0, "rates is empty; it lists the values that make a curve, from the lowest rate to the highest")
    else:
        _require_constructor(kind, "parameters", "codec", "task", "lmbda", "rules")
    if issubclass(kind, TrainedMethod):
        require(kind.loss is not Trainable.loss, f"{kind.__name__} does not define loss(self, batch)")
        made = "extend must be a class method: @classmethod above def extend(cls, codec, parameters)"
        require(isinstance(inspect.getattr_static(kind, "extend"), classmethod), made)
    changes = {"training.steps": STEPS, "training.batch_size": 2}
    protocol = bind(override(plugins.protocol(plugins.default_protocol(task)), changes), plugins)
    return MethodTrial(plugins, name, protocol, folder).points()


def _require_constructor(kind: type[Method], *names: str) -> None:
    try:
        inspect.signature(kind).bind(*names)
    except TypeError:
        instead = "; what it needs is made in build(self)" if issubclass(kind, TrainedMethod) else ""
        require(False, f"__init__ must take (self, {', '.join(names)}), or be left out{instead}")


class _Interrupted(Exception):
    """Ends a training early."""


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

    def rates(self) -> None:
        """More bits from each rate point to the next."""
        image, kind = self.task.dataset("val")[0].image, self.kind
        assert issubclass(kind, ClassicalMethod)
        bits = [8 * len(kind(self.parameters, rate).encode(image)) for rate in kind.rates]
        require(bits == sorted(set(bits)), f"{kind.rate_parameter} {kind.rates} gave {bits} bits")

    def sizes(self) -> None:
        """An image of any size comes back in that size, 8-bit RGB."""
        codec, image = self.codec(), self.task.dataset("val")[0].image
        for height, width in (image.shape[1:], (37, 51), (1, 1)):
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

        with mock.patch.object(self.task, "dataset", wraps=self.task.dataset) as dataset:
            method, fabric = self.method(), Fabric(accelerator="cpu", devices=1)
            try:
                ledger = train(method, self.batches(), fabric, checkpoint, "check", log, log_every=1, save_seconds=0)
            except _Interrupted:
                return seen[:stop_after]
        self.asked |= {split for call in dataset.call_args_list for split in (*call.args, *call.kwargs.values())}
        save_codec(self.cell, self.plugins, self.folders, method, ledger)  # asks for `val`, to assess what was trained
        return seen

    @cached_property
    def undisturbed(self) -> list[float]:
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
        require(any(map(has_gradient, codec.parameters())), f"'loss' sends no gradient to the codec; {cut}")
        encoder = [p for p in codec.g_a.parameters() if p.requires_grad]
        require(not encoder or any(map(has_gradient, encoder)), f"'loss' sends no gradient to the encoder; {cut}")

    def frozen(self) -> None:
        """The recogniser is the same after training."""
        network = self.task.recognizer
        before = copy.deepcopy(network.state_dict())
        _ = self.undisturbed
        same = all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
        require(same, "the recogniser's weights or statistics changed")
        require(not any(p.requires_grad for p in network.parameters()), "the recogniser's parameters train")

    def unseen(self) -> None:
        """Training never asks for the validation images."""
        _ = self.undisturbed
        called = "build() or loss() called self.task.dataset('val'); what a method trains on is in its batch"
        require("val" not in self.asked, called)

    def absent(self) -> None:
        """What exists in training only is absent from the saved codec."""
        train_cell(self.cell, self.plugins, self.folders, self.device, Share())  # unless `losses` has saved its codec
        saved = set(safetensors.torch.load_file(self.folders.codec(self.cell)))
        codec = build_model(self.protocol.codec)
        if issubclass(self.kind, TrainedMethod):
            self.kind.extend(codec, self.parameters)
        plain = set(codec.state_dict())
        odd = ", ".join(sorted(saved ^ plain)[:5])
        require(saved == plain, f"the saved codec and the architecture differ in {odd}; what stays in it is added in extend()")

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
