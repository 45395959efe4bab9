"""The command line: the list of commands, and how their errors are shown."""

import argparse
import sys
import warnings
from collections.abc import Sequence
from contextlib import nullcontext
from importlib import import_module
from keyword import iskeyword
from typing import TYPE_CHECKING

from icmbench import __version__
from icmbench.base.errors import UserError

if TYPE_CHECKING:
    from icmbench.schema.store import Store

COMMANDS = (
    "run", "list", "show", "status", "table", "leaderboard", "publish", "bdrate", "sweep", "transfer", "power", "converge",
    "dynamics", "profile", "doctor", "new", "check", "decode", "submit", "verify", "accept", "retract", "prepare", "import",
    "export",
)  # fmt: skip


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command; returns the exit status. Errors that the user can fix are one sentence on standard error."""
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
        print("icmbench: interrupted; run the same command again to continue.", file=sys.stderr)
        return 130
    except BrokenPipeError:
        return 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("icmbench", description="Benchmark of image coding for machines.")
    parser.add_argument("--version", action="version", version=f"icmbench {__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for name in COMMANDS:
        module = import_module(f"icmbench.cli.commands.{name}{'_' * iskeyword(name)}")
        command = commands.add_parser(name, help=module.HELP, description=module.HELP)
        command.set_defaults(command=module.run)
        module.add_arguments(command)
    return parser
