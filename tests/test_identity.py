"""What a result depends on is what identifies it: an edit makes new cells, and how a codec is evaluated is chosen afterwards."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cells import INLINE, bound, work
from PIL import Image

from builders import CONTENT, curve, make_protocol, make_record
from icmbench.cli.main import main
from icmbench.compare.comparable import comparable
from icmbench.compare.comparison import rows
from icmbench.experiment.compute import ComputeCell
from icmbench.plugins.find import Plugins
from icmbench.running.runner import plan
from icmbench.schema.record import MEASUREMENT, Record

METHOD = '''
"""Task loss by another name."""

from icmbench.api import TrainedMethod


class Mine(TrainedMethod):
    def loss(self, batch):
        coded = self.code(batch.images)
        return {"loss": coded.bpp + self.lmbda * self.task.loss(coded.images, batch.targets)}
'''


def other_mask(path: Path) -> None:
    """Another class in a corner."""
    mask = np.array(Image.open(path))
    mask[:8, :8] = (mask[:8, :8] + 1) % 4
    Image.fromarray(mask).save(path)


@pytest.fixture
def mine(tmp_path: Path) -> Plugins:
    """A loose plugin of one method."""
    (tmp_path / "mine.py").write_text(METHOD)
    return Plugins((tmp_path / "mine.py",))


def first_cell(protocol: Path, plugins: Plugins, compute: ComputeCell) -> tuple[bool, bool, str]:
    """Compute the first cell of `mine`: whether there was anything to do, whether it was trained, and its protocol."""
    [cell] = plan(plugins, bound(protocol, plugins=plugins), {"mine": {}}, [0], 1)
    phases: list[str] = []
    done = compute(cell, report=lambda phase, *rest: phases.append(phase))
    return done, "train" in phases, cell.protocol.identity


@pytest.mark.slow
def test_an_edit_makes_new_cells_and_other_val_data_only_another_evaluation(short_protocol: Path, mine: Plugins) -> None:
    folder = short_protocol.parent
    compute = work(folder, mine)
    *first, identity = first_cell(short_protocol, mine, compute)
    assert first == [True, True]
    assert first_cell(short_protocol, mine, compute) == (False, False, identity)

    other_mask(folder / "val" / "masks" / "0.png")
    assert first_cell(short_protocol, mine, compute) == (True, False, identity)  # evaluated again, not trained again
    assert len(list((folder / "runs" / identity).glob("ceiling-*.json"))) == 2

    other_mask(folder / "train" / "masks" / "0.png")
    *again, other = first_cell(short_protocol, mine, compute)
    assert (again, other != identity) == ([True, True], True)

    (folder / "mine.py").write_text(METHOD + "\n# a new version\n")
    assert first_cell(short_protocol, mine, compute) == (True, True, other)

    config = short_protocol.read_text().replace('metric = "mIoU"', 'metric = "aAcc"')
    short_protocol.write_text(config)
    assert first_cell(short_protocol, mine, compute) == (False, False, other)


@pytest.mark.slow
def test_a_table_by_another_score_computes_nothing(short_protocol: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["run", "mse", "segmentation", "--protocol", str(short_protocol), "--rates", "1", *INLINE]
    assert main(words) == 0
    assert main(["table", "--json", "--metric", "aAcc"]) == 0
    said = capsys.readouterr().out
    table = json.loads(said[said.rindex("\n[\n") :])
    assert {row["metric"] for row in table} == {"aAcc"}
    assert all(row["points"][0]["score"]["value"] > 0 for row in table)
    assert main(["table", "--metric", "aAc"]) == 2
    assert "did you mean 'aAcc'?" in capsys.readouterr().err


def test_scores_can_be_chosen_after_the_fact() -> None:
    records = [r.model_copy(update={"scores": {"AP": s, "AP50": 2 * s}, "ceiling": {"AP": 50.0, "AP50": 100.0}})
               for r in (*curve("task_loss"), *curve("other", 0.8)) for s in [r.scores["AP"]]]  # fmt: skip
    by_ap, by_ap50 = ({row.method: row for row in rows(records, metric=name)} for name in (None, "AP50"))
    assert (by_ap["other"].metric, by_ap50["other"].metric, by_ap50["other"].ceiling) == ("AP", "AP50", 100.0)
    assert by_ap50["other"].bd_rate == by_ap["other"].bd_rate
    assert by_ap50["other"].bd_metric is not None
    assert by_ap50["other"].bd_metric.value == pytest.approx(2 * by_ap["other"].bd_metric.value)  # type: ignore[union-attr]
    assert rows(records, metric="mIoU") == []


def reasons(*records: Record) -> dict[str, str]:
    """Why records are set aside, by method and rate point."""
    return {f"{record.label} {record.rate_index}": reason for record, reason in comparable(records)[1]}


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"measurement": MEASUREMENT + 1}, "measured by another version of icmbench"),
        ({"protocol": make_protocol().model_copy(update={"content": CONTENT.model_copy(update={"val": "x" * 64})})}, "other val"),
        ({"images": 21}, "other val images"),
        ({"ceiling": {"AP": 49.0}}, "its ceiling is AP 49.00, that of the others 50.00"),
    ],
)
def test_a_record_that_was_measured_unlike_the_others_is_set_aside(changes: dict[str, Any], reason: str) -> None:
    odd = make_record(method="other", **changes)
    found = reasons(*curve("task_loss"), odd, *curve("third"))
    assert list(found) == ["other 0"]
    assert reason in found["other 0"]


def test_ceilings_of_two_machines_may_differ_a_little() -> None:
    assert reasons(*curve("task_loss"), make_record(method="other", ceiling={"AP": 50.3, "AP50": 70.0})) == {}


def test_a_curve_is_of_one_version_of_its_method_and_the_latest_counts() -> None:
    old, new = curve("other", created="2025-01-01"), curve("other", method_sha256="f" * 64, created="2025-02-01")
    found = reasons(*curve("task_loss"), *old[:3], new[3])
    assert list(found) == ["other 0", "other 1", "other 2"]
    assert all("another version of the method's source" in reason for reason in found.values())


def test_the_anchor_decides_what_others_are_held_against() -> None:
    few = {"images": 10}
    found = reasons(*curve("task_loss", **few), *curve("other"), *curve("third"))
    assert {name.split()[0] for name in found} == {"other", "third"}


def test_other_versions_of_packages_that_can_move_a_score_are_named() -> None:
    there = make_record().environment
    old, new = (there.model_copy(update={"packages": {"torch": version, "scipy": "1"}}) for version in ("2.11", "2.12"))
    table = {r.method: r for r in rows([*curve("task_loss", environment=old), *curve("other", 0.8, environment=new)])}
    [warning] = [text for text in table["other"].warnings if "versions" in text]
    assert "different versions of torch (2.11, 2.12)" in warning
    assert not table["task_loss"].warnings
