"""What can be known before a training is found out before it."""

import json
from pathlib import Path
from typing import Any

import pytest
from cells import CPU, INLINE, bound, folders

from icmbench.base.errors import UserError
from icmbench.cli.main import main
from icmbench.experiment.cell import Cell
from icmbench.experiment.compute import check_experiment
from icmbench.plugins.find import Plugins
from icmbench.schema.protocol import override

PLUGINS = Plugins()
DETECTION = PLUGINS.default_protocol("detection")


def check_with(ceiling: dict[str, float], changes: dict[str, Any], folder: Path) -> None:
    """Check the detection protocol with changed fields, for which this ceiling was measured."""
    cell = Cell(bound(DETECTION, changes), "task_loss", (), 0, 0)
    path = folders(folder).ceiling(cell, CPU)
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps(ceiling))
    check_experiment(cell, PLUGINS, folders(folder), CPU)


@pytest.mark.parametrize(
    ("ceiling", "changes", "sentence"),
    [
        ({"AP": 77.5, "AP50": 98.9}, {"evaluation.metric": "AP5"}, "'AP5'; did you mean 'AP50'"),
        ({"AP": 0.0}, {}, r"reaches AP 0\.0; are the checkpoint, its classes and their order"),
        ({"AP": 40.0}, {}, r"reaches AP 40\.0 instead of 77\.5 ± 1; are the checkpoint"),
        ({"AP": 60.0}, {"evaluation.ceiling": 62.0}, r"reaches AP 60\.0 instead of 62\.0 ± 1"),
        ({"AP": 77.4}, {}, ""),
        ({"AP50": 98.9}, {"evaluation.metric": "AP50"}, ""),
    ],
)
def test_an_impossible_ceiling_or_metric_is_refused(
    ceiling: dict[str, float], changes: dict[str, Any], sentence: str, tmp_path: Path
) -> None:
    if not sentence:
        check_with(ceiling, changes, tmp_path)
        return
    with pytest.raises(UserError, match=sentence):
        check_with(ceiling, changes, tmp_path)


def test_a_ceiling_is_no_longer_known_when_data_recogniser_or_metric_change() -> None:
    protocol = PLUGINS.protocol(DETECTION)
    assert protocol.evaluation.ceiling == 77.5
    for changes in ({"data.seed": 3}, {"recognizer.crop_scale": 2.0}, {"evaluation.metric": "AP50"}):
        assert override(protocol, changes).evaluation.ceiling is None
    assert override(protocol, {"training.steps": 2}).evaluation.ceiling == 77.5


@pytest.mark.slow
def test_a_misspelt_metric_costs_no_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["run", "task_loss", "detection", "--set", "evaluation.metric=mAP", *INLINE]) == 2
    assert "'mAP'; did you mean 'AP'" in capsys.readouterr().err
    assert not list(tmp_path.rglob("*.safetensors"))
