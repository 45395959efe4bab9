"""`icmbench publish`: the leaderboard as a static site."""

import argparse
from importlib import import_module
from pathlib import Path

from icmbench.cli import options

HELP = "write the leaderboard as a static site"
MODULE = "icmbench.leaderboard.publish"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("out", type=Path, metavar="OUT", help="folder of the site; one that publish made is replaced")
    options.add_results(parser)
    parser.add_argument("--check", action="store_true", help="write nothing; show how OUT differs from the site of the results")


def run(arguments: argparse.Namespace) -> int:
    site = import_module(MODULE)

    def report(protocol: str) -> None:
        print(f"making the tables of {protocol} ...", flush=True)

    if not arguments.check:
        pages = site.publish(arguments.results.folder, arguments.out, report)
        print(f"{arguments.out / 'index.html'}: {pages} page{'s' if pages > 1 else ''}")
        return 0
    differences = site.differences(arguments.results.folder, arguments.out, report)
    print("\n".join(differences) if differences else f"{arguments.out} is up to date")
    return 1 if differences else 0
