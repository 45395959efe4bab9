"""Watches a method train: its loss terms, their gradients by part and layer of the codec, and where the bits go.

Gradients are those of the terms as `loss()` names them, without λ or any other weight, on the step's own batch and before
clipping; "loss" is the weighted sum that is minimised.
"""

import json
import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import torch
from lightning_fabric import Fabric
from numpy.typing import NDArray
from pydantic import BaseModel, BeforeValidator, ValidationError
from torch import Tensor, nn

from icmbench.api.method import Trainable, TrainedMethod
from icmbench.api.task import Batch
from icmbench.base.files import write_text
from icmbench.codecs.neural import NeuralCodec
from icmbench.experiment import cost
from icmbench.experiment.build import build_method, load_codec, load_task, saved_training, start_codec, training_identity
from icmbench.experiment.cell import Cell
from icmbench.experiment.checkpoint import Ledger
from icmbench.experiment.compute import ALONE, claim, save_codec, training_batches
from icmbench.experiment.devices import torch_device
from icmbench.experiment.evaluate import synchronised_seconds
from icmbench.experiment.folders import Device, Folders, Share
from icmbench.experiment.report import START, Report, no_report
from icmbench.experiment.train import train
from icmbench.extras.dynamics.allocation import Allocation, allocate
from icmbench.plugins.find import Plugins

PROBES = 20
LOGGED = 1000  # points of a curve, at most about

Part = Literal["encoder", "entropy model", "decoder"]
PARTS: tuple[Part, ...] = ("encoder", "entropy model", "decoder")
Number = Annotated[float, BeforeValidator(lambda value: math.nan if value is None else value)]  # JSON has no nan


class Gradients(BaseModel):
    """The gradients of some parameters at the probed steps, by loss term; nan where a term does not reach them.

    `norms`: Euclidean norms. `cosines`: between the gradient of the task loss and that of each other term.
    """

    norms: dict[str, list[Number]]
    cosines: dict[str, list[Number]]


class Dynamics(BaseModel):
    """The training of one cell. `curves`: loss terms, norm of the whole gradient and learning rate at `steps`.

    `parts` and `layers`: gradients at the steps `probed`. `before` and `after`: bits of the start codec and of the
    trained one. `train_seconds` do not include `probe_seconds`.
    """

    identity: str
    label: str
    lmbda: float
    seed: int
    steps: list[int]
    curves: dict[str, list[float]]
    probed: list[int]
    parts: dict[Part, Gradients]
    layers: dict[str, Gradients]
    before: Allocation
    after: Allocation
    train_seconds: float
    probe_seconds: float


def part_of(layer: str) -> Part:
    """The part of a CompressAI model that a layer belongs to, by the first word of its name."""
    parts: dict[str, Part] = {"g_a": "encoder", "h_a": "encoder", "g_s": "decoder"}
    return parts.get(layer.partition(".")[0], "entropy model")


def layers_of(codec: nn.Module) -> dict[str, list[nn.Parameter]]:
    """The modules whose own parameters train, without quantiles, which have their own loss."""
    own = {
        name: [p for key, p in module.named_parameters(recurse=False) if p.requires_grad and key != "quantiles"]
        for name, module in codec.named_modules()
    }
    return {name: parameters for name, parameters in own.items() if parameters}


def gradient(term: Tensor, parameters: Sequence[nn.Parameter]) -> list[Tensor]:
    """Gradient of a scalar to each parameter, zeros where it does not depend on it; the graph is kept."""
    if not term.requires_grad:
        return [torch.zeros_like(p) for p in parameters]
    return list(torch.autograd.grad(term, parameters, retain_graph=True, materialize_grads=True))


def inner_products(gradients: Sequence[Tensor]) -> Tensor:
    """The table [n, n] of the inner products of n tensors of one shape."""
    rows = torch.stack([g.flatten() for g in gradients]).double()
    return rows @ rows.T


def probe_steps(steps: int) -> list[int]:
    """Evenly spaced steps of a budget, the first and the last among them."""
    return sorted({round(float(step)) for step in np.linspace(0, steps - 1, PROBES)})


class Probed(Trainable):
    """A method whose gradients are measured during training, which does not change the training.

    `products`: for each probed step, the inner products of the terms' gradients, [layers, terms, terms]. Nothing random is drawn.
    """

    def __init__(self, method: TrainedMethod, steps: int) -> None:
        super().__init__()
        self.method, self.steps = method, steps
        self.probed = probe_steps(steps)
        self.layers = layers_of(method.codec)
        self.terms: list[str] = []
        self.products: list[NDArray[np.float64]] = []
        self.seconds = 0.0

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        """The method's terms."""
        self.method.progress = self.progress
        terms = self.method.loss(batch)
        # each step once: a batch that does not fit into memory comes in parts, and only the first is probed
        if round(self.progress * self.steps) in self.probed[len(self.products) :][:1]:
            self._probe(terms)
        return terms

    def parameter_groups(self) -> list[dict[str, Any]]:
        """The method's own groups."""
        return self.method.parameter_groups()

    def after_step(self) -> None:
        """The method's own step."""
        self.method.after_step()

    def finish(self) -> None:
        """The method's own end."""
        self.method.finish()

    def _probe(self, terms: dict[str, Tensor]) -> None:
        start = synchronised_seconds()
        self.terms = self.terms or list(terms)
        parameters = [p for own in self.layers.values() for p in own]
        device = parameters[0].device
        with torch.autocast(device.type, enabled=False):  # a backward pass has the types of its forward pass
            gradients = [gradient(terms[name], parameters) for name in self.terms]
        products = (inner_products(of_terms) for of_terms in zip(*gradients, strict=True))
        by_layer = [torch.stack([next(products) for _ in own]).sum(0) for own in self.layers.values()]
        self.products.append(torch.stack(by_layer).cpu().numpy())
        cost.reset_peak_memory(device)  # the training's peak is not the probing's
        self.seconds += synchronised_seconds() - start

    def by_layer(self) -> dict[str, Gradients]:
        """Norms and cosines of each layer."""
        return {name: summarise(self.terms, [p[k] for p in self.products]) for k, name in enumerate(self.layers)}

    def by_part(self) -> dict[Part, Gradients]:
        """Norms and cosines of all layers of each part together."""
        members = {part: [k for k, name in enumerate(self.layers) if part_of(name) == part] for part in PARTS}
        return {part: summarise(self.terms, [p[own].sum(0) for p in self.products]) for part, own in members.items() if own}


