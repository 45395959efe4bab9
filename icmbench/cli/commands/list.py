"""`icmbench list`: methods, tasks and protocols."""

import argparse
from typing import TYPE_CHECKING, Literal

from icmbench.base.errors import UserError
from icmbench.cli import options

if TYPE_CHECKING:
    from icmbench.plugins.find import Kind, Plugins

HELP = "list methods, tasks and protocols"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("what", nargs="?", choices=("methods", "tasks", "protocols"))
    options.add_plugin(parser)


def run(arguments: argparse.Namespace) -> int:
    plugins = options.plugins(arguments)
    kinds: tuple[Kind | Literal["protocols"], ...] = ("methods", "tasks", "protocols")
    for kind in kinds:
        if arguments.what not in (None, kind):
            continue
        print(f"{kind}:")
        if kind == "protocols":
            lines = [(name, _summary(plugins, name)) for name in plugins.protocols()]
        else:
            listed = plugins.find(kind).values()
            lines = [(p.name, f"BROKEN: {p.problem}" if p.problem else p.summary) for p in listed]
        for name, text in lines:
            print(f"  {name:34} {text}")
    return 0


def _summary(plugins: "Plugins", name: str) -> str:
    try:
        return plugins.protocol(name).summary
    except UserError as error:
        return f"BROKEN: {error}"
