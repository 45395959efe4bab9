"""The command line: which commands there are, and what becomes of their errors."""

import argparse
import sys
import warnings
from collections.abc import Sequence
from contextlib import nullcontext
from typing import TYPE_CHECKING

from icmbench import __version__
from icmbench.base.errors import UserError
from icmbench.cli.commands import (
    accept,
    bdrate,
    check,
    converge,
    decode,
    doctor,
    dynamics,
    export,
    import_,
    leaderboard,
    list_,
    new,
    power,
    prepare,
    profile,
    publish,
    retract,
    run,
    show,
    status,
    submit,
    sweep,
    table,
    transfer,
    verify,
)

if TYPE_CHECKING:
    from icmbench.schema.store import Store

COMMANDS = {
    "run": run,
    "list": list_,
    "show": show,
    "status": status,
    "table": table,
    "leaderboard": leaderboard,
    "publish": publish,
    "bdrate": bdrate,
    "sweep": sweep,
    "transfer": transfer,
    "power": power,
    "converge": converge,
    "dynamics": dynamics,
    "profile": profile,
    "doctor": doctor,
    "new": new,
    "check": check,
    "decode": decode,
    "submit": submit,
    "verify": verify,
    "accept": accept,
    "retract": retract,
    "prepare": prepare,
    "import": import_,
    "export": export,
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command; returns the exit status. Errors that the user can mend are one sentence on standard error."""
    try:
        arguments = _parser().parse_args(argv)
        warnings.filterwarnings("ignore")  # the toolboxes' remarks about each other
        store: Store | None = getattr(arguments, "results", None)
        with store.shared() if store is not None else nullcontext():
            status: int = arguments.command(arguments)
            return status
    except UserError as error:
        print(f"icmbench: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("icmbench: interrupted; the same command goes on where it was.", file=sys.stderr)
        return 130
    except BrokenPipeError:
        return 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("icmbench", description="Benchmark of image coding for machines.")
    parser.add_argument("--version", action="version", version=f"icmbench {__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for name, module in COMMANDS.items():
        command = commands.add_parser(name, help=module.HELP, description=module.HELP)
        command.set_defaults(command=module.run)
        module.add_arguments(command)
    return parser
