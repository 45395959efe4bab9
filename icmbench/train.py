"""The one training loop, for every trained method and for everything `icmbench prepare` makes."""

import json
import math
import platform
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.torch
import torch
from lightning_fabric import Fabric
from safetensors import safe_open
from torch import Tensor, nn
from torch.utils.data import DataLoader

from icmbench import cost, seeds
from icmbench.errors import UserError
from icmbench.files import replacing
from icmbench.method import Trainable
from icmbench.protocol import Training
from icmbench.task import Batch, Dataset

Log = Callable[[int, dict[str, float]], None]
MakeBatch = Callable[[Dataset, Sequence[int], int, bool, np.random.Generator], Batch]


@dataclass
class Ledger:
    """What a training cost: optimiser steps, images seen, seconds in the loop, peak memory in MiB, energy in joules.

    Seconds and energy are those of all attempts; `joules` is None where a device does not report it.
    """

    steps: int = 0
    images: int = 0
    seconds: float = 0.0
    peak_memory_mib: float = 0.0
    device: str = ""
    joules: float | None = None


class Batches(torch.utils.data.Dataset[Batch]):
    """Batch number -> batch, a pure function of (seed, number): nothing to save for a resume.

    With several devices each rank takes its share of every batch.
    """

    def __init__(self, make: MakeBatch, dataset: Dataset, training: Training, seed: int, rank: int = 0, world: int = 1) -> None:
        self.make, self.dataset, self.training, self.seed = make, dataset, training, seed
        self.rank, self.world = rank, world

    def __getitem__(self, step: int) -> Batch:
        indices = seeds.batch_indices(self.seed, step, self.training.batch_size, len(self.dataset))
        rng = seeds.generator(self.seed, "crop", step, self.rank)
        share = [int(i) for i in indices[self.rank :: self.world]]
        return self.make(self.dataset, share, self.training.crop, self.training.flip, rng)

    def loader(self, first: int, device: torch.device) -> DataLoader[Batch]:
        """Batches `first` to the last, made ahead in worker processes for a GPU."""
        workers = 4 if device.type == "cuda" else 0
        return DataLoader(
            self,
            batch_size=None,
            sampler=range(first, self.training.steps),
            num_workers=workers,
            pin_memory=workers > 0,
        )


class _Forward(nn.Module):
    """The loss as a module's forward pass, which is what Fabric wraps for precision and data parallelism."""

    def __init__(self, trainable: Trainable) -> None:
        super().__init__()
        self.trainable = trainable

    def forward(self, batch: Callable[[], Batch]) -> tuple[dict[str, Tensor], Tensor]:
        terms = self.trainable.loss(batch())
        quantiles = self.trainable.quantile_loss()
        return terms, terms["loss"] if quantiles is None else terms["loss"] + quantiles


def _optimizers(trainable: Trainable, training: Training) -> list[torch.optim.Optimizer]:
    """One optimiser for the network and, where there are quantiles, one for them (their gradients never mix)."""
    named = [(name, p) for name, p in trainable.named_parameters() if p.requires_grad]
    network = [p for name, p in named if not name.endswith(".quantiles")]
    quantiles = [p for name, p in named if name.endswith(".quantiles")]
    kind = {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW}[training.optimizer]
    optimizers: list[torch.optim.Optimizer] = [kind(network, lr=training.lr, weight_decay=training.weight_decay)]
    if quantiles:
        optimizers.append(torch.optim.Adam(quantiles, lr=training.quantile_lr))
    return optimizers


def _save(path: Path, trainable: Trainable, optimizers: list[Any], ledger: Ledger, identity: str) -> None:
    tensors = {f"model.{name}": value for name, value in trainable.state_dict().items()}
    for number, optimizer in enumerate(optimizers):
        for index, slots in optimizer.state_dict()["state"].items():
            tensors |= {f"optimizer.{number}.{index}.{slot}": value for slot, value in slots.items()}
    metadata = {"identity": identity, "ledger": json.dumps(asdict(ledger))}
    with replacing(path) as temporary:
        temporary.write_bytes(safetensors.torch.save({k: v.contiguous() for k, v in tensors.items()}, metadata))


def _resume(path: Path, trainable: Trainable, optimizers: list[Any], identity: str) -> Ledger:
    """Take everything from a checkpoint of the same identity; an absent, foreign or damaged one starts anew."""
    try:
        with safe_open(path, "pt") as file:
            metadata = file.metadata() or {}
        tensors = safetensors.torch.load_file(path)
    except (OSError, safetensors.SafetensorError):
        return Ledger()
    if metadata.get("identity") != identity:
        return Ledger()
    trainable.load_state_dict({k.removeprefix("model."): v for k, v in tensors.items() if k.startswith("model.")})
    for number, optimizer in enumerate(optimizers):
        state: dict[int, dict[str, Tensor]] = {}
        for key, value in tensors.items():
            kind, rest = key.split(".", 1)
            if kind == "optimizer" and rest.startswith(f"{number}."):
                _, index, slot = rest.split(".")
                state.setdefault(int(index), {})[slot] = value
        optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})
    return Ledger(**json.loads(metadata["ledger"]))


