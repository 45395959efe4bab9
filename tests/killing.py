"""One cell, killed again and again: `python killing.py PROTOCOL FOLDER KILLS SEED` prints what came of it as JSON.

A process of its own that has everything loaded, so that each attempt is a fork and costs no start.
"""

import json
import mmap
import os
import random
import shutil
import signal
import sys
import time
from collections import Counter
from collections.abc import Callable
from functools import partial
from pathlib import Path

import cells
import pandas as pd
import safetensors.torch
import torch
import torch.utils.tensorboard  # here, and not in every fork

from icmbench.experiment import compute
from icmbench.experiment.build import load_task
from icmbench.experiment.cell import Cell
from icmbench.experiment.compute import ComputeCell
from icmbench.experiment.train import train
from icmbench.plugins.find import Plugins
from icmbench.running.runner import plan
from icmbench.schema.record import Record
from icmbench.schema.store import Store, rows_path

phase_of_child = mmap.mmap(-1, 16)  # shared with the forks


def comparable(record: Record, store: Store) -> str:
    """All of a record and its rows that must not depend on what happened on the way."""
    fields = json.loads(record.model_dump_json(exclude={"created", "environment", "rows_sha256", "cost"}))
    cost = record.cost
    fields["counted"] = [
        cost.steps,
        cost.images,
        cost.codec_parameters,
        cost.training_only_parameters,
        cost.recognizer.macs_per_pixel,
    ]
    fields["counted"] += [part for coding in (cost.encoder, cost.decoder) for part in (coding.parameters, coding.macs_per_pixel)]
    rows = pd.read_parquet(rows_path(store.path_of(record)))
    return json.dumps([fields, rows.drop(columns=["encode_seconds", "decode_seconds"]).to_json()], sort_keys=True)


def records(folder: Path) -> dict[str, str]:
    """The comparable records of a results folder by their paths in it; none may be broken."""
    store = Store(folder)
    found, broken = store.read()
    assert broken == {}
    return {str(store.path_of(record).relative_to(folder)): comparable(record, store) for record in found}


def report(phase: str, *_: object) -> None:
    phase_of_child[:16] = phase.ljust(16).encode()


def fork(cell: Cell, work: ComputeCell, prepare: Callable[[], None] = lambda: None, save_seconds: float = 0.1) -> int:
    """Compute the cell in a fork, which exits with 0 when it is done."""
    report("start")
    if pid := os.fork():
        return pid
    try:
        compute.train = partial(train, save_seconds=save_seconds)
        write = Store.write
        Store.write = lambda *arguments: report("record") or write(*arguments)
        prepare()
        work(cell, report=report)
    except BaseException as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr, flush=True)
        os._exit(1)
    os._exit(0)


def killed_at(pid: int, seconds: float) -> str:
    """Kill a fork at that time: the phase that it was in; "" if it had ended before."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        done, status = os.waitpid(pid, os.WNOHANG)
        if done:
            assert status == 0, status
            return ""
        time.sleep(0.001)
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    return phase_of_child[:].decode().strip()


def whole(work: ComputeCell) -> None:
    """What can be read now can be read whole."""
    records(work.folders.store.folder)
    for path in work.folders.store.folder.rglob("[!.]*.parquet"):
        pd.read_parquet(path)
    for path in work.folders.runs.rglob("[!.]*.safetensors"):
        safetensors.torch.load_file(path)
    for path in work.folders.runs.rglob("[!.]*.json"):
        json.loads(path.read_text())


def die_at(which: str, number: int) -> None:
    """Let this process kill itself at its write of that number: before the new file takes its place, or just after that."""
    owner, name = {"before": (os, "fsync"), "after": (Path, "replace")}[which]
    real, seen = getattr(owner, name), []

    def die(*arguments: object) -> object:
        seen.append(arguments)
        if len(seen) < number:
            return real(*arguments)
        if which == "after":
            real(*arguments)
        os.kill(os.getpid(), signal.SIGKILL)

    setattr(owner, name, die)


def at_every_write(cell: Cell, work: ComputeCell) -> int:
    """Kill at each write of a cell, before and after it; how many kills that took.

    Checkpoint, codec and ceiling are each made once; the rows are made again on the way to the record.
    """
    writes = [(which, number) for number in (1, 1, 1, 1, 2) for which in ("before", "after")]
    for done, (which, number) in enumerate(writes):
        assert records(work.folders.store.folder) == {}, done
        _, status = os.waitpid(fork(cell, work, partial(die_at, which, number), save_seconds=10.0), 0)
        assert os.WIFSIGNALED(status), (which, number)
        whole(work)
    return len(writes)


def main(protocol: Path, folder: Path, kills: int, seed: int) -> dict[str, object]:
    torch.set_num_threads(1)
    plugins, rng = Plugins(), random.Random(seed)
    rules = cells.bound(protocol, {"training.steps": 10, "training.batch_size": 2})
    cell = plan(plugins, rules, {"aux_loss": {}}, [1], 1)[0]
    works = {name: cells.work(folder / name) for name in ("expected", "random", "writes")}
    load_task(rules, plugins, cells.CPU)  # once, before the forks
    start = time.monotonic()
    assert killed_at(fork(cell, works["expected"]), 600) == ""
    seconds = time.monotonic() - start
    expected = records(works["expected"].folders.store.folder)
    assert len(expected) == 1

    phases: Counter[str] = Counter()
    work, moments, finished = works["random"], [], 0
    while phases.total() < kills:
        moments.append(round(rng.uniform(0, seconds), 3))
        if phase := killed_at(fork(cell, work), moments[-1]):
            phases[phase] += 1
            whole(work)
            continue
        assert records(work.folders.store.folder) == expected
        finished += 1
        shutil.rmtree(work.folders.store.folder.parent)
    assert killed_at(fork(cell, work), 600) == ""
    assert records(work.folders.store.folder) == expected
    leftovers = [str(path) for path in work.folders.runs.rglob(".*")]

    at_writes = at_every_write(cell, works["writes"])
    assert records(works["writes"].folders.store.folder) == expected
    return {
        "seconds": seconds, "moments": moments, "phases": phases, "finished": finished + 1, "at_writes": at_writes,
        "leftovers": leftovers,
    }  # fmt: skip


if __name__ == "__main__":
    protocol, folder, kills, seed = sys.argv[1:]
    print(json.dumps(main(Path(protocol), Path(folder), int(kills), int(seed))))
