"""The densities of a trained anchor have kept up with its latents: fitting them again afterwards saves next to nothing."""

from pathlib import Path

import pytest
from cells import CPU, bound, folders
from refitting import saved_by_refitting

from icmbench.codecs.neural import NeuralCodec
from icmbench.experiment.build import load_task, saved_codec
from icmbench.experiment.cell import Cell
from icmbench.experiment.compute import ALONE, train_cell
from icmbench.plugins.find import Plugins

PLUGINS = Plugins()


def saved(task: str, changes: dict[str, float], folder: Path) -> float:
    """What refitting saves of the bits of the anchor at the lowest λ, where the latents shrink most."""
    protocol = bound(PLUGINS.default_protocol(task), changes)
    cell = Cell(protocol, protocol.anchor, (), 0, 0)
    train_cell(cell, PLUGINS, folders(folder), CPU, ALONE)
    codec, data = saved_codec(cell, PLUGINS, folders(folder), CPU), load_task(protocol, PLUGINS, CPU)
    assert isinstance(codec, NeuralCodec)
    return saved_by_refitting(codec, data.dataset("train"), data.dataset("val"))


@pytest.mark.slow
@pytest.mark.parametrize(("task", "changes"), [("detection", {"training.steps": 80}), ("segmentation", {})])
def test_refitting_the_densities_of_the_anchor_saves_less_than_one_percent(
    task: str, changes: dict[str, float], tmp_path: Path
) -> None:
    assert saved(task, changes, tmp_path) < 0.01  # fewer steps leave the densities less time


@pytest.mark.slow
def test_refitting_shows_densities_that_lag_behind(tmp_path: Path) -> None:
    assert saved("detection", {"training.steps": 30, "training.prior_lr": 1e-5}, tmp_path) > 0.02
