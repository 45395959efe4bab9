"""The command line. Heavy imports happen inside the commands, so that help and lists come at once."""

import argparse
import ast
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from icmbench import __version__
from icmbench.errors import UserError

if TYPE_CHECKING:
    from icmbench.plugins import Kind, Plugins


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command; returns the exit status. Errors that the user can mend are one sentence on standard error."""
    arguments = _parser().parse_args(argv)
    try:
        status: int = arguments.command(arguments)
        return status
    except UserError as error:
        print(f"icmbench: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("icmbench: interrupted; the same command goes on where it was.", file=sys.stderr)
        return 130
    except BrokenPipeError:
        return 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("icmbench", description="Benchmark of image coding for machines.")
    parser.add_argument("--version", action="version", version=f"icmbench {__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    _add_run(commands)
    for name, function, text in (
        ("list", _list, "list methods, tasks and protocols"),
        ("show", _show, "show a protocol: its fields, its hash, the files it needs"),
        ("table", _table, "print the BD-rate table of a results folder"),
        ("doctor", _doctor, "print versions and devices, and the data found and missing"),
        ("check", _check, "run the contract tests on a method or task"),
        ("prepare", _prepare, "train the codec or recogniser that a recipe describes"),
    ):
        command = commands.add_parser(name, help=text, description=text)
        command.set_defaults(command=function)
        if name not in ("table", "prepare"):  # they read files only
            command.add_argument("--plugin", type=Path, action="append", default=[], metavar="FILE", help="a loose plugin file")
        _ARGUMENTS[name](command)
    return parser


def _add_run(commands: Any) -> None:
    text = "train and evaluate a method and the protocol's anchor, and print the BD-rate table"
    run = commands.add_parser("run", help=text, description=text)
    run.set_defaults(command=_run)
    run.add_argument("method")
    run.add_argument("task")
    run.add_argument("--protocol", metavar="NAME|FILE", help="default: the task's own")
    run.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE",
        help="a parameter of the method (alpha=0.3) or, with a dot, a field of the protocol (training.steps=100)",
    )  # fmt: skip
    run.add_argument("--seeds", type=_positive, default=1, metavar="N", help="repeat with N seeds (default 1)")
    run.add_argument("--rates", metavar="λ,λ,…", help="only these rate points of the protocol")
    run.add_argument("--no-anchor", action="store_true", help="leave the anchor out")
    run.add_argument("--plugin", type=Path, action="append", default=[], metavar="FILE", help="a loose plugin file")
    run.add_argument("--results", type=Path, default=Path("results"), metavar="DIR", help="records (default results)")
    run.add_argument("--runs", type=Path, default=Path("runs"), metavar="DIR", help="checkpoints, codecs, logs (default runs)")
    run.add_argument("--device", default="auto", metavar="auto|cpu|cuda", help="default: a GPU when there is one")
    run.add_argument("--devices", type=_positive, default=1, metavar="N", help="devices that share each training's batches")


def _add_list(command: argparse.ArgumentParser) -> None:
    command.add_argument("what", nargs="?", choices=("methods", "tasks", "protocols"))


def _add_show(command: argparse.ArgumentParser) -> None:
    command.add_argument("protocol", metavar="NAME|FILE")


def _add_table(command: argparse.ArgumentParser) -> None:
    command.add_argument("--results", type=Path, default=Path("results"), metavar="DIR")
    form = command.add_mutually_exclusive_group()
    for name in ("json", "csv", "markdown", "latex"):
        form.add_argument(f"--{name}", dest="form", action="store_const", const=name, default="text")


def _add_check(command: argparse.ArgumentParser) -> None:
    command.add_argument("name", help="a method or a task")
    command.add_argument("--task", default="segmentation", help="the task to check a method with (default segmentation)")


def _add_prepare(command: argparse.ArgumentParser) -> None:
    command.add_argument("recipe", metavar="NAME|FILE", help="a recipe that comes with icmbench, or a TOML file")
    command.add_argument("--out", type=Path, default=Path("weights"), metavar="DIR", help="default weights")
    command.add_argument("--runs", type=Path, default=Path("runs"), metavar="DIR")
    command.add_argument("--device", default="auto", metavar="auto|cpu|cuda")


_ARGUMENTS = {
    "list": _add_list,
    "show": _add_show,
    "table": _add_table,
    "doctor": lambda command: None,
    "check": _add_check,
    "prepare": _add_prepare,
}


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError("must be at least 1")
    return number


def _settings(pairs: Sequence[str]) -> tuple[dict[str, Any], dict[str, Any]]:
    """`key=value` pairs as (parameters of the method, fields of the protocol)."""
    parameters: dict[str, Any] = {}
    fields: dict[str, Any] = {}
    for pair in pairs:
        key, separator, text = pair.partition("=")
        if not separator or not key:
            raise UserError(f"--set takes KEY=VALUE, not '{pair}'.")
        try:
            value = ast.literal_eval(text)
        except (ValueError, SyntaxError):
            value = {"true": True, "false": False}.get(text, text)
        (fields if "." in key else parameters)[key] = value
    return parameters, fields


def _device(name: str) -> str:
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


def _plugins(arguments: argparse.Namespace) -> "Plugins":
    from icmbench.plugins import Plugins

    missing = [path for path in arguments.plugin if not path.is_file()]
    if missing:
        raise UserError(f"there is no plugin file {missing[0]}.")
    return Plugins(tuple(path.absolute() for path in arguments.plugin))


def _run(arguments: argparse.Namespace) -> int:
    from icmbench.job import Job
    from icmbench.requirements import demand

    parameters, fields = _settings(arguments.set)
    job = Job(
        plugins=_plugins(arguments),
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
    device = _device(arguments.device)
    import warnings

    warnings.filterwarnings("ignore")
    from icmbench import main_job

    return main_job.run(job, protocol, arguments.results, arguments.runs, device, arguments.devices)


def _list(arguments: argparse.Namespace) -> int:
    plugins = _plugins(arguments)
    kinds: tuple[Kind | Literal["protocols"], ...] = ("methods", "tasks", "protocols")
    for kind in kinds:
        if arguments.what not in (None, kind):
            continue
        print(f"{kind}:")
        if kind == "protocols":
            lines = [(name, _summary(plugins, name)) for name in plugins.protocols()]
        else:
            found = plugins.find(kind).values()
            lines = [(p.name, f"BROKEN: {p.problem}" if p.problem else p.summary) for p in found]
        for name, text in lines:
            print(f"  {name:34} {text}")
    return 0


def _summary(plugins: "Plugins", name: str) -> str:
    try:
        return plugins.protocol(name).summary
    except UserError as error:
        return f"BROKEN: {error}"


def _show(arguments: argparse.Namespace) -> int:
    from icmbench.requirements import requirements

    protocol = _plugins(arguments).protocol(arguments.protocol)
    print(f"{protocol.name}: {protocol.summary}\nhash {protocol.hash}\n")
    print(protocol.model_dump_json(indent=2, by_alias=True, exclude={"name", "summary", "files", "assumed"}))
    if protocol.assumed:
        print("\nassumed, because the source does not say:")
        print("\n".join(f"  {field}: {why}" for field, why in protocol.assumed.items()))
    print("\nneeds:")
    for item in requirements(protocol):
        size = f"{item.bytes:,} bytes" if item.bytes else "size not published"
        state = "found" if item.present else "to fetch" if item.fetched else "MISSING"
        print(f"  {state:8} {item.path}\n           {size}; {item.digest or 'no checksum published'}; {item.source}")
    return 0


def _table(arguments: argparse.Namespace) -> int:
    from icmbench import table
    from icmbench.record import Store

    if not arguments.results.is_dir():
        raise UserError(f"there is no results folder {arguments.results}.")
    records, broken = Store(arguments.results).read()
    for path, reason in broken.items():
        print(f"icmbench: set aside {path}: {reason}", file=sys.stderr)
    if not records:
        raise UserError(f"there are no records in {arguments.results}; 'icmbench run METHOD TASK' makes some.")
    made = table.rows(records)
    if arguments.form == "text":
        from icmbench.text import print_table

        print_table(made)
    else:
        print(getattr(table, f"to_{arguments.form}")(made), end="" if arguments.form == "csv" else "\n")
    return 0


def _doctor(arguments: argparse.Namespace) -> int:
    from icmbench.doctor import report

    print("\n".join(report(_plugins(arguments))))
    return 0


def _check(arguments: argparse.Namespace) -> int:
    import warnings

    warnings.filterwarnings("ignore")
    from icmbench.check import check

    results = check(_plugins(arguments), arguments.name, arguments.task)
    for result in results:
        print(f"{'ok  ' if not result.problem else 'FAIL'} {result.what}" + (f": {result.problem}" if result.problem else ""))
    return 1 if any(result.problem for result in results) else 0


def _prepare(arguments: argparse.Namespace) -> int:
    import warnings

    warnings.filterwarnings("ignore")
    from icmbench import prepare

    def log(step: int, terms: dict[str, float]) -> None:
        if step % 100 == 0:
            print(f"step {step}  " + "  ".join(f"{name} {value:.4g}" for name, value in terms.items()), flush=True)

    path = prepare.find_recipe(arguments.recipe)
    made = prepare.prepare(path, arguments.out, arguments.runs, _device(arguments.device), log)
    print(f"{arguments.out / path.stem}.safetensors  sha256 {made['sha256']}")
    print("reached: " + ", ".join(f"{name} {value:.3f}" for name, value in made["reached"].items()))
    return 0
