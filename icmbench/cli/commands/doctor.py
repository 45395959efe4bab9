"""`icmbench doctor`: what is installed and what is missing."""

import argparse

from icmbench.cli import options

HELP = "print versions and devices, and the data found and missing"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    options.add_plugin(parser)


def run(arguments: argparse.Namespace) -> int:
    from icmbench.extras.doctor import report

    print("\n".join(report(options.plugins(arguments))))
    return 0
