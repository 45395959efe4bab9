"""A whole short training, every logged number compared. `--regenerate` writes the numbers anew."""

import json
from pathlib import Path

import cells
import pytest
import torch

from icmbench.base import seeds
from icmbench.experiment.build import build_method, load_task
from icmbench.experiment.cell import Cell
from icmbench.experiment.train import Batches, train
from icmbench.plugins.find import Plugins
from icmbench.running.runner import own_parameters

GOLDEN = Path(__file__).parent / "golden"
CHANGES = {"training.steps": 10, "training.batch_size": 2}


@pytest.mark.slow
@pytest.mark.parametrize("task", ["detection", "segmentation"])
@pytest.mark.parametrize("method", ["task_loss", "aux_loss"])
def test_a_short_training_gives_the_golden_numbers(
    task: str, method: str, tmp_path: Path, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    from lightning_fabric import Fabric

    # the numbers must not depend on the hash of the protocol
    monkeypatch.setattr(Cell, "derive_seed", lambda cell, *axes: seeds.derive("golden", *axes))

    plugins = Plugins()
    protocol = cells.bound(plugins.default_protocol(task), CHANGES)
    parameters = tuple(own_parameters(plugins, method, {}).items())
    cell, loaded = Cell(protocol, method, parameters, 2, 0), load_task(protocol, plugins, cells.CPU)
    seen: list[dict[str, float]] = []
    batches = Batches(loaded.batch, loaded.dataset("train"), protocol.training, 1234)
    torch.manual_seed(1234)
    fabric = Fabric(accelerator="cpu", devices=1)
    built = build_method(cell, plugins, cells.CPU)
    train(built, batches, fabric, tmp_path / "c.safetensors", "golden", lambda step, terms: seen.append(terms), log_every=1)
    path = GOLDEN / f"{method}-{task}.json"
    if request.config.getoption("--regenerate"):
        path.parent.mkdir(exist_ok=True)
        path.write_text(json.dumps(seen, indent=1) + "\n")
    golden = json.loads(path.read_text())
    assert len(seen) == len(golden)
    for step, (now, then) in enumerate(zip(seen, golden, strict=True)):
        assert now == pytest.approx(then, rel=0.01), f"step {step}"
