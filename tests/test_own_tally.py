"""A third party's metric with a tally of its own, outside the package: its score has intervals over the images."""

from importlib.metadata import EntryPoint
from itertools import product
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from test_plugins import run

from builders import LAMBDAS, make_protocol, make_record
from icmbench.base.files import sha256
from icmbench.compare.comparison import rows
from icmbench.compare.resamples import source
from icmbench.extras.authoring.trials.task import TaskTrial
from icmbench.plugins.find import INSTALLED, Plugins
from icmbench.running.runner import bind
from icmbench.schema.store import Store, rows_path

FOLDER = Path(__file__).parent / "plugins"
TALLY = FOLDER / "panoptic" / "tally.py"
ENTRIES = (
    EntryPoint("panoptic", "panoptic.task", "icmbench.tasks"),
    EntryPoint("panoptic", "panoptic.tally", "icmbench.tallies"),
)


@pytest.fixture(params=["loose", "entry point"])
def plugins(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Plugins:
    """The plugin, as a loose file and as an installed package."""
    monkeypatch.syspath_prepend(FOLDER)
    return Plugins((TALLY,)) if request.param == "loose" else Plugins(entries=ENTRIES)


@pytest.fixture
def results(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    """Two methods whose images matched 60 to 90 % of the segments of two classes."""
    monkeypatch.setenv("ICMBENCH_CACHE", str(tmp_path / "cache"))
    store, rng = Store(tmp_path / "results"), np.random.default_rng(0)
    protocol = make_protocol(evaluation={"metric": "PQ", "score_noise": 5.0})
    for method, factor in (("task_loss", 1.0), ("other", 0.8)):
        for seed, (number, lmbda) in product(range(2), enumerate(LAMBDAS)):
            matched = rng.binomial(20, 0.6 + 0.1 * number, (40, 2))
            columns = {"pq_iou": 0.8 * matched, "pq_matched": matched, "pq_unmatched": 2 * (20 - matched)}
            bits = factor * 1000 * 2.0**number * rng.uniform(0.9, 1.1, 40)
            table = pd.DataFrame({"bits": bits, "pixels": 10_000} | {name: list(one) for name, one in columns.items()})
            score = 100 * (0.8 * matched.sum(0) / 800).mean()
            bpp = bits.sum() / 400_000
            record = make_record(
                protocol, method=method, seed=seed, rate_index=number, rate_point={"lambda": lmbda}, bpp=bpp, bpp_mean=bpp,
                images=40, scores={"PQ": score}, ceiling={"PQ": 80.0}, tally="panoptic",
            )  # fmt: skip
            path = rows_path(store.path_of(record))
            path.parent.mkdir(parents=True, exist_ok=True)
            table.to_parquet(path)
            store.write(record.model_copy(update={"rows_sha256": sha256(path)}))
    return store


def test_rows_have_intervals_over_the_images(plugins: Plugins, results: Store) -> None:
    records, broken = results.read()
    assert (len(records), broken) == (4 * len(LAMBDAS), {})
    other = next(row for row in rows(records, source(results, plugins)) if row.method == "other")
    assert other.bd_rate is not None
    assert other.bd_rate.covers_images
    assert other.bd_rate.low is not None
    assert other.bd_rate.low < other.bd_rate.value < (other.bd_rate.high or 0)
    assert all(point.score.low < point.score.value < point.score.high for point in other.points)  # type: ignore[operator]
    without = next(row for row in rows(records, source(results, INSTALLED)) if row.method == "other")
    assert without.bd_rate is not None
    assert not without.bd_rate.covers_images


def test_the_contract_of_the_tally_holds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(FOLDER)
    shapes = INSTALLED.resolve("segmentation", None)
    evaluation = shapes.evaluation.model_copy(update={"metric": "PQ"})
    plugins = Plugins(entries=ENTRIES)
    trial = TaskTrial(plugins, bind(shapes.model_copy(update={"task": "panoptic", "evaluation": evaluation}), plugins))
    trial.scores()
    trial.merges()
    trial.tallies()


def test_it_is_found_without_torch() -> None:
    code = f"""import sys; from pathlib import Path; from icmbench.plugins.find import Plugins
print([Plugins((Path({str(TALLY)!r}),)).tally(name).__name__ for name in ('panoptic', 'detections', 'confusion', 'mean')])
print([name for name in ('torch', 'mmdet', 'mmseg') if name in sys.modules])"""
    assert run(code) == "['Panoptic', 'Detections', 'Confusion', 'Mean']\n[]"


def test_a_tally_that_cannot_be_imported_counts_as_absent(tmp_path: Path) -> None:
    path = tmp_path / "mine.py"
    path.write_text("from icmbench.api import Tally\n\n\nclass Mine(Tally):\n    name = 'mine'\n\n\n1 / 0\n")
    entry = EntryPoint("mine", "no_such_package.tally", "icmbench.tallies")
    assert Plugins((path,), (entry,)).tally("mine") is None
    assert "mine" not in Plugins((path,)).find("methods")
