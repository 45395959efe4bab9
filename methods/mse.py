"""The unchanged start codec of every rate point: pretrained for L = R + λ·MSE, for human eyes, never for the task."""

from icmbench.api import UntrainedMethod


class Mse(UntrainedMethod):
    pass
