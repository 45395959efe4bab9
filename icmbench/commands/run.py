"""`icmbench run`: train and evaluate a method and the protocol's anchor."""

import argparse

from icmbench.commands import _options

HELP = "train and evaluate a method and the protocol's anchor, and print the BD-rate table"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    _options.add_job(parser, rates="only these rate points of the protocol")
    parser.add_argument("--no-anchor", action="store_true", help="leave the anchor out")
    parser.add_argument(
        "--devices", type=_options.positive, default=1, metavar="N", help="devices that share each training's batches"
    )
    parser.add_argument("--keep-bitstreams", action="store_true", help="keep every picture's bytes in the cell's run folder")


def run(arguments: argparse.Namespace) -> int:
    from icmbench.requirements import demand

    job = _options.job(arguments, anchor=not arguments.no_anchor)
    protocol = job.resolved()
    demand(protocol)
    device = _options.device(arguments.device)
    import warnings

    warnings.filterwarnings("ignore")
    from icmbench import main_job
    from icmbench.cell import Place

    place = Place(job.plugins, arguments.results, arguments.runs, device, arguments.devices, arguments.keep_bitstreams)
    return main_job.run(job, protocol, place)
