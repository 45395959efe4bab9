"""Rates and scores on other choices of the images, from the rows of a record."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from builders import CONTENT, make_protocol, make_record
from icmbench.base.files import sha256
from icmbench.compare.resamples import resample, source
from icmbench.plugins.find import Plugins
from icmbench.schema.protocol import doubled
from icmbench.schema.record import Record
from icmbench.schema.store import Store, rows_path
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
            "AP": RNG.uniform(10, 90, images),
        }
    )


def written(store: Store, rows: pd.DataFrame, **changes: Any) -> Record:
    """A record with its rows in the store."""
    record = make_record(make_protocol(evaluation={"metric": "AP"}), tally="mean", images=len(rows), **changes)
    path = rows_path(store.path_of(record))
    path.parent.mkdir(parents=True, exist_ok=True)
    rows.to_parquet(path)
    record = record.model_copy(update={"rows_sha256": sha256(path)})
    store.write(record)
    return record


def test_every_resample_is_what_duplicated_images_would_give(tmp_path: Path) -> None:
    rows = some_rows()
    record = written(Store(tmp_path), rows)
    found = source(Store(tmp_path), Plugins())(record, "AP")
    assert found is not None
    weights = image_weights(len(rows), record.protocol.bound.val).astype(int)
    assert found.bpp.shape == found.score.shape == (RESAMPLES,)
    for k in (0, 17, RESAMPLES - 1):
        again = rows.loc[np.repeat(np.arange(len(rows)), weights[k])]
        assert found.bpp[k] == pytest.approx(again["bits"].sum() / again["pixels"].sum())
        assert found.score[k] == pytest.approx(again["AP"].mean())


def test_records_on_the_same_images_share_the_resamples() -> None:
    rows, protocol = some_rows(), make_protocol()
    other_images = CONTENT.model_copy(update={"val": "f" * 64})
    protocols = protocol, doubled(protocol), protocol.model_copy(update={"content": other_images})
    one, other, apart = (resample(rows, Mean, p.bound.val, "AP").bpp for p in protocols)
    assert (one == other).all()
    assert (one != apart).any()


def test_rows_that_were_changed_are_not_used(tmp_path: Path) -> None:
    store, rows = Store(tmp_path), some_rows()
    record = written(store, rows)
    assert source(store, Plugins())(record, "AP") is not None
    rows.assign(bits=rows["bits"] // 2).to_parquet(rows_path(store.path_of(record)))
    assert source(store, Plugins())(record, "AP") is None


def test_missing_rows_and_metrics_without_a_tally_have_no_resamples(tmp_path: Path) -> None:
    store = Store(tmp_path)
    record = written(store, some_rows())
    assert source(store, Plugins())(record.model_copy(update={"tally": ""}), "AP") is None
    rows_path(store.path_of(record)).unlink()
    assert source(store, Plugins())(record, "AP") is None


def test_what_was_computed_once_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = Store(tmp_path)
    record = written(store, some_rows())
    first = source(store, Plugins())(record, "AP")
    kept = list((tmp_path / "cache" / "resamples").glob("*.npy"))
    assert len(kept) == 1
    monkeypatch.setattr("icmbench.compare.resamples.resample", None)  # nothing is computed again
    again = source(store, Plugins())(record, "AP")
    assert first is not None
    assert again is not None
    assert (first.score == again.score).all()


def test_a_score_that_the_tally_does_not_know_has_no_resamples(tmp_path: Path) -> None:
    store = Store(tmp_path)
    record = written(store, some_rows())
    assert source(store, Plugins())(record.model_copy(update={"tally": "confusion"}), "AP") is None
    assert source(store, Plugins())(record, "AP") is not None
