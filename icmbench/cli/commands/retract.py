"""`icmbench retract`: remove a submission's records from the results folder; its entry stays, with the reason."""

import argparse

from icmbench.cli import options

HELP = "remove a submission's records from a results folder, with the reason"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("label", metavar="METHOD", help="the method with its parameters, as in tables: my_method,alpha=0.3")
    parser.add_argument("protocol", metavar="NAME@HASH")
    parser.add_argument("--reason", required=True, metavar="TEXT")
    options.add_results(parser)


def run(arguments: argparse.Namespace) -> int:
    from icmbench.submission import registry

    removed = registry.retract(arguments.results.folder, arguments.protocol, arguments.label, arguments.reason)
    print(f"{arguments.label} under {arguments.protocol}: {len(removed)} records retracted.")
    return 0
