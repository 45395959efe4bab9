"""`icmbench run`: train and evaluate a method and the protocol's anchor."""

import argparse

from icmbench.commands import _options

HELP = "train and evaluate a method and the protocol's anchor, and print the BD-rate table"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("method")
    parser.add_argument("task")
    parser.add_argument("--protocol", metavar="NAME|FILE", help="default: the task's own")
    parser.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE",
        help="a parameter of the method (alpha=0.3) or, with a dot, a field of the protocol (training.steps=100)",
    )  # fmt: skip
    parser.add_argument("--seeds", type=_options.positive, default=1, metavar="N", help="repeat with N seeds (default 1)")
    parser.add_argument("--rates", metavar="λ,λ,…", help="only these rate points of the protocol")
    parser.add_argument("--no-anchor", action="store_true", help="leave the anchor out")
    _options.add_place(parser)
    parser.add_argument(
        "--devices", type=_options.positive, default=1, metavar="N", help="devices that share each training's batches"
    )
    parser.add_argument("--keep-bitstreams", action="store_true", help="keep every picture's bytes in the cell's run folder")


def run(arguments: argparse.Namespace) -> int:
    from icmbench.job import Job
    from icmbench.requirements import demand

    parameters, fields = _options.settings(arguments.set)
    job = Job(
        plugins=_options.plugins(arguments),
        method=arguments.method,
        task=arguments.task,
        protocol=arguments.protocol,
        parameters=parameters,
        fields=fields,
        rates=arguments.rates,
        seeds=arguments.seeds,
        anchor=not arguments.no_anchor,
    )
    protocol = job.resolved()
    job.rate_indices(protocol)
    demand(protocol)
    device = _options.device(arguments.device)
    import warnings

    warnings.filterwarnings("ignore")
    from icmbench import main_job
    from icmbench.cell import Place

    place = Place(job.plugins, arguments.results, arguments.runs, device, arguments.devices, arguments.keep_bitstreams)
    return main_job.run(job, protocol, place)
