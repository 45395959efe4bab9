"""`icmbench check`: the contract tests on a plugin."""

import argparse

from icmbench.commands import _options

HELP = "run the contract tests on a method or task"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("name", help="a method or a task")
    parser.add_argument("--task", default="segmentation", help="the task to check a method with (default segmentation)")
    _options.add_plugin(parser)


def run(arguments: argparse.Namespace) -> int:
    import warnings

    warnings.filterwarnings("ignore")
    from icmbench.check import check, summary

    results = check(_options.plugins(arguments), arguments.name, arguments.task)
    for result in results:
        verdict = "FAIL" if result.problem else "ok  " if result.tried else "-   "
        print(f"{verdict} {result.what}" + (f": {result.problem}" if result.problem else ""))
    print(summary(results))
    return 1 if any(result.problem for result in results) else 0
