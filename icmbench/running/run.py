"""`icmbench run`: plan, compute the missing cells, show the table and the plot."""

import time
from collections.abc import Sequence
from typing import Any

from rich.console import Console

from icmbench.base.errors import UserError
from icmbench.compare.comparable import read_comparable
from icmbench.compare.comparison import curves, rows
from icmbench.compare.resamples import source
from icmbench.experiment.cell import Cell
from icmbench.experiment.compute import ComputeCell, make_bitstreams
from icmbench.plugins.find import Plugins
from icmbench.running.job import Job
from icmbench.running.plan import plan
from icmbench.running.runner import Runner
from icmbench.schema.protocol import Protocol, doubled
from icmbench.schema.record import Record
from icmbench.schema.store import Store
from icmbench.show.bdrate_table import print_table


def run(job: Job, protocol: Protocol, runner: Runner, keep_bitstreams: bool = False) -> int:
    """Compute the job's missing cells, then show the table and the plot. Returns 1 if a cell failed or lacks its bitstreams."""
    start = time.monotonic()
    cells = cells_of(job, protocol)
    complete = runner.fill(cells, ComputeCell(runner.plugins, runner.folders, runner.device, keep_bitstreams))
    if keep_bitstreams:
        complete &= _make_bitstreams(cells, runner)
    _show(protocol, cells, runner)
    runner.console.print(f"{time.monotonic() - start:.0f} s in all.", highlight=False)
    return 0 if complete else 1


def cells_of(job: Job, protocol: Protocol) -> list[Cell]:
    """The anchor's cells and the method's, once each."""
    methods: dict[str, dict[str, Any]] = {protocol.anchor: {}} if job.anchor else {}
    methods |= {job.method: job.parameters}
    return plan(job.plugins, protocol, methods, job.rate_indices(protocol), job.seeds)


def _make_bitstreams(cells: Sequence[Cell], runner: Runner) -> bool:
    """Make the bitstreams of the cells that have a record but no bitstreams. Returns whether all have them now."""
    complete = True
    for cell in cells:
        if not runner.folders.bitstreams(cell).exists() and runner.folders.record(cell).exists():
            try:
                make_bitstreams(cell, runner.plugins, runner.folders, runner.device)
            except UserError as error:
                complete = False
                runner.console.print(str(error), highlight=False, markup=False, soft_wrap=True)
    return complete


def records_of(cells: Sequence[Cell], runner: Runner) -> list[Record]:
    """The comparable records of these cells. Prints the records of their protocols that are set aside."""
    files = {runner.folders.record(cell) for cell in cells}
    records = comparable_records(runner.folders.store, {cell.protocol.identity for cell in cells}, runner.plugins, runner.console)
    return [record for record in records if runner.folders.store.path_of(record) in files]


def comparable_records(store: Store, protocols: set[str], plugins: Plugins, console: Console) -> list[Record]:
    """The comparable records of protocols. Prints the others with the reason."""
    records, set_aside = read_comparable(store, plugins)
    for path, reason in set_aside.items():
        if protocols & set(path.parts):
            console.print(f"set aside {path}: {reason}", markup=False)
    return [record for record in records if record.protocol.identity in protocols]


def _show(protocol: Protocol, cells: Sequence[Cell], runner: Runner) -> None:
    store, labels, twice = runner.folders.store, {cell.label for cell in cells}, doubled(protocol).identity
    records = comparable_records(store, {protocol.identity, twice}, runner.plugins, runner.console)
    shown = [r for r in records if r.protocol.identity == protocol.identity and r.label in labels]
    if not shown:
        return
    longer = [r for r in records if r.protocol.identity == twice and r.label == protocol.anchor]
    metric = protocol.evaluation.metric
    print_table(rows([*shown, *longer], source(store, runner.plugins), metric), runner.console)
    from icmbench.show.curves import draw  # takes a second to import
    from icmbench.show.figure import interactive

    folder = runner.folders.runs / protocol.identity
    plots = draw(curves(shown, metric)[0], folder)
    lines = {
        "plot": ", ".join([str(plots[0]), *(path.suffix for path in plots[1:])]),
        "interactive view": interactive(str(store)),
        "records": f"{store}/{protocol.identity}",
        "codecs and training logs": folder,
    }
    for what, where in lines.items():
        runner.console.print(f"{what + ':':26}{where}", highlight=False, markup=False, soft_wrap=True)