def summarise(terms: Sequence[str], products: Sequence[NDArray[np.float64]]) -> Gradients:
    """Norms and cosines from the inner products [terms, terms] of gradients at each step."""
    table = np.stack(products)
    norms = np.sqrt(np.diagonal(table, axis1=1, axis2=2))
    norms[norms == 0] = math.nan
    cosines = {}
    if "task" in terms:
        task = terms.index("task")
        of_terms = table[:, task] / (norms[:, task, None] * norms)
        cosines = {name: of_terms[:, k].tolist() for k, name in enumerate(terms) if k != task}
    return Gradients(norms={name: norms[:, k].tolist() for k, name in enumerate(terms)}, cosines=cosines)


def ready_start_codec(cell: Cell, device: Device) -> NeuralCodec:
    """The codec that a cell's training starts from, ready to code."""
    codec = NeuralCodec(start_codec(cell).to(torch_device(device)), cell.protocol.codec)
    codec.refit()
    return codec


@dataclass(frozen=True)
class WatchCell:
    """The work that watches a cell train. It leaves dynamics.json beside the trained codec, which is that of `icmbench run`."""

    plugins: Plugins
    folders: Folders
    device: Device

    def path(self, cell: Cell) -> Path:
        """The path of the result."""
        return self.folders.of(cell) / "dynamics.json"

    def identity(self, cell: Cell) -> str:
        """The identity that a result must have to be used for this cell."""
        return json.dumps([training_identity(cell, self.plugins), PROBES])

    def result(self, cell: Cell) -> Dynamics | None:
        """The finished result of this identity if its codec exists too; else None."""
        try:
            result = Dynamics.model_validate_json(self.path(cell).read_text())
        except (OSError, ValidationError):
            return None
        valid = result.identity == self.identity(cell) and saved_training(cell, self.plugins, self.folders)
        return result if valid else None

    def finished(self, cell: Cell) -> bool:
        """Whether there is a result."""
        return self.result(cell) is not None

    def __call__(self, cell: Cell, share: Share = ALONE, report: Report = no_report, wait: bool = True) -> bool:
        """Train with probes, save the codec unless it exists, and write the result. Returns and raises as `ComputeCell`."""
        with claim(cell, self.folders, self.finished, wait) as missing:
            if missing:
                report(START, 0, 0, {})
                self._watch(cell, share, report)
        return missing

    def _watch(self, cell: Cell, share: Share, report: Report) -> None:
        probed, steps, curves, ledger = self.train(cell, share, report)
        if not saved_training(cell, self.plugins, self.folders):
            save_codec(cell, self.plugins, self.folders, probed.method, ledger)
        task, before = load_task(cell.protocol, self.plugins, self.device), ready_start_codec(cell, self.device)
        result = Dynamics(
            identity=self.identity(cell),
            label=cell.label,
            lmbda=cell.rate.lmbda,
            seed=cell.seed,
            steps=steps,
            curves=curves,
            probed=probed.probed,
            parts=probed.by_part(),
            layers=probed.by_layer(),
            before=allocate(before, task, lambda done, total: report("bits before", done, total, {})),
            after=allocate(self.trained_codec(cell), task, lambda done, total: report("bits after", done, total, {})),
            train_seconds=ledger.seconds,
            probe_seconds=probed.seconds,
        )
        write_text(self.path(cell), result.model_dump_json(indent=1))

    def trained_codec(self, cell: Cell) -> NeuralCodec:
        """The trained codec as saved."""
        return load_codec(self.folders.codec(cell), self.plugins, torch_device(self.device))

    def train(self, cell: Cell, share: Share, report: Report) -> tuple[Probed, list[int], dict[str, list[float]], Ledger]:
        """Train as `icmbench run` does, on one device: the probes, the logged steps with their terms, and the ledger.

        An interrupted training starts anew, because its first probes are lost.
        """
        method, training = build_method(cell, self.plugins, self.device), cell.protocol.training
        assert isinstance(method, TrainedMethod)
        fabric = Fabric(accelerator=self.device.accelerator, devices=1, precision=training.precision)
        probed = Probed(method, training.steps)
        batches = training_batches(cell, self.plugins, self.device, share)
        steps: list[int] = []
        curves: defaultdict[str, list[float]] = defaultdict(list)

        def log(step: int, terms: dict[str, float]) -> None:
            steps.append(step)
            for name, value in terms.items():
                curves[name].append(value)
            report("train", step + 1, training.steps, terms)

        checkpoint = self.folders.of(cell) / "dynamics.safetensors"
        checkpoint.unlink(missing_ok=True)
        every = -(-training.steps // LOGGED)
        ledger = train(probed, batches, fabric, checkpoint, self.identity(cell), log, every, save_seconds=math.inf)
        checkpoint.unlink()
        # the time of the probes does not count; their share of the energy is unknown
        return probed, steps, dict(curves), replace(ledger, seconds=ledger.seconds - probed.seconds, joules=None)
