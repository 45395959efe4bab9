"""Remaining times reckoned from events, the status files of jobs, and `icmbench status`."""

import io
import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import psutil
import pytest
from rich.console import Console

from icmbench.cli.main import main
from icmbench.extras.status import KEPT_SECONDS, Running, Status, StatusFile, describe, folder_of, jobs, read
from icmbench.running.progress import Event, Tracker, duration, follow, left_text

NAMES = ["slow 0", "fast 0", "slow 1", "codec"]


class Timed(Tracker):
    """A tracker whose time is that of the last event."""

    now = 0.0

    def __init__(self, names: Sequence[str] = NAMES) -> None:
        super().__init__(names, lambda: self.now)

    def at(self, seconds: float, *event: Any) -> None:
        self.now = seconds
        assert self.update(Event(*event))


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0 s"),
        (89, "89 s"),
        (90, "2 min"),
        (3599, "60 min"),
        (5400, "1 h 30 min"),
        (172000, "47 h 47 min"),
        (180000, "2 d 2 h"),
    ],
)
def test_durations_for_people(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def test_what_is_left_of_a_phase_follows_from_its_pace_so_far() -> None:
    tracker = Timed(NAMES[:3])
    tracker.at(0, 0, "start")
    assert tracker.left(0) is None
    tracker.at(5, 0, "train", 1, 100)
    assert tracker.left(0) is None  # one report is no pace
    tracker.at(25, 0, "train", 11, 100)
    assert tracker.left(0) == pytest.approx(89 * 2)
    tracker.at(30, 0, "evaluate", 0, 10)
    tracker.at(34, 0, "evaluate", 8, 10)
    assert tracker.left(0) == pytest.approx(1)
    tracker.at(5, 1, "train", 91, 100)  # resumed: only the new steps count
    tracker.at(10, 1, "train", 96, 100)
    assert tracker.left(1) == pytest.approx(4)


def test_what_is_left_of_all_follows_from_how_much_is_done() -> None:
    tracker = Timed(NAMES[:2])
    assert tracker.left_of_all() is None
    tracker.now = -60  # while the workers start
    tracker.at(0, 0, "start")
    tracker.at(40, 0, "train", 50, 100)
    assert tracker.left_of_all() == pytest.approx(40 * 0.8 / 0.2)  # 0.4 of one cell of two
    tracker.at(80, 0, "ceiling", 5, 10)
    assert tracker.left_of_all() == pytest.approx(80 * 0.6 / 0.4)
    tracker.at(80, 0, "evaluate", 0, 10)
    assert tracker.left_of_all() == pytest.approx(80 * 0.6 / 0.4)
    tracker.at(100, 0, "done")
    assert tracker.left_of_all() == pytest.approx(100)
    tracker.at(200, 1, "failed")
    assert tracker.left_of_all() == 0
    untrained = Timed(NAMES[3:])  # done as far as it is evaluated
    untrained.at(0, 0, "start")
    untrained.at(30, 0, "evaluate", 3, 10)
    assert untrained.left_of_all() == pytest.approx(70)


@pytest.mark.parametrize(("seconds", "text"), [(None, ""), (0.5, ""), (-3, ""), (200, "about 3 min left")])
def test_what_is_left_in_words(seconds: float | None, text: str) -> None:
    assert left_text(seconds) == text


def test_late_reports_of_an_ended_cell_change_nothing() -> None:
    tracker = Timed()
    tracker.at(0, 3, "failed")
    assert not tracker.update(Event(3, "evaluate", 1, 10))
    assert (tracker.count("failed"), tracker.count("waiting")) == (1, 3)


@pytest.mark.parametrize("terminal", [False, True])
def test_a_run_is_shown_with_what_is_left(terminal: bool) -> None:
    screen = io.StringIO()
    console = Console(file=screen, force_terminal=terminal, width=200)
    tracker = Timed(NAMES[:2])
    tracker.at(200, 0, "done")
    events = [
        Event(1, "start"),
        Event(1, "train", 50, 100, (("loss", 0.5),)),
        Event(1, "note", message="out of memory at step 50"),
        Event(1, "elsewhere"),
        Event(1, "evaluate", 5, 10),
        Event(1, "failed", message="no such thing"),
    ]
    told: list[int] = []
    assert not follow(events, tracker, console, lambda tracker: told.append(tracker.count("done")))
    assert told == [1] * 6
    shown = screen.getvalue()
    for text in ("fast 0: no such thing", "out of memory at step 50", "another run computes it"):
        assert text in shown
    if not terminal:
        assert "train 50/100  loss 0.500" in shown
        assert "fast 0: no such thing  (2 of 2 cells)" in shown


def status(**changes: object) -> Status:
    started = time.time() - 600
    running = Running(name="aux_loss λ=1 seed=0", phase="train", done=50, total=100, seconds_left=130)
    plain = Status(
        command="icmbench run aux_loss detection", pid=1, process="1", host=socket.gethostname(), folder="/there",
        results="/there/results", started=started, updated=started + 590, cells=8, done=3, failed=0, elsewhere=1, waiting=3,
        seconds_left=3000, running=[running],
    )  # fmt: skip
    return plain.model_copy(update=changes)


def put(runs: Path, name: str, found: Status) -> Path:
    path = folder_of(runs) / f"{name}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(found.model_dump_json())
    return path


def test_a_job_tells_of_itself_while_it_runs_and_how_it_ended(tmp_path: Path) -> None:
    tracker = Timed()
    with StatusFile(tmp_path / "runs", tmp_path / "results") as file:
        assert jobs(tmp_path / "runs") == []
        tracker.at(0, 0, "train", 1, 100)
        file.update(tracker)
        file.update(tracker)
        [running] = jobs(tmp_path / "runs")
    assert (running.state(), running.done, running.waiting, running.cells) == ("running", 0, 3, 4)
    assert [(cell.name, cell.phase, cell.done, cell.total) for cell in running.running] == [("slow 0", "train", 1, 100)]
    [ended] = jobs(tmp_path / "runs", tmp_path / "results")
    assert (ended.state(), ended.running) == ("finished", [])
    assert jobs(tmp_path / "runs", tmp_path / "other") == []


@pytest.mark.parametrize(("error", "state"), [(KeyboardInterrupt(), "interrupted"), (ValueError("broken"), "stopped: broken")])
def test_a_job_that_is_stopped_says_so(error: BaseException, state: str, tmp_path: Path) -> None:
    def job() -> None:
        with StatusFile(tmp_path, tmp_path) as file:
            file.update(Tracker(NAMES))
            raise error

    with pytest.raises(type(error)):
        job()
    assert [job.state() for job in jobs(tmp_path)] == [state]


def test_a_killed_job_is_shown_as_unfinished_until_it_is_old_or_begun_again(tmp_path: Path) -> None:
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    started = repr(psutil.Process(child.pid).create_time())
    path = put(tmp_path, "killed", status(pid=child.pid, process=started))
    assert [job.state() for job in jobs(tmp_path)] == ["running"]
    child.kill()
    while jobs(tmp_path)[0].alive():  # a process that nobody has waited for yet counts as dead
        time.sleep(0.01)
    [killed] = jobs(tmp_path)
    assert killed.state() == "ended unfinished"
    assert "3 of 8 cells done; run the same command again to continue" in describe(killed)
    child.communicate()
    put(tmp_path, "reused", status(pid=os.getpid(), process="1"))  # another process has its number now
    assert {job.state() for job in jobs(tmp_path)} == {"ended unfinished"}
    put(tmp_path, "old", status(updated=time.time() - KEPT_SECONDS - 1))
    assert len(jobs(tmp_path)) == 2
    assert not (folder_of(tmp_path) / "old.json").exists()
    file = StatusFile(tmp_path, tmp_path)
    put(tmp_path, "killed", status(command=file.command, folder=str(Path.cwd())))
    with file:
        assert not path.exists()


def test_a_job_of_another_machine_is_believed_while_it_is_heard_of(tmp_path: Path) -> None:
    put(tmp_path, "there", status(host="elsewhere"))
    assert "elsewhere pid 1" in describe(jobs(tmp_path)[0])
    put(tmp_path, "there", status(host="elsewhere", updated=time.time() - 3600))
    assert jobs(tmp_path)[0].state() == "ended unfinished"


@pytest.mark.parametrize("content", ["", "{", "[]", "{}", '{"running": []}', '{"running": [1]}'])
def test_a_file_that_is_no_status_is_left_out(content: str, tmp_path: Path) -> None:
    put(tmp_path, "good", status())
    (folder_of(tmp_path) / "bad.json").write_text(content)
    assert len(read(tmp_path)) == 1


def test_what_cannot_be_written_does_not_end_the_job(tmp_path: Path) -> None:
    (tmp_path / "jobs").write_text("a file where the folder should be")
    with StatusFile(tmp_path, tmp_path) as file:
        file.update(Tracker(NAMES))


def test_the_command_shows_jobs_as_text_and_as_json(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    runs = str(tmp_path)
    assert main(["status", "--runs", runs]) == 0
    assert "no job has run lately" in capsys.readouterr().out
    put(tmp_path, "one", status(pid=os.getpid(), process=repr(psutil.Process().create_time())))
    put(tmp_path, "two", status(ended="finished", done=8))
    assert main(["status", "--runs", runs]) == 0
    shown = capsys.readouterr().out
    assert f"pid {os.getpid()}, since" in shown
    assert "3 of 8 cells done, 1 running, 1 in another run, 3 waiting; about 50 min left" in shown
    assert "aux_loss λ=1 seed=0: train 50/100, about 2 min left" in shown
    assert "8 of 8 cells done" in shown
    assert main(["status", "--runs", runs, "--json"]) == 0
    first, second = json.loads(capsys.readouterr().out)
    assert {first["state"], second["state"]} == {"running", "finished"}
    assert main(["status", "--runs", runs, "--results", "elsewhere", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == []
