"""For methods that check in `build`, before training, whether a task defines what they need."""

import torch
from torch import Tensor

from icmbench.api import Task


def blank(task: Task) -> Tensor:
    """A black image, float [1, 3, 64, 64], on the recogniser's device."""
    return torch.zeros(1, 3, 64, 64, device=next(task.recognizer.parameters()).device)
