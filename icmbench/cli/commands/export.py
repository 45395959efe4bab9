"""`icmbench export`: curves in the file formats of other programs."""

import argparse
from pathlib import Path

from icmbench.base.errors import UserError
from icmbench.cli import options
from icmbench.cli.commands.table import read_records

HELP = "write the curves of a results folder as CompressAI's RD JSON or CSV"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("out", type=Path, metavar="OUT", help="the folder to write into")
    parser.add_argument("--format", choices=("compressai", "csv"), default="compressai", help="default compressai")
    options.add_results(parser)


def run(arguments: argparse.Namespace) -> int:
    from icmbench.extras.curves.files import export
    from icmbench.plugins.find import INSTALLED

    if arguments.out.resolve() == arguments.results.folder.resolve():  # the files would mix with the records
        raise UserError(f"{arguments.out} is the results folder itself; name another one.")
    for path in export(read_records(arguments.results, INSTALLED), arguments.out, arguments.format):
        print(path)
    return 0
