"""Options that several commands share, and what they become: stores, plugins, jobs, devices, a runner."""

import argparse
import ast
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
    from icmbench.running.runner import Runner
    from icmbench.running.workers import Pool
    from icmbench.schema.protocol import Protocol
    from icmbench.schema.store import Store

ENGINES = {
    "local": "worker processes of this machine",
    "inline": "this process (for a debugger)",
    "ray": "tasks of a Ray cluster",
}


def add_job(parser: argparse.ArgumentParser, rates: str) -> None:
    """The options of a job: method, task, `--protocol`, `--set`, `--seeds`, `--rates` (with its help), and locations."""
    parser.add_argument("method")
    parser.add_argument("task")
    parser.add_argument("--protocol", metavar="NAME|FILE", help="default: the task's own")
    add_set(parser)
    add_seeds(parser)
    parser.add_argument("--rates", metavar="λ,λ,…", help=rates)
    add_locations(parser)


def add_set(parser: argparse.ArgumentParser) -> None:
    """`--set KEY=VALUE`, repeatable."""
    parser.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE",
        help="a parameter of the method (alpha=0.3) or, with a dot, a field of the protocol (training.steps=100)",
    )  # fmt: skip


def add_seeds(parser: argparse.ArgumentParser) -> None:
    """`--seeds N`."""
    parser.add_argument("--seeds", type=positive, default=1, metavar="N", help="repeat with N seeds (default 1: no intervals)")


def add_locations(parser: argparse.ArgumentParser) -> None:
    """The options for where cells are computed: `--results`, `--runs`, `--device`, `--plugin`."""
    add_results(parser)
    parser.add_argument("--runs", type=Path, default=Path("runs"), metavar="DIR", help="checkpoints, codecs, logs (default runs)")
    add_device(parser)
    add_plugin(parser)


def add_results(parser: argparse.ArgumentParser) -> None:
    """`--results DIR|URL`; `arguments.results` is a `Store`."""
    parser.add_argument(
        "--results", type=store, default="results", metavar="DIR|URL",
        help="records (default results), also at a URL that fsspec opens",
    )  # fmt: skip


def add_device(parser: argparse.ArgumentParser) -> None:
    """`--device auto|cpu|cuda`."""
    parser.add_argument("--device", default="auto", metavar="auto|cpu|cuda", help="default: a GPU when there is one")


def add_plugin(parser: argparse.ArgumentParser) -> None:
    """`--plugin FILE`, repeatable."""
    parser.add_argument("--plugin", type=Path, action="append", default=[], metavar="FILE", help="a loose plugin file")


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


def _pack(text: str) -> int | None:
    """`auto` (None) or an integer of at least 1."""
    return None if text == "auto" else positive(text, "auto or a number")


def positive(text: str, what: str = "a number") -> int:
    """An integer of at least 1."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"must be {what} of at least 1")
    return int(text)


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


def store(text: str) -> "Store":
    """The store at a path or a URL."""
    from icmbench.extras.remote import open_store

    return open_store(text)


def plugins(arguments: argparse.Namespace) -> "Plugins":
    """The plugins with the loose files of `--plugin`. Raises UserError for a file that does not exist."""
    from icmbench.plugins.find import Plugins

    missing = [path for path in arguments.plugin if not path.is_file()]
    if missing:
        raise UserError(f"there is no plugin file {missing[0]}.")
    return Plugins(tuple(path.absolute() for path in arguments.plugin))


def job(arguments: argparse.Namespace, anchor: bool = True) -> "Job":
    """The job of these options. Raises UserError for wrong names and values."""
    from icmbench.running.job import Job

    parameters, fields = settings(arguments.set)
    job = Job(
        plugins(arguments), arguments.method, arguments.task, arguments.protocol, parameters, fields, arguments.rates,
        arguments.seeds, anchor,
    )  # fmt: skip
    job.rate_indices(job.resolved())
    return job


def bound(protocol: "Protocol", plugins: "Plugins") -> "Protocol":
    """The protocol, bound to its data. Raises UserError for files that are missing or damaged."""
    from icmbench.plugins.requirements import require

    require(protocol)  # before torch is imported
    from icmbench.running.runner import bind

    return bind(protocol, plugins)


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
        start_pool = partial(_pool, engine, chosen, pack, address)
        yield Runner(plugins, locations, chosen, start_pool, console or Console(), status.update, pack)


def _pool(engine: str | None, device: "Device", pack: int | None, address: str | None, cells: int) -> "Pool":
    """The workers that `--engine` selects."""
    if engine == "ray":
        from icmbench.extras.ray import RayPool

        return RayPool(device, pack, address)
    if engine == "inline":
        from icmbench.extras.inline import InlinePool

        return InlinePool(device)
    from icmbench.running.workers import LocalPool

    return LocalPool(device, pack, cells)


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


def device(name: str) -> str:
    """`cpu` or `cuda`. Raises UserError for another name and for a GPU that does not exist."""
    if name not in ("auto", "cpu", "cuda"):
        raise UserError(f"there is no device called '{name}'; known: auto, cpu, cuda.")
    if name == "cpu":
        return name
    import torch

    if torch.cuda.is_available():
        return "cuda"
    if name == "cuda":
        raise UserError("there is no CUDA device on this machine; omit --device or use --device cpu.")
    return "cpu"
