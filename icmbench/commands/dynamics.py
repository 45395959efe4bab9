"""`icmbench dynamics`: what happens while a method trains."""

import argparse

from icmbench.commands import _options

HELP = "watch a method and the anchor train: loss terms, their gradients in the codec, and where the bits go"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("method")
    parser.add_argument("task")
    parser.add_argument("--protocol", metavar="NAME|FILE", help="default: the task's own")
    parser.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE",
        help="a parameter of the method (alpha=0.3) or, with a dot, a field of the protocol (training.steps=100)",
    )  # fmt: skip
    parser.add_argument("--seeds", type=_options.positive, default=1, metavar="N", help="repeat with N seeds (default 1)")
    parser.add_argument("--rates", metavar="λ,λ,…", help="these rate points of the protocol (default: the middle one)")
    _options.add_place(parser)


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
        anchor=True,
    )
    protocol = job.resolved()
    job.rate_indices(protocol)
    demand(protocol)
    device = _options.device(arguments.device)
    import warnings

    warnings.filterwarnings("ignore")
    from rich.console import Console

    from icmbench import dynamics_job
    from icmbench.cell import Place

    place = Place(job.plugins, arguments.results, arguments.runs, device)
    dynamics_job.run(job, protocol, place, Console())
    return 0
