"""`icmbench dynamics`: what happens while a method trains."""

import argparse

from icmbench.cli import options

HELP = "watch a method and the anchor train: loss terms, their gradients in the codec, and where the bits go"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    options.add_job(parser, rates="these rate points of the protocol (default: the middle one)")


def run(arguments: argparse.Namespace) -> int:
    from icmbench.plugins.requirements import demand

    job = options.job(arguments)
    protocol = job.resolved()
    demand(protocol)
    place = options.place(arguments, job.plugins)
    from rich.console import Console

    from icmbench.extras.dynamics import dynamics as dynamics_job

    dynamics_job.run(job, protocol, place, Console())
    return 0
