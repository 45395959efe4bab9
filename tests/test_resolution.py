"""`icmbench power` and `icmbench converge` as a user types them, on a protocol of two steps."""

import json
from pathlib import Path

import pytest
from cells import INLINE, bound

from icmbench.cli.main import main
from icmbench.schema.protocol import doubled


@pytest.mark.slow
def test_power_then_converge_then_table(
    small_protocol: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    place = ["segmentation", "--protocol", str(small_protocol), *INLINE]
    words = [*place, "--json"]
    assert main(["power", *words, "--seeds", "2"]) == 0
    found = json.loads(capsys.readouterr().out)
    rules = bound(small_protocol)
    assert (found["protocol"], found["seeds"], len(found["pairs"])) == (rules.identity, 2, 1)
    assert found["spread"] == pytest.approx(abs(found["pairs"][0]), rel=0.1)
    assert found["spread"] > 0

    assert main(["power", *words, "--seeds", "2"]) == 0  # nothing is computed anew
    said = capsys.readouterr()
    assert "6 cells, 6 already there" in said.err
    assert json.loads(said.out) == found

    assert main(["converge", *words, "--seeds", "1"]) == 0
    moved = json.loads(capsys.readouterr().out)
    assert (moved["protocol"], moved["steps"], moved["low"]) == (rules.identity, 2, None)
    assert moved["value"] != 0
    assert (Path("results") / doubled(rules).identity).is_dir()

    assert main(["run", "mse", *place]) == 0
    shown = capsys.readouterr().out
    assert "anchor ×2" in shown
    assert f"{moved['value']:+.1f} %" in shown

    assert main(["table", "--json"]) == 0
    rows = {row["method"]: row for row in json.loads(capsys.readouterr().out)}
    assert set(rows) == {"mse", "task_loss"}
    assert rows["mse"]["anchor_doubled"]["value"] == pytest.approx(moved["value"])
    assert rows["task_loss"]["points"][0]["score"]["high"] is not None


@pytest.mark.parametrize("command", ["power", "converge"])
@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["detectoin"], "did you mean 'detection'?"),
        (["detection", "--protocol", "shapes-segmentation-v3"], "not of detection"),
        (["detection", "--protocol", "nowhere.toml"], "cannot read nowhere.toml"),
        (["detection", "--plugin", "nowhere.py"], "no plugin file nowhere.py"),
    ],
)
def test_what_is_wrong_is_said_in_a_sentence(
    command: str, words: list[str], expected: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([command, *words]) == 2
    assert expected in capsys.readouterr().err


def test_power_needs_two_seeds(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["power", "detection", "--seeds", "1"]) == 2
    assert "at least 2 seeds" in capsys.readouterr().err
