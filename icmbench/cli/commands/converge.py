"""`icmbench converge`: how much the anchor still improves when its budget doubles."""

import argparse
import json

from icmbench.cli.commands.power import add_anchor_job, anchor_job

HELP = "train the anchor with twice its step budget: how far does it still move?"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_anchor_job(parser, seeds=3)


def run(arguments: argparse.Namespace) -> int:
    with anchor_job(arguments) as (protocol, runner):
        from icmbench.extras.power import power

        difference = power.measure_convergence(protocol, arguments.seeds, runner)
    if arguments.json:
        print(json.dumps(power.as_json(difference, protocol), indent=1))
        return 0
    spread = f" ({difference.low:+.1f} … {difference.high:+.1f} %)" if difference.interval else " (one seed: no interval)"
    budgets = f"{2 * protocol.training.steps} steps against {protocol.training.steps}"
    print(f"{protocol.identity}: {protocol.anchor} with {budgets}: BD-rate {difference.value:+.1f} %{spread}")
    return 0
