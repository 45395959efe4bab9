"""Files: whole or not there, made once, and no lock outlives its process."""

import multiprocessing
import os
import signal
import time
from collections.abc import Callable
from multiprocessing.process import BaseProcess
from pathlib import Path

import pytest

from icmbench.base.errors import UserError
from icmbench.base.files import build_once, cache_root, data_root, locked, replacing, sha256, write_text

FORK = multiprocessing.get_context("fork")


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def wait_for(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < end, "waited for a minute in vain"
        time.sleep(0.01)


def test_a_file_appears_whole_with_its_folders(tmp_path: Path) -> None:
    path = tmp_path / "a" / "b.txt"
    with replacing(path) as temporary:
        temporary.write_text("half")
        assert not path.exists()
        assert temporary.parent == path.parent
        temporary.write_text("whole λ")
    assert path.read_text() == "whole λ"
    assert path.stat().st_mode & 0o777 == 0o644
    assert names(path.parent) == ["b.txt"]


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt, OSError])
@pytest.mark.parametrize("before", [None, "old"])
def test_a_failing_block_leaves_what_was_there(tmp_path: Path, error: type[BaseException], before: str | None) -> None:
    path = tmp_path / "file"
    if before:
        path.write_text(before)

    def fail() -> None:
        with replacing(path) as temporary:
            temporary.write_text("half")
            raise error("broken")

    with pytest.raises(UserError if error is OSError else error, match="broken"):
        fail()
    assert names(tmp_path) == (["file"] if before else [])
    assert not before or path.read_text() == before


def test_a_full_disk_is_a_sentence(tmp_path: Path) -> None:
    if not Path("/dev/full").exists():
        pytest.skip("no /dev/full here")

    def fill(path: Path) -> None:
        with replacing(path), Path("/dev/full").open("w", buffering=1) as stream:
            stream.write("x\n")

    with pytest.raises(UserError, match=r"cannot write .*No space left"):
        fill(tmp_path / "file")
    assert names(tmp_path) == []


@pytest.mark.parametrize("write", [lambda path: write_text(path, "x"), lambda path: locked(path).__enter__()])
def test_a_place_that_cannot_be_written_is_a_sentence(tmp_path: Path, write: Callable[[Path], None]) -> None:
    (tmp_path / "file").write_text("no folder")
    for path in (tmp_path / "file" / "below", tmp_path / ("x" * 300)):
        with pytest.raises(UserError, match="cannot write"):
            write(path)
    assert names(tmp_path) == ["file"]


def test_the_digest_is_sha256(tmp_path: Path) -> None:
    (tmp_path / "abc").write_bytes(b"abc")
    assert sha256(tmp_path / "abc") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


def test_the_environment_names_the_data_and_cache_folders(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("ICMBENCH_DATA", str(tmp_path / "data"))
    monkeypatch.setenv("ICMBENCH_CACHE", str(tmp_path / "cache"))
    assert (data_root(), cache_root()) == (tmp_path / "data", tmp_path / "cache")


def _build_slowly(folder: Path) -> None:
    with (folder.parents[1] / "builds.log").open("a") as log:
        log.write("x")
    (folder / "first").write_text("1")
    time.sleep(0.3)
    (folder / "second").write_text("2")


def _ask_for(folder: Path) -> None:
    built = build_once(folder, _build_slowly)
    assert names(built) == ["first", "second"]


def test_several_processes_build_once(tmp_path: Path) -> None:
    folder = tmp_path / "cache" / "pictures"
    processes = [FORK.Process(target=_ask_for, args=(folder,)) for _ in range(3)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(60)
    assert [process.exitcode for process in processes] == [0, 0, 0]
    assert len(list(tmp_path.rglob("builds.log"))) == 1
    assert next(tmp_path.rglob("builds.log")).read_text() == "x"


@pytest.mark.parametrize("error", [RuntimeError, UserError, KeyboardInterrupt, OSError])
def test_a_build_that_fails_leaves_nothing_and_may_be_tried_again(tmp_path: Path, error: type[BaseException]) -> None:
    def fail(folder: Path) -> None:
        (folder / "half").write_text("x")
        raise error("broken")

    with pytest.raises(UserError if error is OSError else error, match="broken"):
        build_once(tmp_path / "pictures", fail)
    assert names(tmp_path) == ["pictures.lock"]
    assert names(build_once(tmp_path / "pictures", lambda folder: (folder / "whole").touch())) == ["whole"]


def test_a_built_folder_is_open_to_all_who_share_the_cache(tmp_path: Path) -> None:
    build_once(tmp_path / "pictures", lambda folder: None)
    (tmp_path / "ordinary").mkdir()
    assert (tmp_path / "pictures").stat().st_mode == (tmp_path / "ordinary").stat().st_mode


@pytest.mark.parametrize("name", ["file/below", "x" * 248])  # the last leaves room for the lock alone
def test_a_folder_that_cannot_be_built_is_a_sentence(tmp_path: Path, name: str) -> None:
    (tmp_path / "file").write_text("no folder")
    with pytest.raises(UserError, match="cannot write"):
        build_once(tmp_path / name, lambda folder: None)


def _hold(path: Path) -> None:
    with locked(path):
        path.with_suffix(".held").touch()
        time.sleep(600)


def _take(path: Path) -> None:
    with locked(path):
        path.with_suffix(".taken").touch()


def test_a_lock_excludes_others_and_is_freed_when_its_process_is_killed(tmp_path: Path) -> None:
    path = tmp_path / "a.lock"
    holder: BaseProcess = FORK.Process(target=_hold, args=(path,))
    taker: BaseProcess = FORK.Process(target=_take, args=(path,))
    holder.start()
    try:
        wait_for(path.with_suffix(".held").exists)
        taker.start()
        time.sleep(0.5)
        assert not path.with_suffix(".taken").exists()
        assert holder.pid is not None
        os.kill(holder.pid, signal.SIGKILL)
        taker.join(60)
        assert taker.exitcode == 0
        assert path.with_suffix(".taken").exists()
    finally:
        for process in (holder, taker):
            if process.is_alive():
                process.kill()


def test_a_lock_is_freed_by_an_error(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError), locked(tmp_path / "lock"):
        raise RuntimeError
    with locked(tmp_path / "lock"):
        pass
