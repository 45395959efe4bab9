"""`icmbench run`: train and evaluate a method and the protocol's anchor."""

import argparse

from icmbench.cli import options

HELP = "train and evaluate a method and the protocol's anchor, and print the BD-rate table"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    options.add_job(parser, rates="only these rate points of the protocol")
    options.add_engine(parser)
    parser.add_argument("--no-anchor", action="store_true", help="leave the anchor out")
    parser.add_argument(
        "--devices", type=options.positive, default=1, metavar="N", help="devices that share each training's batches"
    )
    parser.add_argument("--keep-bitstreams", action="store_true", help="keep every picture's bytes in the cell's run folder")


def run(arguments: argparse.Namespace) -> int:
    from icmbench.plugins.requirements import demand

    job = options.job(arguments, anchor=not arguments.no_anchor)
    protocol = job.resolved()
    demand(protocol)
    place = options.place(arguments, job.plugins)
    from dataclasses import replace

    from icmbench.running import run as main_job

    return main_job.run(job, protocol, replace(place, devices=arguments.devices, keep_bitstreams=arguments.keep_bitstreams))
