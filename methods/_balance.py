"""How the weight of an auxiliary loss changes during training: the modes of `aux_loss`.

Notation: E the task loss, A the auxiliary loss, y the latent that the encoder makes. Both losses reach the encoder
through y only, so g_E = ∂E/∂y and g_A = ∂A/∂y (of the whole batch) stand for the gradients of all the encoder's parameters.
"""

from collections.abc import Callable
from typing import Any, Literal

import torch
from torch import Tensor, nn

Mode = Literal["fixed", "linear_decay", "gradient_norm", "uncertainty", "gradient_surgery"]

SCALE_LR = 1e-2  # of s: Adam moves a parameter by about its learning rate per step, and s must adapt within a training


class Balance(nn.Module):
    """The weighted auxiliary term α·A, with α adapted according to `mode`.

    `fixed`: α·A.
    `linear_decay`: α·(1 - t)·A, where t rises from 0 to 1 over the training.
    `gradient_norm`: α·A, but the encoder gets g_A scaled to the length of g_E, so the gradients of both losses
    have the ratio α (the aim of GradNorm, arXiv 1711.02257, reached directly instead of by descent).
    `uncertainty`: α·(exp(-s)·A + s) with a learned s, after arXiv 1705.07115.
    `gradient_surgery`: α·A, but where g_A opposes g_E, the encoder gets it without its component along g_E, after PCGrad
    (arXiv 2001.06782), which projects the gradients of both losses.
    """

    def __init__(self, mode: Mode, alpha: float) -> None:
        super().__init__()
        self.mode, self.alpha = mode, alpha
        self.log_scale = nn.Parameter(torch.zeros(())) if mode == "uncertainty" else None

    def forward(self, task: Tensor, auxiliary: Tensor, latent: Tensor, progress: float) -> Tensor:
        """The scalar term from the scalars E and A, y [B, C, h, w] with its graph, and t in 0..1."""
        rules: dict[str, Callable[[], Tensor]] = {
            "fixed": lambda: auxiliary,
            "linear_decay": lambda: (1 - progress) * auxiliary,
            "gradient_norm": lambda: _equal_norm(task, auxiliary, latent),
            "uncertainty": lambda: self._learned(auxiliary),
            "gradient_surgery": lambda: _without_conflict(task, auxiliary, latent),
        }
        return self.alpha * rules[self.mode]()

    def _learned(self, auxiliary: Tensor) -> Tensor:
        assert self.log_scale is not None
        return torch.exp(-self.log_scale) * auxiliary + self.log_scale

    def parameter_groups(self) -> list[dict[str, Any]]:
        """The learned s, if there is one, with its learning rate."""
        return [] if self.log_scale is None else [{"params": [self.log_scale], "lr": SCALE_LR}]


def _gradients(task: Tensor, auxiliary: Tensor, latent: Tensor) -> tuple[Tensor, Tensor]:
    """g_E and g_A."""
    return tuple(torch.autograd.grad(loss, latent, retain_graph=True)[0].float() for loss in (task, auxiliary))  # type: ignore[return-value]


def _equal_norm(task: Tensor, auxiliary: Tensor, latent: Tensor) -> Tensor:
    of_task, of_auxiliary = _gradients(task, auxiliary, latent)
    scaled = of_auxiliary * (of_task.norm() / of_auxiliary.norm().clamp_min(1e-12))
    return _with_gradient(auxiliary, latent, scaled - of_auxiliary)


def _without_conflict(task: Tensor, auxiliary: Tensor, latent: Tensor) -> Tensor:
    of_task, of_auxiliary = _gradients(task, auxiliary, latent)
    along = (of_auxiliary * of_task).sum() / of_task.square().sum().clamp_min(1e-12)
    return _with_gradient(auxiliary, latent, -along.clamp(max=0) * of_task)


def _with_gradient(loss: Tensor, latent: Tensor, added: Tensor) -> Tensor:
    """The same value, with `added` on top of its gradient to the latent; other parameters' gradients stay."""
    extra = (added * latent).sum()
    return loss + extra - extra.detach()
