"""The one training loop, for every trained method and for everything `icmbench prepare` makes."""

import math
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.profiler import record_function
from torch.utils.data import DataLoader

from icmbench.api.method import Trainable
from icmbench.api.task import Batch, Dataset
from icmbench.base import seeds
from icmbench.base.errors import UserError
from icmbench.codecs.neural import densities
from icmbench.experiment import cost
from icmbench.experiment.budget import counting
from icmbench.experiment.checkpoint import LOGGER, Ledger, resume, save
from icmbench.experiment.devices import device_name, seed_torch
from icmbench.schema.protocol import Training

if TYPE_CHECKING:  # takes a second to import, and planning does not need it
    from lightning_fabric import Fabric

Log = Callable[[int, dict[str, float]], None]
LOADERS = 4  # processes that make batches ahead for a GPU
BATCH, FORWARD, BACKWARD, CHECK, UPDATE = (f"step: {part}" for part in ("batch", "forward", "backward", "check", "update"))
MakeBatch = Callable[[Dataset, Sequence[int], int, bool, np.random.Generator], Batch]


class Batches(torch.utils.data.Dataset[Batch]):
    """Batch number -> batch, a pure function of (seed, number), so resuming needs no saved state.

    With several devices each rank takes its share of the batch that one device would get. `workers`: processes that make
    batches ahead for a GPU.
    """

    def __init__(
        self,
        make: MakeBatch,
        dataset: Dataset,
        training: Training,
        seed: int,
        rank: int = 0,
        world: int = 1,
        workers: int = LOADERS,
    ) -> None:
        self.make, self.dataset, self.training, self.seed = make, dataset, training, seed
        self.rank, self.world, self.workers = rank, world, workers

    def __getitem__(self, step: int) -> Batch:
        with record_function(BATCH):
            indices = seeds.batch_indices(self.seed, step, self.training.batch_size, len(self.dataset))
            rng = seeds.generator(self.seed, "crop", step, 0)
            batch = self.make(self.dataset, [int(i) for i in indices], self.training.crop, self.training.flip, rng)
            return Batch(batch.images[self.rank :: self.world], batch.targets[self.rank :: self.world])

    def loader(self, first: int, device: torch.device) -> DataLoader[Batch]:
        """The batches from `first` on, made ahead in worker processes for a GPU."""
        workers = max(1, self.workers) if device.type == "cuda" else 0
        steps = range(first, self.training.steps)
        return DataLoader(self, batch_size=None, sampler=steps, num_workers=workers, pin_memory=workers > 0)


class _Forward(nn.Module):
    """The loss as a module's forward pass, which is what Fabric wraps for precision and data parallelism."""

    def __init__(self, trainable: Trainable) -> None:
        super().__init__()
        self.trainable = trainable

    def forward(self, batch: Callable[[], Batch]) -> tuple[dict[str, Tensor], Tensor]:
        terms = self.trainable.loss(batch())
        return terms, terms["loss"]


