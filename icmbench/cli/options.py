"""Options that several commands share, and how their values are read."""

import argparse
import ast
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from icmbench.base.errors import UserError

if TYPE_CHECKING:
    from rich.console import Console

    from icmbench.experiment.folders import Device, Folders
    from icmbench.plugins.find import Plugins
    from icmbench.running.job import Job
    from icmbench.running.pool import Pool
    from icmbench.running.runner import Runner
    from icmbench.schema.protocol import Protocol
    from icmbench.schema.record import Record
    from icmbench.schema.store import Store


def add_plugin(parser: argparse.ArgumentParser) -> None:
    """`--plugin FILE`, repeatable."""
    parser.add_argument("--plugin", type=Path, action="append", default=[], metavar="FILE", help="a loose plugin file")


def add_results(parser: argparse.ArgumentParser) -> None:
    """`--results DIR|URL`; `arguments.results` is a `Store`."""
    parser.add_argument(
        "--results", type=store, default="results", metavar="DIR|URL",
        help="records (default results), also at a URL that fsspec opens",
    )  # fmt: skip


def store(text: str) -> "Store":
    """The store at a path or a URL."""
    from icmbench.extras.remote import open_store

    return open_store(text)


def add_locations(parser: argparse.ArgumentParser) -> None:
    """The options for where cells are computed: `--results`, `--runs`, `--device`, `--plugin`."""
    add_results(parser)
    parser.add_argument("--runs", type=Path, default=Path("runs"), metavar="DIR", help="checkpoints, codecs, logs (default runs)")
    add_device(parser)
    add_plugin(parser)


ENGINES = {
    "local": "worker processes of this machine",
    "inline": "this process (for a debugger)",
    "ray": "tasks of a Ray cluster",
}


