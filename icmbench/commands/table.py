"""`icmbench table`: the BD-rate table of a results folder."""

import argparse
import sys

from icmbench.commands import _options

HELP = "print the BD-rate table of a results folder"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    _options.add_results(parser)
    form = parser.add_mutually_exclusive_group()
    for name in ("json", "csv", "markdown", "latex"):
        form.add_argument(f"--{name}", dest="form", action="store_const", const=name, default="text")


def run(arguments: argparse.Namespace) -> int:
    from icmbench import table
    from icmbench.comparison import as_group, curves, rows
    from icmbench.external import not_comparable, read
    from icmbench.record import Store
    from icmbench.resamples import source

    records = _options.read_records(arguments.results)
    external, broken = read(arguments.results)
    made = rows(records, source(Store(arguments.results)), external)
    apart = not_comparable(external, [as_group(group) for group in curves(records)])
    for path, reason in broken.items():
        print(f"icmbench: set aside {path}: {reason}", file=sys.stderr)
    for curve, reason in apart:
        print(f"icmbench: the external curve {curve.name} is not compared: {reason}", file=sys.stderr)
    if arguments.form == "text":
        from icmbench.text import print_table

        print_table(made)
    else:
        print(getattr(table, f"to_{arguments.form}")(made), end="" if arguments.form == "csv" else "\n")
    return 0
