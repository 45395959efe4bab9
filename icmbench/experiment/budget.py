"""Counts what a training takes, so that a method that takes more than the protocol's budget does not go unnoticed."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.optim.optimizer import register_optimizer_step_post_hook

from icmbench.api.method import Trainable
from icmbench.codecs.neural import densities


@dataclass
class Spent:
    """Steps of all optimisers in the process, and crops that went through codec and recogniser.

    `optimizer_steps`: those of optimisers that train anything but densities; `prior_steps`: those on densities alone.
    """

    optimizer_steps: int = 0
    prior_steps: int = 0
    codec_crops: int = 0
    recognizer_crops: int = 0


@contextmanager
def counting(trainable: Trainable, spent: Spent) -> Iterator[None]:
    """While the block runs, count the steps of every optimiser and the crops in `spent`."""
    priors = {id(p) for p in densities(trainable)}

    def stepped(optimizer: torch.optim.Optimizer, *_: Any) -> None:
        only_priors = all(id(p) in priors for group in optimizer.param_groups for p in group["params"])
        if only_priors:
            spent.prior_steps += 1
        else:
            spent.optimizer_steps += 1

    def coded(_: nn.Module, given: tuple[Any, ...]) -> None:
        spent.codec_crops += len(given[0])

    def recognized(_: nn.Module, given: tuple[Any, ...]) -> None:
        spent.recognizer_crops += len(given[0])

    codec = getattr(trainable, "codec", None)
    recognizer = getattr(getattr(trainable, "task", None), "recognizer", None)
    with ExitStack() as stack:
        stack.callback(register_optimizer_step_post_hook(stepped).remove)
        if codec is not None:
            stack.callback(getattr(codec, "g_a", codec).register_forward_pre_hook(coded).remove)
        if recognizer is not None:
            stack.callback(_first_layer(recognizer).register_forward_pre_hook(recognized).remove)
        yield


def _first_layer(network: nn.Module) -> nn.Module:
    """The first layer with parameters: every image goes through it, whichever method of the network is called.

    The network itself if it has no parameters.
    """
    return next((m for m in network.modules() if next(m.parameters(recurse=False), None) is not None), network)
