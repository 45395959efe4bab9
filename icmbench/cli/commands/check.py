"""`icmbench check`: the contract tests on a plugin."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from icmbench.cli import options

if TYPE_CHECKING:
    from icmbench.plugins.find import Plugins

HELP = "run the contract tests on a method or task"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("name", help="a method or a task, or a bundle (BUNDLE.zip), whose method is tried in a sandbox")
    parser.add_argument("--task", default="segmentation", help="the task to check a method with (default segmentation)")
    options.add_plugin(parser)


def run(arguments: argparse.Namespace) -> int:
    if arguments.name.endswith(".zip"):
        from icmbench.submission.sandbox_run import check

        status, printed = check(Path(arguments.name), arguments.task)
        print(printed)
        return status
    return tell(options.plugins(arguments), arguments.name, arguments.task)


def tell(plugins: "Plugins", name: str, task: str) -> int:
    """Check a plugin and print what holds and what does not; the exit status."""
    from icmbench.extras.authoring.check import check, summary

    results = check(plugins, name, task)
    for result in results:
        verdict = "FAIL" if result.problem else "ok  " if result.tried else "-   "
        print(f"{verdict} {result.what}" + (f": {result.problem}" if result.problem else ""))
    print(summary(results))
    return 1 if any(result.problem for result in results) else 0
