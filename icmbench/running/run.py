"""`icmbench run`: plan, compute what is missing, show the table and the plot."""

import time
from collections.abc import Sequence
from typing import Any

from rich.console import Console

from icmbench.base.errors import UserError
from icmbench.base.files import demand_writable
from icmbench.compare.comparison import curves, rows
from icmbench.compare.resamples import source
from icmbench.experiment.cell import Cell, CellRun, Place
from icmbench.extras.remote import Remote
from icmbench.extras.status import StatusFile
from icmbench.running.job import Job
from icmbench.running.pace import Pace
from icmbench.running.plan import plan, units
from icmbench.running.progress import follow
from icmbench.running.runner import compute
from icmbench.schema.protocol import Protocol, doubled
from icmbench.schema.record import Record, Store
from icmbench.show.text import print_table


def cells_of(job: Job, protocol: Protocol) -> list[Cell]:
    """The anchor's cells and the method's, once each."""
    methods: dict[str, dict[str, Any]] = {protocol.anchor: {}} if job.anchor else {}
    methods |= {job.method: job.parameters}
    return plan(job.plugins, protocol, methods, job.rate_indices(protocol), job.seeds)


def run(job: Job, protocol: Protocol, place: Place) -> int:
    """Compute the job's missing cells and end with the table and the plot; 1 if a cell failed or lacks its bitstreams."""
    console, start = Console(), time.monotonic()
    todo = cells_of(job, protocol)
    complete = fill(todo, place, console)
    if place.keep_bitstreams:
        complete &= keep_bitstreams(todo, place, console)
    _finish(console, protocol, place, todo)
    console.print(f"{time.monotonic() - start:.0f} s in all.", highlight=False)
    return 0 if complete else 1


def fill(cells: Sequence[Cell], place: Place, console: Console) -> bool:
    """Compute the cells that have no record yet, and show how it goes; whether all have one now.

    Raises UserError where nothing can be written, for more devices than a batch has pictures, and for cells packed on each.
    """
    for folder in (place.results, place.runs):
        demand_writable(folder)
    absent = [cell for cell in cells if not CellRun(cell, place).finished]
    for protocol in dict.fromkeys(cell.protocol.identity for cell in cells):
        own, new = ([cell for cell in some if cell.protocol.identity == protocol] for some in (cells, absent))
        console.print(
            f"{protocol} on {place.accelerator}: {len(own)} cells, {len(own) - len(new)} already there", highlight=False
        )
    smallest = min(cell.protocol.training.batch_size for cell in cells)
    if smallest < place.devices:
        raise UserError(f"--devices {place.devices} would leave devices without pictures: the batches have {smallest}.")
    if place.devices > 1 and (place.pack or 1) > 1:
        raise UserError("--pack puts several cells on one device, --devices one cell on several: take one of the two.")
    if not absent:
        return True
    console.print("starting: missing pictures are made, every method gets one batch", highlight=False)
    pace = Pace(units(absent, place.plugins))
    with StatusFile(place.runs, place.results) as file:
        file.tell(pace)
        complete = not follow(compute(absent, place), pace, console, file.tell)
    if place.url:  # a cell may have been computed on another machine
        Remote(place.url).pull()
    return complete


def keep_bitstreams(cells: Sequence[Cell], place: Place, console: Console) -> bool:
    """Make the bitstreams of the cells that had a record before they were asked for; whether all have them now."""
    complete = True
    for cell in cells:
        cell_run = CellRun(cell, place)
        if cell_run.bitstreams.exists() or not cell.record_path(Store(place.results)).exists():
            continue
        try:
            cell_run.keep_bitstreams()
        except UserError as error:
            complete = False
            console.print(str(error), highlight=False, markup=False, soft_wrap=True)
    return complete


def records_of(cells: Sequence[Cell], store: Store, console: Console) -> list[Record]:
    """The sound records of these cells; broken ones below their protocols are named."""
    wanted = {cell.record_path(store) for cell in cells}
    records = _sound(store, {cell.protocol.identity for cell in cells}, console)
    return [record for record in records if store.path_of(record) in wanted]


def _sound(store: Store, protocols: set[str], console: Console) -> list[Record]:
    """The sound records of protocols; broken ones are named."""
    records, broken = store.read()
    for path, reason in broken.items():
        if protocols & set(path.parts):
            console.print(f"set aside {path}: {reason}", markup=False)
    return [record for record in records if record.protocol.identity in protocols]


def _finish(console: Console, protocol: Protocol, place: Place, todo: Sequence[Cell]) -> None:
    store, labels, twice = Store(place.results), {cell.label for cell in todo}, doubled(protocol).identity
    records = _sound(store, {protocol.identity, twice}, console)
    shown = [r for r in records if r.protocol.identity == protocol.identity and r.label in labels]
    if not shown:
        return
    longer = [r for r in records if r.protocol.identity == twice and r.label == protocol.anchor]
    print_table(rows([*shown, *longer], source(store, place.plugins)), console)
    from icmbench.show.curves import draw  # takes a second to import, and what is refused does without

    png, html = draw(curves(shown)[0], place.runs / protocol.identity)
    lines = {
        "plot": png,
        "interactive plot": html,
        "records": f"{place.url or store.folder}/{protocol.identity}",
        "codecs and training logs": place.runs / protocol.identity,
    }
    for what, where in lines.items():
        console.print(f"{what + ':':26}{where}", highlight=False, markup=False, soft_wrap=True)
