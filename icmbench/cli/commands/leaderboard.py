"""`icmbench leaderboard`: browse results."""

import argparse
import os
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import NoReturn

from icmbench.base.errors import UserError
from icmbench.cli import options

HELP = "browse a results folder in a web browser"
APP = "icmbench.leaderboard"
QUIET = {
    "server.headless": "true",
    "server.fileWatcherType": "none",
    "browser.gatherUsageStats": "false",
    "client.toolbarMode": "minimal",
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    options.add_results(parser)
    parser.add_argument(
        "--runs", type=Path, default=Path("runs"), metavar="DIR", help="codecs, for images side by side (default runs)"
    )
    parser.add_argument("--port", type=_port, default=8501, metavar="N", help="default 8501")
    parser.add_argument(
        "--address", default="localhost", metavar="HOST", help="default localhost: this machine only; 0.0.0.0: the whole network"
    )


def run(arguments: argparse.Namespace) -> NoReturn:
    results = arguments.results.folder.absolute()
    if results.exists() and not results.is_dir():
        raise UserError(f"{arguments.results} is not a folder.")
    _build(results)
    spec = find_spec(APP)
    if spec is None or spec.origin is None:
        raise UserError("the leaderboard is not installed.")
    app = Path(spec.origin).with_name("app.py")
    flags = QUIET | {"server.port": str(arguments.port), "server.address": arguments.address}
    words = [word for name, value in flags.items() for word in (f"--{name}", value)]
    command = [sys.executable, "-m", "streamlit", "run", str(app), *words, "--", str(results), str(arguments.runs.absolute())]
    print(f"serving {arguments.results} at http://{arguments.address}:{arguments.port} (Ctrl-C ends it)", flush=True)
    os.execv(command[0], command)  # in this process's place: whoever ends this process ends the server


def _build(results: Path) -> None:
    """Make the tables before anybody waits for a page."""
    from importlib import import_module

    derived = import_module(f"{APP}.derived")
    derived.build(results, lambda protocol: print(f"making the tables of {protocol} ...", flush=True))


def _port(text: str) -> int:
    number = int(text)
    if not 1 <= number <= 65535:
        raise argparse.ArgumentTypeError("must be from 1 to 65535")
    return number
