"""`icmbench table`: the BD-rate table of a results folder."""

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from icmbench.base.errors import UserError, unknown
from icmbench.cli import options

if TYPE_CHECKING:
    from icmbench.compare.row import Row
    from icmbench.plugins.find import Plugins
    from icmbench.schema.record import Record
    from icmbench.schema.store import Store

HELP = "print the BD-rate table of a results folder"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    options.add_results(parser)
    options.add_plugin(parser)
    parser.add_argument("--metric", metavar="NAME", help="the score to compare by (default: each protocol's primary one)")
    form = parser.add_mutually_exclusive_group()
    for name in ("json", "csv", "markdown", "latex"):
        form.add_argument(f"--{name}", dest="form", action="store_const", const=name, default="text")


def run(arguments: argparse.Namespace) -> int:
    from icmbench.compare.summary import summary
    from icmbench.show import bdrate_table

    store = arguments.results
    _require_folder(store)
    plugins = options.plugins(arguments)
    table = summary(store, plugins, arguments.metric)
    for name, reason in table.aside:
        print(f"icmbench: set aside {store.folder / name}: {reason}", file=sys.stderr)
    if not table.rows:
        raise _no_rows(store, plugins, arguments.metric)
    rows = _with_external(store.folder, table.rows)
    if arguments.form == "text":
        bdrate_table.print_table(rows)
    else:
        print(getattr(bdrate_table, f"to_{arguments.form}")(rows), end="" if arguments.form == "csv" else "\n")
    return 0


def _with_external(folder: Path, rows: "list[Row]") -> "list[Row]":
    """The rows with the external curves of the folder. Prints the curves that cannot be compared to standard error."""
    if not (folder / "external").is_dir():
        return rows
    from icmbench.extras.curves.external import not_comparable, read, with_external

    curves, broken = read(folder)
    for path, reason in broken.items():
        print(f"icmbench: set aside {path}: {reason}", file=sys.stderr)
    for curve, reason in not_comparable(curves, rows):
        print(f"icmbench: the external curve {curve.name} is not compared: {reason}", file=sys.stderr)
    return with_external(curves, rows)


def _no_rows(store: "Store", plugins: "Plugins", metric: str | None) -> UserError:
    if metric is None:
        return _nothing_in(store)
    known = {name for record in read_records(store, plugins) for name in record.scores}
    return unknown("score", metric, known)


def read_records(store: "Store", plugins: "Plugins") -> "list[Record]":
    """The comparable records of a results folder. Prints the others to standard error.

    Raises UserError if the folder does not exist or has no such record.
    """
    from icmbench.compare.comparable import read_comparable

    _require_folder(store)
    records, aside = read_comparable(store, plugins)
    for path, reason in aside.items():
        print(f"icmbench: set aside {path}: {reason}", file=sys.stderr)
    if not records:
        raise _nothing_in(store)
    return records


def _require_folder(store: "Store") -> None:
    if not store.folder.is_dir():
        raise UserError(f"there is no results folder {store}.")


def _nothing_in(store: "Store") -> UserError:
    return UserError(f"there are no records in {store}; 'icmbench run METHOD TASK' makes some.")