def _check_finite(terms: dict[str, Tensor], norm: Tensor, step: int, checkpoint: Path) -> dict[str, float]:
    values = {name: float(value) for name, value in terms.items()} | {"gradient_norm": float(norm)}
    wrong = [name for name, value in values.items() if not math.isfinite(value)]
    if wrong:
        kept = f"the last good checkpoint is {checkpoint}" if checkpoint.exists() else "no checkpoint was written yet"
        raise UserError(f"training diverged at step {step}: {', '.join(wrong)} not finite; {kept}.")
    return values


def train(
    trainable: Trainable,
    batches: Batches,
    fabric: Fabric,
    checkpoint: Path,
    identity: str,
    log: Log = lambda step, terms: None,
    log_every: int = 10,
    save_seconds: float = 10.0,
) -> Ledger:
    """Train to the end of the budget, from `checkpoint` if it belongs to this `identity`.

    `log(step, terms)` is called every `log_every` steps with the named terms and the learning rate. A resumed training
    gives the same numbers, to the bit, as an undisturbed one on the same machine.
    Raises UserError when a loss term or a gradient is not finite; the last good checkpoint stays.
    """
    training = batches.training
    layout = memory_layout(trainable, fabric.device)
    trainable.to(fabric.device, memory_format=layout).train()  # type: ignore[call-overload]
    optimizers = _optimizers(trainable, training)
    ledger = _resume(checkpoint, trainable, optimizers, identity)
    ledger.device = device_name(fabric.device)
    cost.reset_peak_memory(fabric.device)
    energy = cost.Energy(_devices(fabric), ledger.joules if ledger.steps else 0.0)
    network = optimizers[0].param_groups[0]["params"]
    forward, *wrapped = fabric.setup(_Forward(trainable), *optimizers)
    started = saved = time.monotonic()
    earlier_seconds = ledger.seconds
    for step, batch in enumerate(batches.loader(ledger.steps, fabric.device), start=ledger.steps):
        for optimizer in optimizers:
            optimizer.zero_grad()
        wrapped[0].param_groups[0]["lr"] = training.lr * training.lr_factor(step)
        seeds.seed_torch(batches.seed, "noise", step, fabric.global_rank)
        trainable.progress = step / training.steps
        moved = batch.to(fabric.device, layout)
        terms, total = forward(lambda moved=moved: moved)  # Fabric would copy a bare batch leaf by leaf
        fabric.backward(total)
        norm = nn.utils.clip_grad_norm_(network, training.clip_norm)
        values = _check_finite(terms, norm, step, checkpoint)
        for optimizer in wrapped:
            optimizer.step()
        ledger.steps, ledger.images = step + 1, (step + 1) * training.batch_size
        now = time.monotonic()
        ledger.seconds = earlier_seconds + now - started
        ledger.peak_memory_mib = max(ledger.peak_memory_mib, cost.peak_memory_mib(fabric.device))
        if step % log_every == 0 or ledger.steps == training.steps:
            log(step, values | {"lr": training.lr * training.lr_factor(step)})
        if fabric.is_global_zero and (now - saved >= save_seconds or ledger.steps == training.steps):
            ledger.joules = energy.joules()
            _save(checkpoint, trainable, optimizers, ledger, identity)
            saved = now
    trainable.eval()
    return ledger


def _devices(fabric: Fabric) -> list[torch.device]:
    """The devices that share the training, all on this machine."""
    return list(getattr(fabric.strategy, "parallel_devices", None) or [fabric.device])


def memory_layout(module: nn.Module, device: torch.device) -> torch.memory_format:
    """Channels last, which is faster, except where torch corrupts memory with it.

    On a CPU, torch 2.11 writes out of bounds in the backward pass of a strided 1x1 convolution that reads the image's
    three channels in that layout (the first block of the cheng2020 encoders).
    """
    convolutions = (m for m in module.modules() if isinstance(m, nn.Conv2d))
    risky = any(m.kernel_size == (1, 1) and m.stride != (1, 1) and m.in_channels < 16 for m in convolutions)
    return torch.contiguous_format if risky and device.type == "cpu" else torch.channels_last


def device_name(device: torch.device) -> str:
    """The GPU's name, or the processor's with the number of threads."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"{_processor()}, {torch.get_num_threads()} thread(s)"


def _processor() -> str:
    """The processor's model; Linux tells it in /proc only."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.machine()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine())
