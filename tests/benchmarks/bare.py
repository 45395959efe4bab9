"""L = R + λ·E by plain PyTorch, to set the harness's training step beside."""

from typing import Any

import torch
from torch import Tensor, nn

from icmbench.api.task import Batch
from icmbench.base import seeds
from icmbench.codecs.neural import code_for_training
from icmbench.experiment.build import build_method
from icmbench.experiment.cell import Cell
from icmbench.experiment.devices import torch_device
from icmbench.experiment.folders import Device
from icmbench.plugins.find import Plugins


class BareLoop:
    """A codec, a frozen recogniser, an optimiser, clipping, a learning rate: what `task_loss` does at one rate point."""

    def __init__(self, cell: Cell, plugins: Plugins, device: Device, layout: torch.memory_format) -> None:
        method: Any = build_method(cell, plugins, device)
        self.codec, self.task, self.lmbda = method.codec, method.task, method.lmbda
        self.rules, self.seed = cell.protocol.training, cell.derive_seed("batches")
        self.device, self.layout = torch_device(device), layout
        self.codec.to(self.device, memory_format=layout).train()
        named = [(name, p) for name, p in self.codec.named_parameters() if not name.endswith(".quantiles")]
        networks, priors = ([p for name, p in named if ("entropy_bottleneck" in name) is prior] for prior in (False, True))
        self.rates = self.rules.lr, self.rules.prior_lr
        self.adam = torch.optim.Adam([{"params": networks}, {"params": priors}])
        self.losses: list[Tensor] = []

    def step(self, batch: Batch) -> None:
        """One optimiser step."""
        number = len(self.losses)
        self.adam.zero_grad()
        for group, rate in zip(self.adam.param_groups, self.rates, strict=True):
            group["lr"] = rate * self.rules.lr_factor(number)
        torch.manual_seed(seeds.derive(self.seed, "noise", number, 0))
        batch = batch.to(self.device, self.layout)
        coded = code_for_training(self.codec, batch.images, self.rules.quantisation)
        bits = torch.stack([bits.sum() for bits in coded.bits.values()]).sum()
        loss = bits / (batch.images.shape[0] * batch.images.shape[2] * batch.images.shape[3])
        loss = loss + self.lmbda * self.task.loss(coded.images, batch.targets)
        loss.backward()
        for group in self.adam.param_groups:
            nn.utils.clip_grad_norm_(group["params"], self.rules.clip_norm)
        self.adam.step()
        self.losses.append(loss.detach())
