"""`icmbench run`: plan, compute what is missing, show the table and the plot."""

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console

from icmbench.cell import Cell, Place
from icmbench.errors import UserError
from icmbench.files import demand_writable
from icmbench.job import Job
from icmbench.plot import draw
from icmbench.progress import follow
from icmbench.protocol import Protocol
from icmbench.record import Store
from icmbench.runner import compute, missing, plan
from icmbench.table import curves, rows
from icmbench.text import print_table


def cells_of(job: Job, protocol: Protocol) -> list[Cell]:
    """The anchor's cells and the method's, once each."""
    methods: dict[str, dict[str, Any]] = {protocol.anchor: {}} if job.anchor else {}
    methods |= {job.method: job.parameters}
    return plan(job.plugins, protocol, methods, job.rate_indices(protocol), job.seeds)


def run(job: Job, protocol: Protocol, results: Path, runs: Path, accelerator: str, devices: int) -> int:
    """Compute the job's missing cells and end with the table and the plot; 1 if a cell failed."""
    console, start = Console(), time.monotonic()
    todo = cells_of(job, protocol)
    for folder in (results, runs):
        demand_writable(folder)
    store = Store(results)
    absent = missing(todo, store, job.plugins)
    console.print(
        f"{protocol.identity} on {accelerator}: {len(todo)} cells, {len(todo) - len(absent)} already there",
        highlight=False,
    )
    if protocol.training.batch_size < devices:
        raise UserError(
            f"--devices {devices} would leave devices without pictures: the batches have {protocol.training.batch_size}."
        )
    place = Place(job.plugins, results, runs, accelerator, devices)
    failed = follow(compute(absent, place), [cell.name for cell in absent], console) if absent else {}
    _finish(console, protocol, store, runs, todo)
    console.print(f"{time.monotonic() - start:.0f} s in all.", highlight=False)
    return 1 if failed else 0


def _finish(console: Console, protocol: Protocol, store: Store, runs: Path, todo: Sequence[Cell]) -> None:
    labels = {cell.label for cell in todo}
    records, broken = store.read()
    shown = [r for r in records if r.protocol.identity == protocol.identity and r.label in labels]
    for path, reason in broken.items():
        if protocol.identity in path.parts:
            console.print(f"set aside {path}: {reason}", markup=False)
    if not shown:
        return
    print_table(rows(shown), console)
    png, html = draw(curves(shown)[0], runs / protocol.identity)
    lines = {
        "plot": png,
        "interactive plot": html,
        "records": store.folder / protocol.identity,
        "codecs and training logs": runs / protocol.identity,
    }
    for what, where in lines.items():
        console.print(f"{what + ':':26}{where}", highlight=False, markup=False, soft_wrap=True)
