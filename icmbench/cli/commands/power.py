"""`icmbench power`: which differences a protocol can resolve."""

import argparse
import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from icmbench.base.errors import UserError
from icmbench.cli import options

if TYPE_CHECKING:
    from icmbench.running.runner import Runner
    from icmbench.schema.protocol import Protocol

HELP = "compare the anchor with itself under other seeds: what differences can this protocol resolve?"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_anchor_job(parser, seeds=6)


def run(arguments: argparse.Namespace) -> int:
    if arguments.seeds < 2:
        raise UserError("power compares seeds with each other: it needs at least 2 seeds.")
    with anchor_job(arguments) as (protocol, runner):
        from icmbench.extras.power import power

        result = power.measure_power(protocol, arguments.seeds, runner)
    print(json.dumps(power.as_json(result, protocol), indent=1) if arguments.json else power.describe_power(result, protocol))
    return 0


def add_anchor_job(parser: argparse.ArgumentParser, seeds: int) -> None:
    """The options of a measurement of a protocol's anchor: task, `--protocol`, `--seeds`, `--json`, and locations."""
    parser.add_argument("task")
    parser.add_argument("--protocol", metavar="NAME|FILE", help="default: the task's own")
    parser.add_argument("--seeds", type=options.positive, default=seeds, metavar="N", help=f"seeds 0 to N - 1 (default {seeds})")
    parser.add_argument("--json", action="store_true", help="figures as JSON on standard output, progress on standard error")
    options.add_locations(parser)
    options.add_engine(parser)


@contextmanager
def anchor_job(arguments: argparse.Namespace) -> "Iterator[tuple[Protocol, Runner]]":
    """The protocol of such a measurement, and its runner. Raises UserError for wrong names and missing files."""
    plugins = options.plugins(arguments)
    protocol = options.bound(plugins.resolve(arguments.task, arguments.protocol), plugins)
    from rich.console import Console

    with options.runner(arguments, plugins, Console(stderr=arguments.json)) as runner:
        yield protocol, runner
