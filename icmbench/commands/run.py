"""`icmbench run`: train and evaluate a method and the protocol's anchor."""

import argparse

from icmbench.commands import _options

HELP = "train and evaluate a method and the protocol's anchor, and print the BD-rate table"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    _options.add_job(parser, rates="only these rate points of the protocol")
    _options.add_engine(parser)
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
    place = _options.place(arguments, job.plugins)
    from dataclasses import replace

    from icmbench import main_job

    return main_job.run(job, protocol, replace(place, devices=arguments.devices, keep_bitstreams=arguments.keep_bitstreams))
