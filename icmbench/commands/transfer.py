"""`icmbench transfer`: how codecs do under other protocols than their own."""

import argparse

from icmbench.commands import _options

HELP = "score codecs that were trained under one protocol (for one task or recogniser) under the others"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("method", nargs="?", help="default: the protocols' anchor")
    parser.add_argument("--protocols", nargs="+", metavar="NAME|FILE", help="at least two (default: the own one of every task)")
    _options.add_set(parser)
    _options.add_seeds(parser)
    _options.add_place(parser)


def run(arguments: argparse.Namespace) -> int:
    from icmbench.errors import unknown
    from icmbench.requirements import demand

    plugins, (parameters, fields) = _options.plugins(arguments), _options.settings(arguments.set)
    if arguments.method is not None and arguments.method not in (known := plugins.find("methods")):
        raise unknown("method", arguments.method, known)
    names = arguments.protocols or [plugins.default_protocol(task) for task in plugins.find("tasks")]
    from icmbench import transfer

    protocols = transfer.protocols(plugins, names, fields)
    for protocol in protocols:
        demand(protocol)
    matrix = transfer.matrix(plugins, protocols, arguments.method, parameters, arguments.seeds)
    return transfer.run(matrix, _options.place(arguments, plugins))
