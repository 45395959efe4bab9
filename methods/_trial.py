"""Finding out in `build`, before anything trains, whether a task has what a method needs."""

import torch
from torch import Tensor

from icmbench.api import Task


def blank(task: Task) -> Tensor:
    """A black image, float [1, 3, 64, 64], where the recogniser lies."""
    return torch.zeros(1, 3, 64, 64, device=next(task.recognizer.parameters()).device)
