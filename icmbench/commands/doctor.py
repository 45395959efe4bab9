"""`icmbench doctor`: what is installed and what is missing."""

import argparse

from icmbench.commands import _options

HELP = "print versions and devices, and the data found and missing"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    _options.add_plugin(parser)


def run(arguments: argparse.Namespace) -> int:
    from icmbench.doctor import report

    print("\n".join(report(_options.plugins(arguments))))
    return 0
