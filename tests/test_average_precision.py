"""The detection metric beside pycocotools, the reference: all six scores, and AP from the tally."""

import numpy as np
import pandas as pd
import pytest
from detections import case, reference

from icmbench.tasks.detection.metric import AveragePrecision
from icmbench.tasks.detection.tally import Detections


@pytest.mark.parametrize(("categories", "seed"), [(1, 0), (10, 1), (80, 2)])
def test_scores_are_those_of_pycocotools(categories: int, seed: int) -> None:
    made = case(60, categories, seed)
    metric = AveragePrecision(made.dataset)
    rows = pd.DataFrame([metric.update(sample, prediction) for sample, prediction in made.pictures()])
    expected = reference(made)
    assert metric.compute() == pytest.approx(expected, abs=1e-9)
    for name in ("AP", "AP50", "AP75"):
        assert Detections(rows).score(name, np.ones((1, len(rows)))) == pytest.approx(expected[name], abs=1e-9)
