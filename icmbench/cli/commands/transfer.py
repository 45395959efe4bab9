"""`icmbench transfer`: scores of codecs under other protocols than their own."""

import argparse

from icmbench.base.errors import unknown
from icmbench.cli import options

HELP = "score codecs that were trained under one protocol (for one task or recogniser) under the others"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("method", nargs="?", help="default: the protocols' anchor")
    parser.add_argument(
        "--protocols", nargs="+", metavar="NAME|FILE", help="at least two (default: the default protocol of every task)"
    )
    options.add_set(parser)
    options.add_seeds(parser)
    options.add_locations(parser)
    options.add_engine(parser)


def run(arguments: argparse.Namespace) -> int:
    plugins, (parameters, fields) = options.plugins(arguments), options.settings(arguments.set)
    if arguments.method is not None and arguments.method not in (known := plugins.find("methods")):
        raise unknown("method", arguments.method, known)
    names = arguments.protocols or [plugins.default_protocol(task) for task in plugins.find("tasks")]
    from icmbench.extras.ablation import transfer

    protocols = [options.bound(protocol, plugins) for protocol in transfer.protocols(plugins, names, fields)]
    matrix = transfer.matrix(plugins, protocols, arguments.method, parameters, arguments.seeds)
    with options.runner(arguments, plugins) as runner:
        return transfer.run(matrix, runner)
