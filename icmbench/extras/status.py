"""The running jobs, for `icmbench status` in another terminal: a small file per job under runs/jobs. No torch."""

import json
import os
import shlex
import socket
import sys
import time
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from datetime import datetime
from pathlib import Path
from types import TracebackType

import psutil

from icmbench.base.errors import UserError
from icmbench.base.files import write_text
from icmbench.running.progress import ELSEWHERE, WAITING, Tracker, duration, left_text

WRITE_SECONDS = 2.0
KEPT_SECONDS = 24 * 3600.0  # how long a job that has ended is shown
SILENT_SECONDS = 600.0  # after which a job on another machine, whose process cannot be checked, counts as dead


@dataclass(frozen=True)
class Running:
    """A cell that is being computed. `seconds_left`: of its phase; None if not known yet."""

    name: str
    phase: str
    done: int
    total: int
    seconds_left: float | None


@dataclass(frozen=True)
class Status:
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
    running: list[Running] = field(default_factory=list)
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
            again = (status.command, status.folder) == (self.command, str(Path.cwd()))
            if not status.alive() and (again or _old(status)):
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
        with suppress(UserError):  # a full disk must not end a job because of this file
            write_text(self.path, json.dumps(asdict(self._status(tracker, ended)), indent=1, ensure_ascii=False) + "\n")
        self.written = time.monotonic()

    def _status(self, tracker: Tracker, ended: str) -> Status:
        return Status(
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
            running=[] if ended else [_running(tracker, number) for number in tracker.running()],
            ended=ended,
        )


def _running(tracker: Tracker, number: int) -> Running:
    state = tracker.states[number]
    return Running(tracker.names[number], state.phase, state.done, state.total, tracker.left(number))


def _old(status: Status) -> bool:
    return not status.alive() and time.time() - status.updated > KEPT_SECONDS


def read(runs: Path) -> dict[Path, Status]:
    """The jobs of a runs folder, the latest last, without files that are damaged or of another version."""
    jobs = {}
    for path in folder_of(runs).glob("*.json"):
        try:
            fields = json.loads(path.read_text())
            jobs[path] = Status(**fields | {"running": [Running(**cell) for cell in fields["running"]]})
        except (OSError, ValueError, TypeError, KeyError):
            continue
    return dict(sorted(jobs.items(), key=lambda item: item[1].started))


def jobs(runs: Path, results: Path | None = None) -> list[Status]:
    """The jobs that run and those that ended lately, of one results folder if named; files of older ones are removed."""
    shown = []
    for path, status in read(runs).items():
        if _old(status):
            path.unlink(missing_ok=True)
        elif results is None or status.results == str(results.absolute()):
            shown.append(status)
    return shown


def describe(status: Status) -> str:
    """A job in a few lines; one line for a job that has ended."""
    since, cells = _time(status.started), f"{status.done} of {status.cells} cells done"
    cells += f", {status.failed} failed" if status.failed else ""
    if not status.alive():
        again = "; run the same command again to continue" if not status.ended.startswith("finished") else ""
        return f"{status.command}\n  {status.state()} {_time(status.updated)}: {cells}{again}"
    age = time.time() - status.updated
    where = f"{status.host} " if status.host != socket.gethostname() else ""
    counts = {"running": len(status.running), "in another run": status.elsewhere, "waiting": status.waiting}
    cells = ", ".join([cells, *(f"{count} {what}" for what, count in counts.items() if count)])
    left = _left(status.seconds_left, age)
    lines = [f"{status.command}", f"  {where}pid {status.pid}, since {since} ({duration(time.time() - status.started)})"]
    lines.append(f"  {cells}{'; ' if left else ''}{left}")
    return "\n".join([*lines, *(f"  {_line(cell, age)}" for cell in status.running)])


def _line(cell: Running, age: float) -> str:
    progress = f" {cell.done}/{cell.total}" if cell.total else ""
    left = _left(cell.seconds_left, age)
    return f"{cell.name}: {cell.phase}{progress}{', ' if left else ''}{left}"


def _left(seconds: float | None, age: float) -> str:
    """The remaining time in words, from the one known `age` seconds ago."""
    return left_text(None if seconds is None else seconds - age)


def _time(seconds: float) -> str:
    return datetime.fromtimestamp(seconds).strftime("%Y-%m-%d %H:%M:%S")
