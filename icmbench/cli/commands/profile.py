"""`icmbench profile`: where the time of a training step goes."""

import argparse

from icmbench.cli import options

HELP = "train a method for some steps and show where the time goes"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    options.add_job(parser, rates="the rate point to train at (default: the protocol's middle one)")
    parser.add_argument("--steps", type=options.positive, default=10, metavar="N", help="steps to look at (default 10)")


def run(arguments: argparse.Namespace) -> int:
    from icmbench.plugins.requirements import demand

    job = options.job(arguments, anchor=False)
    protocol = job.resolved()
    demand(protocol)
    place = options.place(arguments, job.plugins)
    from rich.console import Console

    from icmbench.extras import profile as profiling

    profiling.run(job, protocol, place, arguments.steps, Console())
    return 0
