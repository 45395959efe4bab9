"""`icmbench power`: which differences a protocol can resolve."""

import argparse
import json

from icmbench.base.errors import UserError
from icmbench.cli import options

HELP = "compare the anchor with itself under other seeds: what differences can this protocol resolve?"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    options.add_anchor_job(parser, seeds=6)


def run(arguments: argparse.Namespace) -> int:
    if arguments.seeds < 2:
        raise UserError("power compares seeds with each other: it needs at least 2 seeds.")
    with options.anchor_job(arguments) as (protocol, runner):
        from icmbench.extras.power import power

        result = power.measure_power(protocol, arguments.seeds, runner)
    print(json.dumps(power.as_json(result, protocol), indent=1) if arguments.json else power.describe_power(result, protocol))
    return 0
