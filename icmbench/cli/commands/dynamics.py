"""`icmbench dynamics`: what happens while a method trains."""

import argparse

from icmbench.cli import options

HELP = "watch a method and the anchor train: loss terms, their gradients in the codec, and where the bits go"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    options.add_job(parser, rates="these rate points of the protocol (default: the middle one)")
    options.add_engine(parser, "local", "inline")  # its results stay on the machine that makes them


def run(arguments: argparse.Namespace) -> int:
    job = options.job(arguments)
    protocol = options.bound(job.resolved(), job.plugins)
    from icmbench.extras.dynamics import dynamics

    with options.runner(arguments, job.plugins) as runner:
        return dynamics.run(job, protocol, runner)
