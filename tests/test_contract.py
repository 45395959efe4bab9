"""The contract suite on every plugin found, and the branch of `aux_loss` at every place."""

from pathlib import Path

import cells
import pytest
import torch

from icmbench.base.errors import UserError
from icmbench.experiment.build import build_method, load_task
from icmbench.experiment.cell import Cell
from icmbench.experiment.train import Batches
from icmbench.extras.authoring.check import check
from icmbench.plugins.find import Plugins
from icmbench.running.runner import own_parameters

PLUGINS = Plugins()
TASKS = sorted(PLUGINS.find("tasks"))
METHODS = sorted(set(PLUGINS.find("methods")) - {"prompt"})  # prompt needs an architecture that no task's protocol has
DIFFER = {"aux_loss", "distill", "feature_loss", "region_mse", "task_loss"}  # what the others know of a task is its loss at most
FRESH = {"adapter", "jpeg"}  # one learned, one classical


@pytest.mark.slow
@pytest.mark.parametrize(
    ("method", "task"), [(method, task) for method in METHODS for task in (TASKS if method in DIFFER else TASKS[-1:])]
)
def test_every_method_keeps_the_contract(method: str, task: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if method not in FRESH:
        monkeypatch.setattr("subprocess.run", cells.run_here)
    assert [result for result in check(PLUGINS, method, task) if result.problem] == []


@pytest.mark.slow
@pytest.mark.parametrize("task", TASKS)
def test_every_task_keeps_the_contract(task: str) -> None:
    assert [result for result in check(PLUGINS, task, task) if result.problem] == []


@pytest.mark.slow
@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("position", ["before_decoder", "before_last_layer", "mid_recognizer"])
def test_the_branch_sends_gradients_to_the_encoder_from_every_position(task: str, position: str, tmp_path: Path) -> None:
    protocol = cells.bound(PLUGINS.default_protocol(task), {"training.batch_size": 2})
    parameters = tuple(own_parameters(PLUGINS, "aux_loss", {"position": position}).items())
    method = build_method(Cell(protocol, "aux_loss", parameters, 0, 0), PLUGINS, cells.CPU)
    loaded = load_task(protocol, PLUGINS, cells.CPU)
    terms = method.loss(Batches(loaded.batch, loaded.dataset("train"), protocol.training, 0)[0])
    torch.autograd.backward(terms["aux"])
    gradients = [p.grad for p in method.codec.g_a.parameters()]
    assert all(g is not None and g.abs().sum() > 0 for g in gradients)
    assert terms["loss"].item() == pytest.approx(
        terms["rate"].item() + method.lmbda * (terms["task"].item() + 0.5 * terms["aux"].item()), rel=1e-5
    )


def test_checking_an_unknown_plugin_names_the_nearest() -> None:
    with pytest.raises(UserError, match="did you mean 'aux_loss'"):
        check(PLUGINS, "aux_los", "detection")