class _Steps:
    """The gradients of one batch after the other. A batch that does not fit into memory is split into parts.

    Parts are halved until they fit, and keep that size. Parts, and the shares of several devices, are weighted by their number
    of crops, so the gradient is that of the mean over the whole batch.
    """

    def __init__(self, forward: Callable[..., Any], optimizer: Any, batches: Batches, fabric: "Fabric", ledger: Ledger) -> None:
        self.forward, self.optimizer, self.batches, self.fabric, self.ledger = forward, optimizer, batches, fabric, ledger

    def backward(self, step: int, batch: Batch) -> dict[str, Tensor]:
        """Compute the gradients of a batch, which replace the previous ones, and return its loss terms.

        Raises UserError if not even one crop fits.
        """
        while True:
            self.optimizer.zero_grad()
            seed_torch(self.batches.seed, "noise", step, self.fabric.global_rank)
            try:
                return self._all_parts(batch)
            except RuntimeError as error:
                if not out_of_memory(error):
                    raise
            # outside of the except clause, where the traceback no longer holds the tensors of the failed attempt
            self._halve(step, len(batch.images))

    def _all_parts(self, batch: Batch) -> dict[str, Tensor]:
        terms: dict[str, Tensor] = {}
        fair = self.batches.training.batch_size / self.fabric.world_size  # crops; Fabric takes the mean over the devices
        for part in parts(batch, self.ledger.micro_batch):
            weight = len(part.images) / len(batch.images)
            with record_function(FORWARD):
                part_terms, total = self.forward(lambda part=part: part)  # Fabric would copy a bare batch leaf by leaf
            with record_function(BACKWARD):
                self.fabric.backward(total * (len(part.images) / fair))
            for name, value in part_terms.items():
                terms[name] = terms[name] + value.detach() * weight if name in terms else value.detach() * weight
        return terms

    def _halve(self, step: int, size: int) -> None:
        name, micro = device_name(self.fabric.device), self.ledger.micro_batch or size
        if micro == 1:
            raise UserError(f"a training step on one crop does not fit into the memory of {name}: use a device with more memory.")
        if self.fabric.world_size > 1:
            raise UserError(
                f"{size} crops of a batch do not fit into the memory of {name}: share the batch among more --devices."
            )
        self.ledger.split_from = self.ledger.split_from if self.ledger.micro_batch else step
        self.ledger.micro_batch = -(-micro // 2)
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        LOGGER.warning(
            "out of memory at step %d: batches of %d are now split into parts of %d", step, size, self.ledger.micro_batch
        )


def parts(batch: Batch, size: int) -> Iterator[Batch]:
    """A batch in parts of at most `size` crops, in order. The batch itself if `size` is 0 or not smaller than the batch."""
    if not 0 < size < len(batch.images):
        yield batch
        return
    for first in range(0, len(batch.images), size):
        yield Batch(batch.images[first : first + size], batch.targets[first : first + size])


def out_of_memory(error: RuntimeError) -> bool:
    """Whether an error means that memory ran out. Torch has an exception for a GPU, and only messages for a CPU and cuBLAS."""
    words = ("can't allocate memory", "CUBLAS_STATUS_ALLOC_FAILED")
    return isinstance(error, torch.OutOfMemoryError) or any(text in str(error) for text in words)


def make_optimizer(trainable: Trainable, training: Training) -> torch.optim.Optimizer:
    """The optimiser, with a group for the networks, one for the densities, and those of the method."""
    own = [{**group, "params": list(group["params"])} for group in trainable.parameter_groups()]
    priors = densities(trainable)
    special = {id(p) for p in [*priors, *(p for group in own for p in group["params"])]}
    named = ((name, p) for name, p in trainable.named_parameters() if not name.endswith(".quantiles"))
    networks = {"params": [p for name, p in named if id(p) not in special], "lr": training.lr}
    groups = [networks, {"params": priors, "lr": training.prior_lr, "weight_decay": 0.0}, *own]
    for group in groups:
        group["params"] = [p for p in group["params"] if p.requires_grad]
    groups = [group for group in groups if group["params"]]
    kind = {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW}[training.optimizer]
    optimizer: torch.optim.Optimizer = kind(
        [group for group in groups if group["params"]], lr=training.lr, weight_decay=training.weight_decay
    )
    for group in optimizer.param_groups:
        group["peak_lr"] = group["lr"]
    return optimizer


def _check_finite(terms: dict[str, Tensor], norms: list[Tensor], step: int, checkpoint: Path) -> dict[str, float]:
    norm = float(torch.stack(norms).norm())
    values = {name: float(value) for name, value in terms.items()} | {"gradient_norm": norm}
    wrong = [name for name, value in values.items() if not math.isfinite(value)]
    if wrong:
        kept = f"the last good checkpoint is {checkpoint}" if checkpoint.exists() else "no checkpoint was written yet"
        raise UserError(f"training diverged at step {step}: {', '.join(wrong)} not finite; {kept}.")
    return values


def train(
    trainable: Trainable,
    batches: Batches,
    fabric: "Fabric",
    checkpoint: Path,
    identity: str,
    log: Log = lambda step, terms: None,
    log_every: int = 10,
    save_seconds: float = 10.0,
) -> Ledger:
    """Train to the end of the budget, from `checkpoint` or the previous one if it has this `identity`.

    `log(step, terms)` is called every `log_every` steps with the named terms and the learning rate. A resumed training
    gives the same numbers, to the bit, as an uninterrupted one on the same machine. A batch that does not fit into memory is
    split into parts (`Ledger.micro_batch`). Damaged checkpoints and splits are logged to the logger "icmbench".
    Raises UserError if a loss term or a gradient is not finite (the last good checkpoint stays), or if one crop does not fit
    into memory.
    """
    training = batches.training
    layout = memory_layout(trainable, fabric.device)
    trainable.to(fabric.device, memory_format=layout).train()  # type: ignore[call-overload]
    optimizer = make_optimizer(trainable, training)
    ledger = resume(checkpoint, trainable, optimizer, identity)
    ledger.device = device_name(fabric.device)
    cost.reset_peak_memory(fabric.device)
    energy = cost.Energy(_devices(fabric), ledger.joules if ledger.steps else 0.0)
    forward, wrapped = fabric.setup(_Forward(trainable), optimizer)
    steps = _Steps(forward, optimizer, batches, fabric, ledger)
    with counting(trainable, ledger):
        started = saved = time.monotonic()
        earlier_seconds = ledger.seconds
        for step, batch in enumerate(batches.loader(ledger.steps, fabric.device), start=ledger.steps):
            for group in optimizer.param_groups:
                group["lr"] = group["peak_lr"] * training.lr_factor(step)
            trainable.progress = step / training.steps
            terms = steps.backward(step, batch.to(fabric.device, layout))
            with record_function(CHECK):
                norms = [nn.utils.clip_grad_norm_(group["params"], training.clip_norm) for group in optimizer.param_groups]
                values = _check_finite(terms, norms, step, checkpoint)
            with record_function(UPDATE), torch.no_grad():
                wrapped.step()
                trainable.after_step()
            ledger.steps, ledger.images = step + 1, (step + 1) * training.batch_size
            now = time.monotonic()
            ledger.seconds = earlier_seconds + now - started
            ledger.peak_memory_mib = max(ledger.peak_memory_mib, cost.peak_memory_mib(fabric.device))
            if step % log_every == 0 or ledger.steps == training.steps:
                log(step, values | {"lr": training.lr * training.lr_factor(step)})
            if fabric.is_global_zero and (now - saved >= save_seconds or ledger.steps == training.steps):
                ledger.joules = energy.joules()
                save(checkpoint, trainable, optimizer, ledger, identity)
                saved = now
        trainable.eval()
        with torch.no_grad():
            trainable.finish()
    return ledger


def _devices(fabric: "Fabric") -> list[torch.device]:
    """The devices that share the training, all on this machine."""
    return list(getattr(fabric.strategy, "parallel_devices", None) or [fabric.device])


def memory_layout(module: nn.Module, device: torch.device) -> torch.memory_format:
    """Channels last, which is faster, unless torch corrupts memory with it.

    On a CPU, torch 2.11 writes out of bounds in the backward pass of a strided 1x1 convolution that reads the image's
    three channels in that layout (the first block of the cheng2020 encoders).
    """
    convolutions = (m for m in module.modules() if isinstance(m, nn.Conv2d))
    risky = any(m.kernel_size == (1, 1) and m.stride != (1, 1) and m.in_channels < 16 for m in convolutions)
    return torch.contiguous_format if risky and device.type == "cpu" else torch.channels_last
