"""Options that several commands share, and how their values are understood."""

import argparse
import ast
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from icmbench.base.errors import UserError

if TYPE_CHECKING:
    from rich.console import Console

    from icmbench.experiment.cell import Place
    from icmbench.plugins.find import Plugins
    from icmbench.running.job import Job
    from icmbench.schema.protocol import Protocol
    from icmbench.schema.record import Record


def add_plugin(parser: argparse.ArgumentParser) -> None:
    """`--plugin FILE`, repeatable."""
    parser.add_argument("--plugin", type=Path, action="append", default=[], metavar="FILE", help="a loose plugin file")


def add_results(parser: argparse.ArgumentParser) -> None:
    """`--results DIR|URL`; `arguments.results` is a path when a command gets it, `arguments.url` the URL if it was one."""
    parser.add_argument(
        "--results", default="results", metavar="DIR|URL", help="records (default results), also at a URL that fsspec opens"
    )


def add_place(parser: argparse.ArgumentParser) -> None:
    """Where cells are computed: `--results`, `--runs`, `--device`, `--plugin`."""
    add_results(parser)
    parser.add_argument("--runs", type=Path, default=Path("runs"), metavar="DIR", help="checkpoints, codecs, logs (default runs)")
    add_device(parser)
    add_plugin(parser)


def add_engine(parser: argparse.ArgumentParser) -> None:
    """`--engine local|ray`, `--address` and `--pack`."""
    parser.add_argument(
        "--engine", choices=("local", "ray"), default="local",
        help="compute in processes of this machine (default), or as tasks of a Ray cluster",
    )  # fmt: skip
    parser.add_argument("--address", metavar="HOST:PORT", help="the Ray cluster to join; auto: the one that this machine is in")
    parser.add_argument(
        "--pack", type=_pack, metavar="auto|N",
        help="cells computed at once on each device (default auto: one a core on a CPU, as many as its memory bears on a GPU)",
    )  # fmt: skip


def add_device(parser: argparse.ArgumentParser) -> None:
    """`--device auto|cpu|cuda`."""
    parser.add_argument("--device", default="auto", metavar="auto|cpu|cuda", help="default: a GPU when there is one")


def _pack(text: str) -> int | None:
    """`auto` (None) or an integer of at least 1."""
    if text == "auto":
        return None
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError("must be auto or a number of at least 1")
    return int(text)


def positive(text: str) -> int:
    """An integer of at least 1."""
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError("must be at least 1")
    return number


def settings(pairs: Sequence[str]) -> tuple[dict[str, Any], dict[str, Any]]:
    """`key=value` pairs as (parameters of the method, fields of the protocol)."""
    parameters: dict[str, Any] = {}
    fields: dict[str, Any] = {}
    for pair in pairs:
        key, separator, text = pair.partition("=")
        if not separator or not key:
            raise UserError(f"--set takes KEY=VALUE, not '{pair}'.")
        (fields if "." in key else parameters)[key] = literal(text)
    return parameters, fields


def literal(text: str) -> Any:
    """A value as it is written in Python (or `true`, `false`), else the text itself."""
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return {"true": True, "false": False}.get(text, text)


def add_set(parser: argparse.ArgumentParser) -> None:
    """`--set KEY=VALUE`, repeatable."""
    parser.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE",
        help="a parameter of the method (alpha=0.3) or, with a dot, a field of the protocol (training.steps=100)",
    )  # fmt: skip


def add_seeds(parser: argparse.ArgumentParser) -> None:
    """`--seeds N`."""
    parser.add_argument("--seeds", type=positive, default=1, metavar="N", help="repeat with N seeds (default 1: no intervals)")


