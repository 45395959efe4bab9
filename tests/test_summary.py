"""The table that is kept for a results folder: the same as one made anew, and made anew when any file has changed."""

import subprocess
import sys
from pathlib import Path

import pytest

from builders import RATES, curve, make_curve
from icmbench.compare import summary as module
from icmbench.compare.summary import Summary, summary
from icmbench.plugins.find import INSTALLED
from icmbench.schema.record import Store


@pytest.fixture
def results(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("ICMBENCH_CACHE", str(tmp_path / "cache"))
    store = Store(tmp_path / "results")
    for seed in range(2):
        short = make_curve("short", RATES[:2], (20, 28), seed=seed)
        for record in [*curve("task_loss", seed=seed), *curve("other", 0.8 + 0.1 * seed, seed=seed), *short]:
            store.write(record)
    (store.folder / "external").mkdir()
    (store.folder / "external" / "no.json").write_text("{}")
    return store.folder


def kept(results: Path, monkeypatch: pytest.MonkeyPatch) -> Summary:
    """The summary where nothing can make one."""
    with monkeypatch.context() as patched:
        patched.setattr(module, "_make", None)
        return summary(results, INSTALLED)


def test_a_kept_summary_is_the_one_that_was_made(results: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = summary(results, INSTALLED)
    assert made.rows
    assert [name for name, _ in made.broken] == ["external/no.json"]
    assert kept(results, monkeypatch) == made


@pytest.mark.parametrize("change", ["written", "added", "removed", "touched"])
def test_a_changed_folder_is_read_again(results: Path, monkeypatch: pytest.MonkeyPatch, change: str) -> None:
    before = summary(results, INSTALLED)
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
    assert summary(results, INSTALLED) != before


@pytest.mark.parametrize("content", ["", "[]", '{"state": ""}', "{"])
def test_a_damaged_file_is_made_anew(results: Path, content: str) -> None:
    made = summary(results, INSTALLED)
    (path,) = (results.parent / "cache" / "tables").iterdir()
    path.write_text(content)
    assert summary(results, INSTALLED) == made


def test_a_table_that_cannot_be_kept_is_shown(results: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = summary(results, INSTALLED)
    monkeypatch.setenv("ICMBENCH_CACHE", "/dev/null")
    assert summary(results, INSTALLED) == made


def test_the_code_that_makes_a_table_is_known(results: Path) -> None:
    script = "import sys; from pathlib import Path; from icmbench.plugins.find import INSTALLED\n"
    script += "from icmbench.compare.summary import summary; summary(Path(sys.argv[1]), INSTALLED)"
    script += "; print(*(name for name in sys.modules if name.startswith('icmbench.')))"
    done = subprocess.run([sys.executable, "-c", script, str(results)], check=True, capture_output=True, text=True)
    loaded = {name.split(".")[1] for name in done.stdout.split()}
    assert loaded - {"api", "codecs"} == {name.split("/")[0] for name in module.CODE}  # those two give a tally its names