def add_engine(parser: argparse.ArgumentParser, *engines: str) -> None:
    """`--engine` with the choices `engines` (default: all of `ENGINES`), `--address` and `--pack`."""
    known = {name: ENGINES[name] for name in engines or ENGINES}
    where = ", ".join(f"{name}: {text}" for name, text in known.items())
    parser.add_argument("--engine", choices=list(known), default="local", help=f"what computes (default local). {where}")
    parser.add_argument("--address", metavar="HOST:PORT", help="the Ray cluster to join; auto: the one of this machine")
    parser.add_argument(
        "--pack", type=_pack, metavar="auto|N",
        help="cells computed at once on each device (default auto: one per CPU core, or as many as fit into a GPU)",
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
    """The value of a Python literal (or `true`, `false`), else the text itself."""
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


@contextmanager
def runner(arguments: argparse.Namespace, plugins: "Plugins", console: "Console | None" = None) -> "Iterator[Runner]":
    """Everything that computing cells needs, and a status file while the block runs.

    Raises UserError for a device that does not exist, and for options that contradict each other.
    """
    engine, address, pack = (getattr(arguments, name, None) for name in ("engine", "address", "pack"))
    if address and engine != "ray":
        raise UserError("--address is for a Ray cluster: add --engine ray.")
    if getattr(arguments, "devices", 1) > 1 and (pack or 1) > 1:
        raise UserError("--pack puts several cells on one device, --devices one cell on several: use one of the two.")
    chosen, locations = devices(arguments), folders(arguments)
    from rich.console import Console

    from icmbench.extras.status import StatusFile
    from icmbench.running.runner import Runner

    with StatusFile(locations.runs, locations.store.folder) as status:
        start = partial(_pool, engine, chosen, pack, address)
        yield Runner(plugins, locations, chosen, start, console or Console(), status.update, pack)


def _pool(engine: str | None, device: "Device", pack: int | None, address: str | None, cells: int) -> "Pool":
    """The workers that `--engine` selects."""
    from icmbench.running.pool import InlinePool, LocalPool

    if engine == "ray":
        from icmbench.extras.ray import RayPool

        return RayPool(device, pack, address)
    return InlinePool(device) if engine == "inline" else LocalPool(device, pack, cells)


def folders(arguments: argparse.Namespace) -> "Folders":
    """The folders of results and runs. For a cluster the paths are absolute, because workers have another current folder."""
    from icmbench.experiment.folders import Folders

    results, runs = arguments.results, arguments.runs
    if getattr(arguments, "engine", "") == "ray":
        results, runs = replace(results, folder=results.folder.absolute()), runs.absolute()
    return Folders(results, runs)


def devices(arguments: argparse.Namespace) -> "Device":
    """The devices of `--device` and `--devices`. Raises UserError for a device that does not exist."""
    from icmbench.experiment.folders import Device

    on_cluster = getattr(arguments, "engine", "") == "ray" and arguments.device == "cuda"  # this machine may have no GPU
    return Device("cuda" if on_cluster else device(arguments.device), getattr(arguments, "devices", 1))


def bound(protocol: "Protocol", plugins: "Plugins") -> "Protocol":
    """The protocol, bound to its data. Raises UserError for files that are missing or damaged."""
    from icmbench.plugins.requirements import require

    require(protocol)  # before torch is imported
    from icmbench.experiment.content import bind

    return bind(protocol, plugins)


def device(name: str) -> str:
    """`cpu` or `cuda`. Raises UserError for another name and for a GPU that does not exist."""
    if name not in ("auto", "cpu", "cuda"):
        raise UserError(f"there is no device called '{name}'; known: auto, cpu, cuda.")
    if name == "cpu":
        return name
    import torch

    if name == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    if name == "cuda" and not torch.cuda.is_available():
        raise UserError("there is no CUDA device on this machine; omit --device or use --device cpu.")
    return name


def plugins(arguments: argparse.Namespace) -> "Plugins":
    """The plugins with the loose files of `--plugin`. Raises UserError for a file that does not exist."""
    from icmbench.plugins.find import Plugins

    missing = [path for path in arguments.plugin if not path.is_file()]
    if missing:
        raise UserError(f"there is no plugin file {missing[0]}.")
    return Plugins(tuple(path.absolute() for path in arguments.plugin))


def add_job(parser: argparse.ArgumentParser, rates: str) -> None:
    """The options of a job: method, task, `--protocol`, `--set`, `--seeds`, `--rates` (with its help), and locations."""
    parser.add_argument("method")
    parser.add_argument("task")
    parser.add_argument("--protocol", metavar="NAME|FILE", help="default: the task's own")
    add_set(parser)
    add_seeds(parser)
    parser.add_argument("--rates", metavar="λ,λ,…", help=rates)
    add_locations(parser)


def job(arguments: argparse.Namespace, anchor: bool = True) -> "Job":
    """The job of these options. Raises UserError for wrong names and values."""
    from icmbench.running.job import Job

    parameters, fields = settings(arguments.set)
    job = Job(
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
    job.rate_indices(job.resolved())
    return job


def add_anchor_job(parser: argparse.ArgumentParser, seeds: int) -> None:
    """The options of a measurement of a protocol's anchor: task, `--protocol`, `--seeds`, `--json`, and locations."""
    parser.add_argument("task")
    parser.add_argument("--protocol", metavar="NAME|FILE", help="default: the task's own")
    parser.add_argument("--seeds", type=positive, default=seeds, metavar="N", help=f"seeds 0 to N - 1 (default {seeds})")
    parser.add_argument("--json", action="store_true", help="figures as JSON on standard output, progress on standard error")
    add_locations(parser)
    add_engine(parser)


@contextmanager
def anchor_job(arguments: argparse.Namespace) -> "Iterator[tuple[Protocol, Runner]]":
    """The protocol of such a measurement, and its runner. Raises UserError for wrong names and missing files."""
    available = plugins(arguments)
    protocol = bound(available.resolve(arguments.task, arguments.protocol), available)
    from rich.console import Console

    with runner(arguments, available, Console(stderr=arguments.json)) as started:
        yield protocol, started


def read_records(store: "Store", plugins: "Plugins") -> "list[Record]":
    """The comparable records of a results folder. Prints the others to standard error.

    Raises UserError if the folder does not exist or has no such record.
    """
    from icmbench.compare.comparable import read_comparable

    require_results(store)
    records, aside = read_comparable(store, plugins)
    for path, reason in aside.items():
        print(f"icmbench: set aside {path}: {reason}", file=sys.stderr)
    if not records:
        raise no_records(store)
    return records


def require_results(store: "Store") -> None:
    """Raises UserError if the results folder does not exist."""
    if not store.folder.is_dir():
        raise UserError(f"there is no results folder {store}.")


def no_records(store: "Store") -> UserError:
    """The error for a results folder without comparable records."""
    return UserError(f"there are no records in {store}; 'icmbench run METHOD TASK' makes some.")
