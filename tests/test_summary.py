"""The table that is kept for a results folder: the same as one made anew, and made anew when any file has changed."""

from pathlib import Path

import pytest

from builders import RATES, curve, make_curve
from icmbench.base import cache
from icmbench.compare import summary as module
from icmbench.compare.summary import Summary, summary
from icmbench.plugins.find import Plugins
from icmbench.schema.store import Store


@pytest.fixture
def results(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("ICMBENCH_CACHE", str(tmp_path / "cache"))
    store = Store(tmp_path / "results")
    for seed in range(2):
        short = make_curve("short", RATES[:2], (20, 28), seed=seed)
        for record in [*curve("task_loss", seed=seed), *curve("other", 0.8 + 0.1 * seed, seed=seed), *short]:
            store.write(record)
    (store.folder / "broken@0" / "x").mkdir(parents=True)
    (store.folder / "broken@0" / "x" / "no.json").write_text("{}")
    return store.folder


def kept(results: Path, monkeypatch: pytest.MonkeyPatch) -> Summary:
    """The summary where nothing can make one."""
    with monkeypatch.context() as patched:
        patched.setattr(module, "_make", None)
        return summary(Store(results), Plugins())


def test_a_kept_summary_is_the_one_that_was_made(results: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = summary(Store(results), Plugins())
    assert made.rows
    assert [name for name, _ in made.aside] == ["broken@0/x/no.json"]
    assert kept(results, monkeypatch) == made


@pytest.mark.parametrize("change", ["written", "added", "removed", "touched"])
def test_a_changed_folder_is_read_again(results: Path, monkeypatch: pytest.MonkeyPatch, change: str) -> None:
    before = summary(Store(results), Plugins())
    record = curve("other", 0.7)[0]
    path = Store(results).path_of(record)
    if change == "written":
        Store(results).write(record)
    elif change == "added":
        Store(results).write(record.model_copy(update={"method": "third"}))
    elif change == "removed":
        path.unlink()
    else:
        path.write_text(path.read_text().replace('"bpp": 0.08', '"bpp": 0.07'))
    with pytest.raises(TypeError):
        kept(results, monkeypatch)
    assert summary(Store(results), Plugins()) != before


@pytest.mark.parametrize("content", ["", "[]", '{"state": ""}', "{"])
def test_a_damaged_file_is_made_anew(results: Path, content: str) -> None:
    made = summary(Store(results), Plugins())
    (path,) = (results.parent / "cache" / "tables").iterdir()
    path.write_text(content)
    assert summary(Store(results), Plugins()) == made


def test_a_table_that_cannot_be_kept_is_shown(results: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = summary(Store(results), Plugins())
    monkeypatch.setenv("ICMBENCH_CACHE", "/dev/null")
    assert summary(Store(results), Plugins()) == made


def test_a_table_of_other_code_is_made_anew(results: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    summary(Store(results), Plugins())
    monkeypatch.setattr(cache, "_source", lambda: "other code")
    with pytest.raises(TypeError):
        kept(results, monkeypatch)


def test_every_score_has_a_table_of_its_own(results: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usual = summary(Store(results), Plugins())
    assert summary(Store(results), Plugins(), "AP50").rows == []  # these records have no such score
    assert kept(results, monkeypatch) == usual
