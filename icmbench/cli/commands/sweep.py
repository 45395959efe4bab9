"""`icmbench sweep`: an ablation."""

import argparse
import re
from typing import Any

from icmbench.base.errors import UserError
from icmbench.cli import options

HELP = (
    "vary parameters of a method and fields of its protocol, each by itself with all else unchanged"
    " (not every combination: that would take too long), and plot the BD-rates"
)
COMMA = re.compile(r",(?![^\[\](){}]*[\])}])")  # not inside brackets


def add_arguments(parser: argparse.ArgumentParser) -> None:
    options.add_job(parser, rates="only these rate points of the protocol")
    options.add_engine(parser)
    parser.add_argument(
        "--over", action="append", required=True, metavar="AXIS[=VALUE,…]",
        help="what to vary: a parameter of the method (alpha=0.1,0.5; all its choices without values), a field of the"
        " protocol (training.steps=100,200; each value against the anchor at that value), or protocol=NAME,NAME",
    )  # fmt: skip


def run(arguments: argparse.Namespace) -> int:
    over = axes(arguments.over)
    job = options.job(arguments)
    from icmbench.extras.ablation import sweep

    settings = sweep.settings(job, over, lambda protocol: options.bound(protocol, job.plugins))
    with options.runner(arguments, job.plugins) as runner:
        return sweep.run(job, settings, runner)


def axes(texts: list[str]) -> dict[str, list[Any]]:
    """Axis -> values from `AXIS=VALUE,VALUE` texts; no values for a bare AXIS. Raises UserError for any other text."""
    values_of: dict[str, list[Any]] = {}
    for text in texts:
        name, separator, values = text.partition("=")
        if name in values_of:
            raise UserError(f"--over has the axis {name} twice; list all its values in one --over.")
        parts = COMMA.split(values) if separator else []
        if not name or "" in (part.strip() for part in parts):
            raise UserError(f"--over takes AXIS or AXIS=VALUE,VALUE, not '{text}'.")
        values_of[name] = [options.literal(part.strip()) for part in parts]
    return values_of
