"""`icmbench check`: the contract tests on a plugin."""

import argparse
from pathlib import Path

from icmbench.cli import options

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
    from icmbench.extras.authoring.check import report

    return report(options.plugins(arguments), arguments.name, arguments.task)
