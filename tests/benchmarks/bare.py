"""L = R + λ·E by plain PyTorch, to set the harness's training step beside."""

from typing import Any

import torch
from torch import Tensor, nn

from icmbench.api.task import Batch
from icmbench.base import seeds
from icmbench.experiment.build import build_method
from icmbench.experiment.cell import Cell
from icmbench.experiment.devices import torch_device
from icmbench.experiment.folders import Device
from icmbench.plugins.find import Plugins


class BareLoop:
    """A codec, a frozen recogniser, two optimisers, clipping, a learning rate: what `task_loss` does at one rate point."""

    def __init__(self, cell: Cell, plugins: Plugins, device: Device, layout: torch.memory_format) -> None:
        method: Any = build_method(cell, plugins, device)
        self.codec, self.task, self.lmbda = method.codec, method.task, method.lmbda
        self.rules, self.seed = cell.protocol.training, cell.derive_seed("batches")
        self.device, self.layout = torch_device(device), layout
        self.codec.to(self.device, memory_format=layout).train()
        named = list(self.codec.named_parameters())
        self.network = [p for name, p in named if not name.endswith(".quantiles")]
        self.adam = torch.optim.Adam(self.network, lr=self.rules.lr)
        self.quantiles = torch.optim.Adam([p for name, p in named if name.endswith(".quantiles")], lr=self.rules.quantile_lr)
        self.losses: list[Tensor] = []

    def step(self, batch: Batch) -> None:
        """One optimiser step."""
        number = len(self.losses)
        self.adam.zero_grad()
        self.quantiles.zero_grad()
        self.adam.param_groups[0]["lr"] = self.rules.lr * self.rules.lr_factor(number)
        torch.manual_seed(seeds.derive(self.seed, "noise", number, 0))
        batch = batch.to(self.device, self.layout)
        coded = self.codec(batch.images)
        bits = torch.stack([-torch.log2(p).sum() for p in coded["likelihoods"].values()]).sum()
        loss = bits / (batch.images.shape[0] * batch.images.shape[2] * batch.images.shape[3])
        loss = loss + self.lmbda * self.task.loss(coded["x_hat"], batch.targets)
        (loss + self.codec.aux_loss()).backward()
        nn.utils.clip_grad_norm_(self.network, self.rules.clip_norm)
        self.adam.step()
        self.quantiles.step()
        self.losses.append(loss.detach())
