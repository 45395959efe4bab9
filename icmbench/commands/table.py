"""`icmbench table`: the BD-rate table of a results folder."""

import argparse

from icmbench.commands import _options

HELP = "print the BD-rate table of a results folder"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    _options.add_results(parser)
    form = parser.add_mutually_exclusive_group()
    for name in ("json", "csv", "markdown", "latex"):
        form.add_argument(f"--{name}", dest="form", action="store_const", const=name, default="text")


def run(arguments: argparse.Namespace) -> int:
    from icmbench import table

    made = table.rows(_options.read_records(arguments.results))
    if arguments.form == "text":
        from icmbench.text import print_table

        print_table(made)
    else:
        print(getattr(table, f"to_{arguments.form}")(made), end="" if arguments.form == "csv" else "\n")
    return 0
