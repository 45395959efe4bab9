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
    parser.add_argument("--keep-bitstreams", action="store_true", help="keep every image's bytes in the cell's run folder")


def run(arguments: argparse.Namespace) -> int:
    job = options.job(arguments, anchor=not arguments.no_anchor)
    protocol = options.bound(job.resolved(), job.plugins)
    from icmbench.running.run import run

    with options.runner(arguments, job.plugins) as runner:
        return run(job, protocol, runner, arguments.keep_bitstreams)
