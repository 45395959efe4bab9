"""Runs that are killed, that meet, and that find the disk full: in the end the records are those of an undisturbed run.

ICMBENCH_KILLS sets how often is killed (default: few, to be quick), ICMBENCH_KILL_SEED the seed of the moments.
"""

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from cells import CPU, bound, folders, work
from killing import records

from icmbench.base.errors import UserError
from icmbench.base.files import locked, remove_leftovers, replacing
from icmbench.experiment.cell import Cell
from icmbench.extras.status import jobs
from icmbench.plugins.find import Plugins
from icmbench.running.runner import plan
from icmbench.running.workers import LocalPool, compute
from icmbench.schema.store import Store

STEPS = 4
SEED = int(os.environ.get("ICMBENCH_KILL_SEED", "7"))
HOLD = "import sys, time; from pathlib import Path; from icmbench.base.files import locked\nwith locked(Path(sys.argv[1])):\n"
HOLD += "    print('held', flush=True)\n    time.sleep(600)"


def kills(usual: int) -> int:
    """How often is killed."""
    return int(os.environ.get("ICMBENCH_KILLS", usual))


def hold(path: Path) -> subprocess.Popen[str]:
    """A process that holds the lock."""
    holder = subprocess.Popen([sys.executable, "-c", HOLD, str(path)], stdout=subprocess.PIPE, text=True)
    assert holder.stdout is not None
    assert holder.stdout.readline() == "held\n"
    return holder


def one_core() -> None:
    """For a child process: one core, and so one worker, as its start takes longer than its work."""
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})


class Command:
    """`icmbench run` of the anchor's three cells, in folders of its own or of others."""

    def __init__(self, protocol: Path, folder: Path) -> None:
        words = ["run", "task_loss", "segmentation", "--protocol", str(protocol), "--device", "cpu"]
        words += ["--set", f"training.steps={STEPS}"]
        self.words, self.folder = [sys.executable, "-m", "icmbench", *words], folder
        folder.mkdir(exist_ok=True)

    def start(self, log: str = "log", engine: str = "local") -> subprocess.Popen[bytes]:
        with (self.folder / log).open("wb") as stream:
            return subprocess.Popen(
                [*self.words, "--engine", engine],
                cwd=self.folder,
                stdout=stream,
                stderr=stream,
                start_new_session=True,
                preexec_fn=one_core,  # noqa: PLW1509
            )

    def records(self) -> dict[str, str]:
        """What a run must leave, whatever happened."""
        return records(self.folder / "results")


def cells_of(protocol: Path, steps: int) -> list[Cell]:
    """The anchor's three cells."""
    return plan(Plugins(), bound(protocol, {"training.steps": steps}), {"task_loss": {}}, range(3), 1)


@pytest.fixture(scope="module")
def undisturbed(small_protocol: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, str], float]:
    """The records of `Command` undisturbed, and the seconds that a cell takes."""
    folder, start = tmp_path_factory.mktemp("undisturbed"), time.monotonic()
    for cell in (cells := cells_of(small_protocol, STEPS)):
        work(folder)(cell)
    return records(folder / "results"), (time.monotonic() - start) / len(cells)


def test_the_kernel_frees_the_lock_of_a_killed_process(tmp_path: Path) -> None:
    holder = hold(tmp_path / "lock")
    with locked(tmp_path / "lock", wait=False) as mine:
        assert not mine
    holder.kill()
    holder.communicate()
    with locked(tmp_path / "lock", wait=False) as mine:
        assert mine
    with locked(tmp_path / "lock") as mine:  # and it was given back
        assert mine


def test_what_killed_writers_left_is_removed_and_nothing_else(tmp_path: Path) -> None:
    path, other = tmp_path / "lambda=1[x].json", tmp_path / "lambda=1[x].json.parquet"
    for target in (path, other):
        with suppress(KeyError), replacing(target) as temporary:
            target.write_text("whole")
            shutil.copy(target, f"{temporary}left")  # a process that is killed does not remove its own
            raise KeyError
    assert len(list(tmp_path.iterdir())) == 4
    remove_leftovers(path, age=60)
    assert len(list(tmp_path.iterdir())) == 4
    remove_leftovers(path)
    assert sorted(file.name for file in tmp_path.iterdir() if not file.name.startswith(".")) == [path.name, other.name]


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_cells_of_a_run_that_is_killed_are_taken_up_by_one_that_goes_on(short_protocol: Path) -> None:
    cells, here = cells_of(short_protocol, 2), folders(Path())
    assert work(Path())(cells[2])  # by another run, since this one was planned
    holder = hold(here.lock(cells[0]))
    seen = []
    for event in compute(cells, work(Path()), LocalPool(CPU, 1, 3)):
        seen.append((event.cell, event.phase))
        assert event.message == ("done by another run" if seen[-1] == (2, "done") else "")
        if seen[-1] == (1, "done"):
            assert (0, "elsewhere") in seen
            assert (0, "start") not in seen
            threading.Timer(3, holder.kill).start()  # until then the cell is tried again
    holder.communicate()
    assert seen[-1] == (0, "done")
    assert seen.count((0, "elsewhere")) == 1  # said once, however often it is tried
    assert {phase for cell, phase in seen if cell == 2} == {"done"}
    assert len(records(Path("results"))) == 3