def place(arguments: argparse.Namespace, found: "Plugins") -> "Place":
    """Where cells are computed. Raises UserError for a device that is not there, and an address without a cluster's engine."""
    engine: Literal["local", "ray"] = getattr(arguments, "engine", "local")
    on_cluster = engine == "ray" and arguments.device == "cuda"  # whose GPUs this machine need not have
    accelerator = "cuda" if on_cluster else device(arguments.device)
    address: str | None = getattr(arguments, "address", None)
    if address and engine == "local":
        raise UserError("--address names a Ray cluster: say --engine ray with it.")
    import warnings

    warnings.filterwarnings("ignore")
    from icmbench.experiment.cell import Place

    results, runs = arguments.results, arguments.runs
    if engine == "ray":  # a worker's current folder is another
        results, runs = results.absolute(), runs.absolute()
    pack: int | None = getattr(arguments, "pack", None)
    return Place(found, results, runs, accelerator, engine=engine, address=address, pack=pack, url=arguments.url)


def device(name: str) -> str:
    """`cpu` or `cuda`. Raises UserError for another name and for a GPU that is not there."""
    if name not in ("auto", "cpu", "cuda"):
        raise UserError(f"there is no device called '{name}'; known: auto, cpu, cuda.")
    if name == "cpu":
        return name
    import torch

    if name == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    if name == "cuda" and not torch.cuda.is_available():
        raise UserError("there is no CUDA device on this machine; leave --device out or say --device cpu.")
    return name


def plugins(arguments: argparse.Namespace) -> "Plugins":
    """The plugins with the loose files of `--plugin`. Raises UserError for a file that is not there."""
    from icmbench.plugins.find import Plugins

    missing = [path for path in arguments.plugin if not path.is_file()]
    if missing:
        raise UserError(f"there is no plugin file {missing[0]}.")
    return Plugins(tuple(path.absolute() for path in arguments.plugin))


def add_job(parser: argparse.ArgumentParser, rates: str) -> None:
    """What a job takes: method, task, `--protocol`, `--set`, `--seeds`, `--rates` (with its help), and where."""
    parser.add_argument("method")
    parser.add_argument("task")
    parser.add_argument("--protocol", metavar="NAME|FILE", help="default: the task's own")
    add_set(parser)
    add_seeds(parser)
    parser.add_argument("--rates", metavar="λ,λ,…", help=rates)
    add_place(parser)


def job(arguments: argparse.Namespace, anchor: bool = True) -> "Job":
    """The job of such arguments. Raises UserError for wrong names and values."""
    from icmbench.running.job import Job

    parameters, fields = settings(arguments.set)
    found = Job(
        plugins=plugins(arguments),
        method=arguments.method,
        task=arguments.task,
        protocol=arguments.protocol,
        parameters=parameters,
        fields=fields,
        rates=arguments.rates,
        seeds=arguments.seeds,
        anchor=anchor,
    )
    found.rate_indices(found.resolved())
    return found


def add_anchor_job(parser: argparse.ArgumentParser, seeds: int) -> None:
    """What a measurement of a protocol's anchor takes: task, `--protocol`, `--seeds`, `--json`, and where."""
    parser.add_argument("task")
    parser.add_argument("--protocol", metavar="NAME|FILE", help="default: the task's own")
    parser.add_argument("--seeds", type=positive, default=seeds, metavar="N", help=f"seeds 0 to N - 1 (default {seeds})")
    parser.add_argument("--json", action="store_true", help="figures as JSON on standard output, progress on standard error")
    add_place(parser)
    add_engine(parser)


def anchor_job(arguments: argparse.Namespace) -> "tuple[Protocol, Place, Console]":
    """The protocol, the place and the console of such a measurement. Raises UserError for wrong names and missing files."""
    from icmbench.plugins.requirements import demand

    found = plugins(arguments)
    protocol = found.resolve(arguments.task, arguments.protocol)
    demand(protocol)
    where = place(arguments, found)
    from rich.console import Console

    return protocol, where, Console(stderr=arguments.json)


def read_records(folder: Path) -> "list[Record]":
    """The sound records of a results folder; the others are named on standard error.

    Raises UserError where there is no such folder or no sound record in it.
    """
    import sys

    from icmbench.schema.record import Store

    if not folder.is_dir():
        raise UserError(f"there is no results folder {folder}.")
    records, broken = Store(folder).read()
    for path, reason in broken.items():
        print(f"icmbench: set aside {path}: {reason}", file=sys.stderr)
    if not records:
        raise UserError(f"there are no records in {folder}; 'icmbench run METHOD TASK' makes some.")
    return records
