"""`icmbench new`: start your own method or task."""

import argparse
import importlib.util
import shutil
import sys
from pathlib import Path

HELP = "write a working method or task of your own, with its test"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("kind", choices=("method", "task"))
    parser.add_argument("name", help="small letters, digits and underscores")
    parser.add_argument("--file", action="store_true", help="one loose file and its test instead of a package")
    parser.add_argument("--into", type=Path, default=Path(), metavar="DIR", help="where to write it (default: here)")


def run(arguments: argparse.Namespace) -> int:
    from icmbench.extras.authoring import new
    from icmbench.plugins.find import Plugins

    written = new.write(arguments.kind, arguments.name, arguments.into, arguments.file, Plugins())
    print("written:", *(f"  {path}" for path in written), "", sep="\n")
    print("next:", *(f"  {line}" for line in _next(arguments)), sep="\n")
    return 0


def _next(arguments: argparse.Namespace) -> list[str]:
    """The commands to type next, in order, as they work on this machine."""
    from icmbench.extras.authoring import new

    folder = arguments.into / ("" if arguments.file else arguments.name)
    first = [] if arguments.file else [f"{_installer()} --no-deps --no-build-isolation --editable {folder}"]
    enter = [f"cd {folder}"] if folder != Path() and arguments.file else []
    commands = new.commands(arguments.kind, arguments.name, arguments.file)
    program = "icmbench" if shutil.which("icmbench") else f"{sys.executable} -m icmbench"
    test = f"{sys.executable} -m pytest {f'test_{arguments.name}.py' if arguments.file else folder}"
    return [*enter, *first, *(line.replace("icmbench", program, 1) for line in commands), test]


def _installer() -> str:
    """The install command: pip if the environment has it, else uv, preferably the one that set up the environment."""
    if importlib.util.find_spec("pip"):
        return f"{sys.executable} -m pip install"
    own = Path(sys.prefix).parent / ".uv" / "bin" / "uv"
    return f"{own if own.exists() else 'uv'} pip install --python {sys.executable}"