def kill_at_random(command: Command, rng: random.Random, cell_seconds: float) -> bool:
    """Start the command and kill it at a random moment: while it starts or in any of its cells; False if it ended before."""
    there, process = len(command.records()), command.start()
    after, kill = rng.randint(there, 2), rng.choice([os.kill, os.killpg])  # the first process alone, or its workers too
    moment = rng.uniform(0, 8 if after == there else 1.2) * cell_seconds
    while process.poll() is None and (
        not list((command.folder / "runs" / "jobs").glob(f"{process.pid}-*.json")) or len(command.records()) < after
    ):
        time.sleep(0.05)
    with suppress(subprocess.TimeoutExpired):
        assert process.wait(timeout=moment) == 0
        return False
    kill(process.pid, signal.SIGKILL)
    process.wait()
    left = len(command.records())
    print(f"{kill.__name__} {moment:.2f} s after {after} of 3 records, {left} then")
    return True


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_after_a_run_is_killed_two_at_once_share_what_is_left_and_lose_nothing(
    small_protocol: Path, tmp_path: Path, undisturbed: tuple[dict[str, str], float]
) -> None:
    expected, cell_seconds = undisturbed
    rng, command, done = random.Random(SEED), Command(small_protocol, tmp_path / "run"), 0
    while done < kills(1):
        if kill_at_random(command, rng, cell_seconds):
            done += 1
            assert command.records().items() <= expected.items()  # whole, and the same
            states = [job.state() for job in jobs(command.folder / "runs")]
            assert states == ["ended unfinished"] or command.records() == expected  # it may have been drawing the table
        if done < kills(1) and done % 4 == 0:
            assert command.start().wait(timeout=600) == 0
        if done < kills(1) and command.records() == expected:
            shutil.rmtree(command.folder / "results")
            shutil.rmtree(command.folder / "runs")
    there = len(command.records())
    names = ("one.log", "two.log")
    for process in [command.start(name, "inline") for name in names]:
        assert process.wait(timeout=600) == 0
    logs = [(command.folder / name).read_text() for name in names]
    assert command.records() == expected
    assert [log.count(f"3 cells, {there} already there") for log in logs] == [1, 1], logs
    assert sum(log.count(": done  (") for log in logs) == 3 - there, logs  # each cell was computed once
    assert sum(log.count(": done by another run  (") for log in logs) == 3 - there, logs


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_a_cell_that_is_killed_in_any_phase_and_at_every_write_ends_with_the_same_record(
    small_protocol: Path, tmp_path: Path
) -> None:
    script = Path(__file__).with_name("killing.py")
    words = [sys.executable, str(script), str(small_protocol), str(tmp_path), str(kills(2)), str(SEED)]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    print(done.stdout)
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert sum(report["phases"].values()) == kills(2)
    assert report["at_writes"] == 10
    assert report["leftovers"] == []


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A small file system of its own."""
    folder = tmp_path / "disk"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=64m", "tmpfs", str(folder)]
    if shutil.which("mount") is None or subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("no file system can be mounted here")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_full_disk_is_one_sentence_and_the_cell_goes_on_when_there_is_room(
    disk: Path, small_protocol: Path, undisturbed: tuple[dict[str, str], float]
) -> None:
    cell, *_ = cells_of(small_protocol, STEPS)
    expected = {path: text for path, text in undisturbed[0].items() if "lambda=0.1," in path}
    compute_there, filler = work(disk), disk / "filler"
    for phase in ("start", "train", "evaluate"):  # the disk is full from this phase on

        def fill(now: str, done: int, total: int, terms: dict[str, float], phase: str = phase) -> None:
            if now == phase and done == total:
                with suppress(OSError), filler.open("wb", buffering=0) as stream:
                    while True:
                        stream.write(bytes(1 << 12))

        with pytest.raises(UserError, match=r"cannot write .*No space left on device"):
            compute_there(cell, report=fill)
        assert records(disk / "results") == {}
        filler.unlink()
    compute_there(cell)
    assert records(disk / "results") == expected


CROWDED = '''
"""Task loss that needs more memory than there is for more than three crops at once."""

import torch

from icmbench.api import TrainedMethod


class Crowded(TrainedMethod):
    def loss(self, batch):
        if len(batch.images) > 3:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        coded = self.code(batch.images)
        task = self.task.loss(coded.images, batch.targets)
        return {"loss": coded.bpp + self.lmbda * task, "rate": coded.bpp, "task": task}
'''


@pytest.mark.slow
def test_a_record_says_that_memory_did_not_hold_the_batches(small_protocol: Path, tmp_path: Path) -> None:
    (tmp_path / "crowded.py").write_text(CROWDED)
    plugins = Plugins((tmp_path / "crowded.py",))
    rules = bound(small_protocol, {"training.batch_size": 4})
    cell = plan(plugins, rules, {"crowded": {}}, [0], 1)[0]
    work(tmp_path, plugins)(cell)
    [record], _ = Store(tmp_path / "results").read()
    assert [text for text in record.warnings if "in parts of at most 2" in text and "from step 0 on" in text]
    assert record.cost.images == 8
