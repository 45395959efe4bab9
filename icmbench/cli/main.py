"""The command line: which commands there are, and what becomes of their errors."""

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

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
from icmbench.extras.remote import around, is_url

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
    arguments = _parser().parse_args(argv)
    try:
        return _run(arguments)
    except UserError as error:
        print(f"icmbench: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("icmbench: interrupted; the same command goes on where it was.", file=sys.stderr)
        return 130
    except BrokenPipeError:
        return 1


def _run(arguments: argparse.Namespace) -> int:
    """The command, with `--results` as a path; results at a URL are fetched before and sent afterwards."""
    command: Callable[[argparse.Namespace], int] = arguments.command
    place: str | None = getattr(arguments, "results", None)
    if place is None:
        return command(arguments)

    def run(folder: Path) -> int:
        arguments.results = folder
        return command(arguments)

    arguments.url = place if is_url(place) else None
    return around(place, run) if arguments.url else run(Path(place))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("icmbench", description="Benchmark of image coding for machines.")
    parser.add_argument("--version", action="version", version=f"icmbench {__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for name, module in COMMANDS.items():
        command = commands.add_parser(name, help=module.HELP, description=module.HELP)
        command.set_defaults(command=module.run)
        module.add_arguments(command)
    return parser
