"""Where the time of a training step goes."""

import json
from pathlib import Path

import pytest
from cells import CPU, bound

from icmbench.cli.main import main
from icmbench.experiment.train import BACKWARD, FORWARD
from icmbench.extras.profile import PARTS, measure
from icmbench.plugins.find import Plugins
from icmbench.running.runner import plan


@pytest.mark.slow
def test_the_parts_of_a_step_are_told_and_traced(small_protocol: Path, tmp_path: Path) -> None:
    plugins = Plugins()
    [cell] = plan(plugins, bound(small_protocol), {"aux_loss": {}}, [1], 1)
    found = measure(cell, plugins, CPU, 2, trace := tmp_path / "trace.json")
    assert [part.name for part in found.parts] == list(PARTS)
    assert {part.name: part.calls for part in found.parts} == dict.fromkeys(PARTS, 1)
    seconds = {part.name: part.host for part in found.parts}
    assert seconds[FORWARD] + seconds[BACKWARD] > 0.8 * sum(seconds.values())
    assert 0 < found.operations / found.step < found.limit
    times = [operator.host for operator in found.operators]
    assert times == sorted(times, reverse=True)
    named = {event.get("name") for event in json.loads(trace.read_text())["traceEvents"]}
    assert set(PARTS) <= named
    assert sorted(path.name for path in tmp_path.iterdir()) == ["trace.json"]  # no record, no codec


def test_what_is_not_trained_has_no_step(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    for method in ("jpeg", "mse"):
        assert main(["profile", method, "segmentation", "--device", "cpu"]) == 2
        assert f"{method} is not trained, so it has no training step to profile" in capsys.readouterr().err
