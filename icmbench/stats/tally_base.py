"""What every tally has in common."""

from abc import ABC, abstractmethod
from typing import ClassVar

import numpy as np
import pandas as pd
from numpy.typing import NDArray

Array = NDArray[np.float64]


class Tally(ABC):
    """`columns`: those it reads of the rows. `ordered`: pairs of scores of which the first is never above the second."""

    columns: ClassVar[tuple[str, ...]]
    ordered: ClassVar[tuple[tuple[str, str], ...]] = ()

    @abstractmethod
    def __init__(self, rows: pd.DataFrame) -> None:
        """Take the columns of a data set's rows, one row an image."""

    @abstractmethod
    def score(self, name: str, weights: Array) -> Array:
        """Score `name` in percent under each of B weightings [B, images]: [B], nan where it has no value.

        A weight is how often an image counts (0: not at all). Raises KeyError for a score that it does not know.
        """
