"""`icmbench table`: the BD-rate table of a results folder."""

import argparse
import sys

from icmbench.cli import options

HELP = "print the BD-rate table of a results folder"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    options.add_results(parser)
    options.add_plugin(parser)
    form = parser.add_mutually_exclusive_group()
    for name in ("json", "csv", "markdown", "latex"):
        form.add_argument(f"--{name}", dest="form", action="store_const", const=name, default="text")


def run(arguments: argparse.Namespace) -> int:
    from icmbench.base.errors import UserError
    from icmbench.compare.summary import summary
    from icmbench.show import table

    if not arguments.results.is_dir():
        raise UserError(f"there is no results folder {arguments.results}.")
    found = summary(arguments.results, options.plugins(arguments))
    for name, reason in found.broken:
        print(f"icmbench: set aside {arguments.results / name}: {reason}", file=sys.stderr)
    if not found.rows:
        raise UserError(f"there are no records in {arguments.results}; 'icmbench run METHOD TASK' makes some.")
    for name, reason in found.apart:
        print(f"icmbench: the external curve {name} is not compared: {reason}", file=sys.stderr)
    if arguments.form == "text":
        from icmbench.show.text import print_table

        print_table(found.rows)
    else:
        print(getattr(table, f"to_{arguments.form}")(found.rows), end="" if arguments.form == "csv" else "\n")
    return 0
