"""Rates and scores on other choices of the images, from the rows of a record."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from builders import make_protocol, make_record
from icmbench.base.files import sha256
from icmbench.compare.resamples import _images, read, resample, source
from icmbench.plugins.find import INSTALLED
from icmbench.schema.protocol import doubled
from icmbench.schema.record import Record, Store
from icmbench.stats.confidence import RESAMPLES, image_weights
from icmbench.stats.tally import Mean

RNG = np.random.default_rng(5)


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ICMBENCH_CACHE", str(tmp_path / "cache"))


def some_rows(images: int = 12) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "image": [f"picture-{k}" for k in range(images)],
            "bits": RNG.integers(100, 900, images),
            "pixels": RNG.integers(1000, 5000, images),
            "score": RNG.uniform(10, 90, images),
        }
    )


def written(store: Store, rows: pd.DataFrame, **changes: Any) -> Record:
    """A record with its rows in the store."""
    record = make_record(make_protocol(evaluation={"metric": "AP"}), tally="mean", images=len(rows), **changes)
    path = store.path_of(record).with_suffix(".parquet")
    path.parent.mkdir(parents=True, exist_ok=True)
    rows.to_parquet(path)
    record = record.model_copy(update={"rows_sha256": sha256(path)})
    store.write(record)
    return record


def test_every_resample_is_what_duplicated_images_would_give(tmp_path: Path) -> None:
    rows = some_rows()
    record = written(Store(tmp_path), rows)
    found = source(Store(tmp_path), INSTALLED)(record)
    assert found is not None
    weights = image_weights(len(rows), _images(record.protocol)).astype(int)
    assert found.bpp.shape == found.score.shape == (RESAMPLES,)
    for k in (0, 17, RESAMPLES - 1):
        again = rows.loc[np.repeat(np.arange(len(rows)), weights[k])]
        assert found.bpp[k] == pytest.approx(again["bits"].sum() / again["pixels"].sum())
        assert found.score[k] == pytest.approx(again["score"].mean())


def test_records_on_the_same_images_share_the_resamples(tmp_path: Path) -> None:
    rows, protocol = some_rows(), make_protocol()
    longer, elsewhere = doubled(protocol), make_protocol(data={"source": "shapes", "seed": 1})
    one, other, apart = (resample(rows, make_record(p, tally="mean"), Mean).bpp for p in (protocol, longer, elsewhere))
    assert (one == other).all()
    assert (one != apart).any()


def test_rows_that_were_changed_are_not_used(tmp_path: Path) -> None:
    store, rows = Store(tmp_path), some_rows()
    record = written(store, rows)
    assert source(store, INSTALLED)(record) is not None
    rows.assign(bits=rows["bits"] // 2).to_parquet(store.path_of(record).with_suffix(".parquet"))
    assert source(store, INSTALLED)(record) is None


def test_missing_rows_and_metrics_without_a_tally_have_no_resamples(tmp_path: Path) -> None:
    store = Store(tmp_path)
    record = written(store, some_rows())
    assert source(store, INSTALLED)(record.model_copy(update={"tally": ""})) is None
    store.path_of(record).with_suffix(".parquet").unlink()
    assert source(store, INSTALLED)(record) is None


def test_what_was_computed_once_is_kept(tmp_path: Path) -> None:
    store = Store(tmp_path)
    record = written(store, some_rows())
    first = source(store, INSTALLED)(record)
    kept = list((tmp_path / "cache" / "resamples").glob("*.npy"))
    assert len(kept) == 1
    before = kept[0].stat().st_mtime_ns
    again = source(store, INSTALLED)(record)
    assert kept[0].stat().st_mtime_ns == before
    assert first is not None
    assert again is not None
    assert (first.score == again.score).all()


def test_a_score_that_the_tally_does_not_know_has_no_resamples(tmp_path: Path) -> None:
    store = Store(tmp_path)
    record = written(store, some_rows())
    assert source(store, INSTALLED)(record.model_copy(update={"tally": "confusion"})) is None
    assert source(store, INSTALLED)(record) is not None


ORDERED = [
    ({"scores": {"AP": 40.0, "AP50": 39.0}}, "the score AP is 40.00, above AP50 with 39.00"),
    ({"scores": {"AP": 40.0, "AP50": 60.0, "AP75": 61.0}}, "the score AP75 is 61.00, above AP50"),
    ({"ceiling": {"AP": 50.0, "AP50": 49.0}}, "the ceiling of AP is 50.00, above AP50"),
]


@pytest.mark.parametrize(("changes", "reason"), ORDERED)
def test_records_whose_scores_contradict_each_other_by_their_tally_are_set_aside(
    tmp_path: Path, changes: dict[str, Any], reason: str
) -> None:
    store = Store(tmp_path)
    path = store.write(make_record(tally="detections", **changes))
    records, broken = read(store, INSTALLED)
    assert records == []
    assert reason in broken[path]
    store.write(make_record(tally="mean", **changes))
    assert len(read(store, INSTALLED)[0]) == 1
