"""The running jobs, for `icmbench status` in another terminal: a small file per job under runs/jobs. No torch."""

import os
import shlex
import socket
import sys
import time
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from types import TracebackType

import psutil
from pydantic import BaseModel

from icmbench.base.errors import UserError
from icmbench.base.files import write_text
from icmbench.running.progress import ELSEWHERE, WAITING, Tracker, duration, left_text

WRITE_SECONDS = 2.0
KEPT_SECONDS = 24 * 3600.0  # how long a job that has ended is shown
SILENT_SECONDS = 600.0  # after which a job on another machine, whose process cannot be checked, counts as dead


class Running(BaseModel):
    """A cell that is being computed. `seconds_left`: of its phase; None if not known yet."""

    name: str
    phase: str
    done: int
    total: int
    seconds_left: float | None


class Status(BaseModel):
    """A job: its process, its cells, and the remaining time at `updated` (seconds since 1970).

    `process` distinguishes it from a later one with the same `pid`. `elsewhere`: cells that another run computes. `ended`:
    how it ended; "" while it runs or if it was killed.
    """

    command: str
    pid: int
    process: str
    host: str
    folder: str
    results: str
    started: float
    updated: float
    cells: int
    done: int
    failed: int
    elsewhere: int
    waiting: int
    seconds_left: float | None
    running: list[Running] = []
    ended: str = ""

    def alive(self) -> bool:
        """Whether its process is alive. On another machine: whether it was updated lately."""
        if self.ended:
            return False
        if self.host != socket.gethostname():
            return time.time() - self.updated < SILENT_SECONDS
        return bool(self.process) and _process(self.pid) == self.process

    def state(self) -> str:
        """`running`, how it ended, or `ended unfinished`."""
        return self.ended or ("running" if self.alive() else "ended unfinished")


def _process(pid: int) -> str:
    """When a process started, which together with its id names it; "" for one that has ended."""
    try:
        process = psutil.Process(pid)
        return "" if process.status() in (psutil.STATUS_ZOMBIE, psutil.STATUS_DEAD) else repr(process.create_time())
    except psutil.Error:
        return ""


def folder_of(runs: Path) -> Path:
    """The folder of the status files of a runs folder's jobs."""
    return runs / "jobs"


class StatusFile:
    """The status file of this process's job while the block runs. Failed writes are ignored."""

    def __init__(self, runs: Path, results: Path) -> None:
        self.runs, self.results, self.started = runs, results, time.time()
        self.command = f"icmbench {shlex.join(sys.argv[1:])}"
        stamp = datetime.fromtimestamp(self.started).strftime("%Y%m%dT%H%M%S%f")
        self.path = folder_of(runs) / f"{os.getpid()}-{stamp}.json"
        self.written = 0.0
        self.tracker: Tracker | None = None

    def __enter__(self) -> "StatusFile":
        for path, status in read(self.runs).items():
            if not status.alive() and (status.command, status.folder) == (self.command, str(Path.cwd())):
                path.unlink(missing_ok=True)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self.tracker is None:
            return
        failed = self.tracker.count("failed")
        ended = "finished" if not failed else f"finished, {failed} cells failed"
        if kind is not None:
            ended = "interrupted" if issubclass(kind, KeyboardInterrupt) else f"stopped: {error}"
        self._write(self.tracker, ended)

    def update(self, tracker: Tracker) -> None:
        """Write the progress of the job, at most every few seconds."""
        self.tracker = tracker
        if time.monotonic() - self.written >= WRITE_SECONDS:
            self._write(tracker)

    def _write(self, tracker: Tracker, ended: str = "") -> None:
        running = [(tracker.names[number], tracker.states[number], tracker.left(number)) for number in tracker.running()]
        status = Status(
            command=self.command,
            pid=os.getpid(),
            process=_process(os.getpid()),
            host=socket.gethostname(),
            folder=str(Path.cwd()),
            results=str(self.results.absolute()),
            started=self.started,
            updated=time.time(),
            cells=len(tracker.names),
            done=tracker.count("done"),
            failed=tracker.count("failed"),
            elsewhere=tracker.count(ELSEWHERE),
            waiting=tracker.count(WAITING),
            seconds_left=tracker.left_of_all(),
            running=[
                Running(name=name, phase=state.phase, done=state.done, total=state.total, seconds_left=left)
                for name, state, left in ([] if ended else running)
            ],
            ended=ended,
        )
        with suppress(UserError):  # a full disk must not end a job because of this file
            write_text(self.path, status.model_dump_json(indent=1) + "\n")
        self.written = time.monotonic()


def read(runs: Path) -> dict[Path, Status]:
    """The jobs of a runs folder, the latest last, without damaged files. Removes files of jobs that ended long ago."""
    jobs = {}
    for path in folder_of(runs).glob("*.json"):
        with suppress(OSError, ValueError):
            status = Status.model_validate_json(path.read_text())
            if status.alive() or time.time() - status.updated <= KEPT_SECONDS:
                jobs[path] = status
            else:
                path.unlink()
    return dict(sorted(jobs.items(), key=lambda item: item[1].started))


def jobs(runs: Path, results: Path | None = None) -> list[Status]:
    """The jobs that run and those that ended lately, of one results folder if named."""
    return [job for job in read(runs).values() if results is None or job.results == str(results.absolute())]


def describe(status: Status) -> str:
    """A job in a few lines; two lines for a job that has ended."""
    cells = f"{status.done} of {status.cells} cells done" + (f", {status.failed} failed" if status.failed else "")
    if not status.alive():
        again = "; run the same command again to continue" if not status.ended.startswith("finished") else ""
        return f"{status.command}\n  {status.state()} {_time(status.updated)}: {cells}{again}"
    age = time.time() - status.updated
    where = f"{status.host} " if status.host != socket.gethostname() else ""
    counts = {"running": len(status.running), "in another run": status.elsewhere, "waiting": status.waiting}
    cells = ", ".join([cells, *(f"{count} {what}" for what, count in counts.items() if count)])
    lines = [
        f"{where}pid {status.pid}, since {_time(status.started)} ({duration(time.time() - status.started)})",
        "; ".join(filter(None, [cells, _left(status.seconds_left, age)])),
    ]
    for cell in status.running:
        progress = f"{cell.name}: {cell.phase}" + (f" {cell.done}/{cell.total}" if cell.total else "")
        lines.append(", ".join(filter(None, [progress, _left(cell.seconds_left, age)])))
    return "\n  ".join([status.command, *lines])


def _left(seconds: float | None, age: float) -> str:
    """The remaining time in words, from the one known `age` seconds ago."""
    return left_text(None if seconds is None else seconds - age)


def _time(seconds: float) -> str:
    return datetime.fromtimestamp(seconds).strftime("%Y-%m-%d %H:%M:%S")
