"""Results at a URL."""

import json
import os
from pathlib import Path

import fsspec
import pytest
from cells import INLINE

from builders import make_curve, make_protocol
from icmbench.base.errors import UserError
from icmbench.cli.main import main
from icmbench.extras.remote import Remote
from icmbench.schema.store import Store

PROTOCOL = make_protocol()


@pytest.fixture(params=["file", "memory"])
def url(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A place that is empty, and a cache of this test's own."""
    monkeypatch.setenv("ICMBENCH_CACHE", str(tmp_path / "cache"))
    fsspec.filesystem("memory").store.clear()
    return f"file://{tmp_path}/there" if request.param == "file" else "memory://there"


def elsewhere(url: str, name: str, monkeypatch: pytest.MonkeyPatch) -> Remote:
    """The same place, as another machine sees it."""
    monkeypatch.setenv("ICMBENCH_CACHE", os.environ["ICMBENCH_CACHE"] + name)
    return Remote(url)


def content(remote: Remote) -> dict[str, str]:
    return {str(path.relative_to(remote.folder)): path.read_text() for path in remote.folder.rglob("*") if path.is_file()}


def put(remote: Remote, name: str, text: str) -> None:
    path = remote.folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def test_what_one_machine_sends_another_gets(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    one = Remote(url)
    one.pull()
    put(one, "p@1/m/a.json", "1")
    put(one, "p@1/m/a.parquet", "rows")
    put(one, "p@1/m/.half-written", "no")
    one.push()
    other = elsewhere(url, "2", monkeypatch)
    other.pull()
    assert content(other) == {"p@1/m/a.json": "1", "p@1/m/a.parquet": "rows"}
    put(other, "p@1/m/a.json", "two")
    (other.folder / "p@1/m/a.parquet").unlink()
    other.push()
    put(one, "p@1/m/b.json", "new here")
    one.pull()
    assert content(one) == {"p@1/m/a.json": "two", "p@1/m/b.json": "new here", "p@1/m/.half-written": "no"}
    one.push()
    other.pull()
    assert content(other) == {"p@1/m/a.json": "two", "p@1/m/b.json": "new here"}


def test_a_lost_copy_is_fetched_and_takes_nothing_away(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    one = Remote(url)
    one.pull()
    put(one, "p@1/m/a.json", "1")
    one.push()
    (one.folder / "p@1/m/a.json").unlink()
    Remote(url).push()  # as a worker does, which has not fetched anything
    again = Remote(url)
    again.pull()
    again.push()
    assert content(again) == {"p@1/m/a.json": "1"}
    (again.folder.parent / "seen.json").write_text("{")
    put(again, "p@1/m/a.json", "stale")
    again.pull()
    assert content(again) == {"p@1/m/a.json": "1"}


def test_what_could_not_be_sent_is_sent_the_next_time(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    one = Remote(url)
    one.pull()
    put(one, "p@1/m/a.json", "1")
    with monkeypatch.context() as broken:
        broken.setattr(type(one._files), "put_file", lambda *_: (_ for _ in ()).throw(TimeoutError("no answer")))
        with pytest.raises(UserError, match=r"cannot write the results at .*: no answer; the local copy stays in "):
            one.push()
    Remote(url).push()
    other = elsewhere(url, "2", monkeypatch)
    other.pull()
    assert content(other) == {"p@1/m/a.json": "1"}


@pytest.mark.parametrize("url", ["nowhere://x", "://x", "file:///proc/version"])
def test_a_url_that_cannot_be_opened_is_one_sentence(
    url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("ICMBENCH_CACHE", str(tmp_path / "cache"))
    assert main(["table", "--results", url]) == 2
    said = capsys.readouterr().err
    assert said.startswith("icmbench: ")
    assert "Traceback" not in said


def test_commands_read_and_write_there(url: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    remote = Remote(url)
    remote.pull()
    for record in make_curve("task_loss", [0.1, 0.2, 0.3, 0.4], [30, 40, 45, 50], PROTOCOL):
        Store(remote.folder).write(record)
    remote.push()
    curve = tmp_path / "curve.csv"
    curve.write_text("bpp,quality\n0.1,30\n0.2,40\n0.3,45\n0.4,50\n")
    assert main(["table", "--results", url, "--json"]) == 0
    assert [row["method"] for row in json.loads(capsys.readouterr().out)] == ["task_loss"]
    assert main(["import", str(curve), "--metric", "mIoU", "--name", "theirs", "--source", "a paper", "--results", url]) == 0
    remote.pull()
    assert [path for path in content(remote) if "theirs" in path]
    assert main(["status", "--runs", str(tmp_path / "runs"), "--results", url]) == 0


@pytest.mark.slow
def test_a_run_leaves_its_records_there(
    small_protocol: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("ICMBENCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    url = f"file://{tmp_path}/there"
    words = ["run", "task_loss", "segmentation", "--protocol", str(small_protocol), *INLINE, "--rates", "1"]
    assert main([*words, "--results", url]) == 0
    assert f"{url}/short-v1@" in capsys.readouterr().out.replace("\n", "")
    records, broken = Store(tmp_path / "there").read()
    assert (len(records), broken) == (1, {})
    monkeypatch.setenv("ICMBENCH_CACHE", str(tmp_path / "another machine's"))
    assert main([*words, "--results", url]) == 0
    assert "1 cells, 1 already there" in capsys.readouterr().out
