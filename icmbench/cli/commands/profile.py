"""`icmbench profile`: where the time of a training step goes."""

import argparse

from icmbench.cli import options

HELP = "train a method for some steps and show where the time goes"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    options.add_job(parser, rates="the rate point to train at (default: the protocol's middle one)")
    parser.add_argument("--steps", type=options.positive, default=10, metavar="N", help="steps to look at (default 10)")


def run(arguments: argparse.Namespace) -> int:
    job = options.job(arguments, anchor=False)
    protocol = options.bound(job.resolved(), job.plugins)
    from icmbench.extras import profile

    with options.runner(arguments, job.plugins) as runner:
        profile.run(job, protocol, runner, arguments.steps)
    return 0
