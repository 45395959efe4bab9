"""Tallies: the contribution of every image to a data set's scores, which gives the scores for any weighting of the images.

A task's metric writes the tally's columns into the rows of the images. A bootstrap then weights the images and gets
the scores again without running a network. A task defines its own kind of tally; `icmbench.plugins` finds it by its name.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import ClassVar

import numpy as np
import pandas as pd
from numpy.typing import NDArray

Array = NDArray[np.float64]


class Tally(ABC):
    """`name`: its name in records. `columns`: the columns of the rows that it reads.

    `ordered`: pairs of scores of which the first is never above the second.
    """

    name: ClassVar[str]
    columns: ClassVar[tuple[str, ...]]
    ordered: ClassVar[tuple[tuple[str, str], ...]] = ()

    @abstractmethod
    def __init__(self, rows: pd.DataFrame) -> None:
        """Take the columns of a data set's rows, one row an image."""

    @abstractmethod
    def score(self, name: str, weights: Array) -> Array:
        """Score `name` in percent under each of B weightings [B, images]: [B], nan where it has no value.

        A weight is how often an image counts (0: not at all). Raises KeyError for an unknown score.
        """

    def per_class(self, name: str) -> dict[int, float]:
        """Score `name` in percent of each class that has one, over all images, by class number.

        Empty if the tally does not distinguish classes or does not know the score.
        """
        return {}

    @classmethod
    def disordered(cls, scores: Mapping[str, float]) -> list[str]:
        """Contradictions to `ordered` among scores in percent; empty if there are none."""
        return [
            f"{low} is {scores[low]:.2f}, above {high} with {scores[high]:.2f}"
            for low, high in cls.ordered
            if scores.get(low, 0.0) > scores.get(high, math.inf) + 1e-6
        ]


class Mean(Tally):
    """A score of the data set is the mean of the images' own, which stand in a column of the score's name."""

    name = "mean"
    columns = ()

    def __init__(self, rows: pd.DataFrame) -> None:
        self.rows = rows

    def score(self, name: str, weights: Array) -> Array:
        scores = self.rows[name].to_numpy(np.float64)
        with np.errstate(invalid="ignore"):
            mean: Array = weights @ scores / weights.sum(1)
        return mean
