"""`icmbench run`: compute the missing cells of a method and the protocol's anchor, then show the table and the plot."""

import argparse
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

from icmbench.cli import options

if TYPE_CHECKING:
    from icmbench.experiment.cell import Cell
    from icmbench.running.runner import Runner
    from icmbench.schema.protocol import Protocol

HELP = "train and evaluate a method and the protocol's anchor, and print the BD-rate table"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    options.add_job(parser, rates="only these rate points of the protocol")
    options.add_engine(parser)
    parser.add_argument("--no-anchor", action="store_true", help="leave the anchor out")
    parser.add_argument(
        "--devices", type=options.positive, default=1, metavar="N", help="devices that share each training's batches"
    )
    parser.add_argument("--keep-bitstreams", action="store_true", help="keep every image's bytes in the cell's run folder")


def run(arguments: argparse.Namespace) -> int:
    """Returns 1 if a cell failed or lacks its bitstreams."""
    job = options.job(arguments, anchor=not arguments.no_anchor)
    protocol = options.bound(job.resolved(), job.plugins)
    from icmbench.experiment.bitstreams import make_missing_bitstreams
    from icmbench.experiment.compute import ComputeCell
    from icmbench.running.runner import cells_of
    from icmbench.show.sheet import print_line

    with options.runner(arguments, job.plugins) as runner:
        start, cells = time.monotonic(), cells_of(job, protocol)
        work = ComputeCell(runner.plugins, runner.folders, runner.device, arguments.keep_bitstreams)
        complete = runner.fill(cells, work)
        if arguments.keep_bitstreams:
            for problem in make_missing_bitstreams(cells, runner.plugins, runner.folders, runner.device):
                print_line(problem, runner.console)
                complete = False
        _show(protocol, cells, runner)
        print_line(f"{time.monotonic() - start:.0f} s in all.", runner.console)
    return 0 if complete else 1


def _show(protocol: "Protocol", cells: "Sequence[Cell]", runner: "Runner") -> None:
    """Print the table of these cells' methods, draw their curves, and say where everything is."""
    from icmbench.compare.comparison import curves, rows
    from icmbench.compare.resamples import source
    from icmbench.schema.protocol import doubled
    from icmbench.show.bdrate_table import print_table
    from icmbench.show.sheet import print_line

    store, labels, twice = runner.folders.store, {cell.label for cell in cells}, doubled(protocol).identity
    records = runner.comparable_records({protocol.identity, twice})
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
        print_line(f"{what + ':':26}{where}", runner.console)
