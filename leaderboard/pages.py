"""What pages say, as plain data: `page.py` shows it in the app, `static.py` writes it into files. Knows neither."""

import ast
import json
import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any, Literal

from icmbench.leaderboard import figures, listings
from icmbench.leaderboard.figures import Drawn
from icmbench.leaderboard.lines import Line
from icmbench.leaderboard.views import View, placed
from icmbench.plugins.find import Plugins
from icmbench.show.bdrate_table import bd_rate
from icmbench.show.sheet import NOTHING, Cell, Sheet


@dataclass(frozen=True)
class Words:
    """A text as `kind` says. `prose`: preformatted, but long lines are broken; `info`: why there is nothing else to see.

    `href`: where it leads, if anywhere.
    """

    kind: Literal["title", "heading", "subheading", "text", "note", "info", "code", "python", "prose", "json"]
    text: str
    href: str = ""


@dataclass(frozen=True)
class Facts:
    """Values side by side, by what they are. `large`: they are what the page is about."""

    values: Mapping[str, Cell]
    large: bool = False


@dataclass(frozen=True)
class Parameters:
    """A method's parameters: those that were given, and those left at their defaults."""

    given: Mapping[str, Any]
    defaults: Mapping[str, Any]


@dataclass(frozen=True)
class Notes:
    """Remarks on one row of a table."""

    notes: Sequence[str]


@dataclass(frozen=True)
class Steps:
    """What to do, one after the other: sentences, each with its command."""

    steps: Sequence[tuple[str, str]]


@dataclass(frozen=True)
class Details:
    """Parts that are shown to those who ask for them."""

    title: str
    parts: Sequence["Part"]


Part = Words | Facts | Parameters | Notes | Steps | Details | Sheet | Drawn

STATUSES = (
    "A row is verified where all of its records came in a bundle whose bitstreams were decoded and scored again, with the scores "
    "that it claims. Other rows are claimed: they show what their author computed. Curves published elsewhere are external.",
    "Records can also be copied into the results folder: their paths spell what they are. One that was edited, is out of place "
    "or has impossible values is set aside with the reason.",
)
UNCORRECTED = "Intervals are not corrected for the number of comparisons."


def overview(view: View) -> Iterator[Part]:
    """Who is best, by how much, whether that is certain, and at what cost."""
    yield Words("title", view.facts["name"])
    yield Words("text", view.facts["summary"])
    yield Words(
        "note",
        "BD-rate is the mean change of the rate at equal accuracy. Methods that share a rank are not shown to differ from the "
        "best of them. Only rows of one protocol are ranked together.",
    )
    yield listings.overview(view)
    for method, reason in view.retracted:
        yield Words("text", f"Retracted: {method} ({reason})")
    if view.doubled:
        yield Words("text", view.doubled)


def curves(view: View, methods: Sequence[str], log: bool = False, each_seed: bool = True) -> Iterator[Part]:
    """Rate-accuracy curves, and the change of rate along them."""
    yield figures.curves(view, methods, log, each_seed)
    yield Words("note", "Bands: 95 % intervals of the accuracy at each rate point, over seeds and images. One seed has none.")
    yield Words("heading", "Change of rate at equal accuracy")
    if (drawn := figures.gains(view, methods)) is None:
        yield Words("info", f"None of these methods can be compared with {view.choice.anchor} along its curve.")
        return
    yield drawn
    text = "Of the mean curves over the seeds. BD-rate is the mean of this curve (of the logarithm of the ratio of the rates)."
    yield Words("note", text)


def no_ablations(view: View) -> Iterator[Part]:
    """How to measure what a parameter does."""
    yield Words("info", "No method was measured with two settings of a parameter under this protocol. This makes some:")
    yield Words("code", f"icmbench sweep aux_loss {view.facts['task']} --over position --seeds 3")


def ablation(view: View, plugin: str, axis: str) -> Iterator[Part]:
    """A parameter axis as one figure and one table."""
    lines = view.along(plugin, axis)
    yield figures.ablation(view, lines, plugin, axis)
    yield listings.ablation(view, lines, plugin, axis)


def cost(view: View, by: str) -> Iterator[Part]:
    """BD-rate against a cost, with the Pareto front; nothing where no method has both."""
    lines = view.cost_lines
    if not (shown := placed(lines, by)):
        return
    yield figures.cost(view, shown, by)
    if left := len(lines) - len(shown):
        yield Words("note", f"Without a BD-rate or without this cost: {left} of {len(lines)} methods.")
    if "seconds" in by and (devices := sorted({line["device"] for line in shown if line["device"]})):
        yield Words("note", f"Seconds were measured on: {'; '.join(devices)}.")


def protocol(view: View) -> Iterator[Part]:
    """The definition, the identity, the ceiling and the data of the protocol."""
    facts = view.facts
    definition = json.loads(facts["definition"])
    yield Words("title", f"Protocol {facts['name']}")
    yield Words("text", facts["summary"])
    shown = {
        "Task": facts["task"],
        "Metric": facts["metric"],
        "Without compression": f"{facts['ceiling']:.1f} %",
        "Images": facts["images"],
        "Training steps": definition["training"]["steps"],
    }
    yield Facts({name: Cell(str(value)) for name, value in shown.items()})
    yield Words("heading", "Identity")
    yield Words("code", facts["protocol"])
    yield Words("note", "The hash covers everything that a trained codec depends on. Cite a BD-rate with it and with the score.")
    yield Words("heading", "Data needed")
    yield listings.needed(facts) or Words("text", "None: its images are generated and its weights come with icmbench.")
    yield Words("heading", "Uncompressed")
    yield listings.ceilings(facts)
    yield Words("heading", "Definition")
    yield Words("json", json.dumps(definition, indent=2, ensure_ascii=False))


def spelt(line: Line) -> tuple[str, str, str]:
    """BD-rate, interval and verdict of a line of the ranking."""
    low, high = line["bd_rate_low"], line["bd_rate_high"]
    return bd_rate(line).text, NOTHING if low is None else f"{low:+.1f} … {high:+.1f} %", listings.verdict(line).text


def card(view: View, plugins: Plugins, method: str) -> Iterator[Part]:
    """What a method is, and how to compute it again; of a published curve that there is nothing of it here."""
    ranked, line = view.ranked(method), view.provenance(method)
    if line is None:
        yield Words("info", "A curve that was published elsewhere: there are no records of it here.")
        return
    submitted = view.submission(method)
    files = json.loads(submitted["source"]) if submitted else {}
    text, source = docstring(plugins, line["plugin"], files)
    yield Words("heading", "What it is")
    if text:
        yield Words("prose", text)
        yield Words("note", f"Source: {source}")
    else:
        yield Words("info", "Its plugin is not here, or does not describe itself.")
    if submitted:
        yield Words("heading", "Submission")
        yield listings.submission(submitted, len(view.records(method=method)))
    for path, content in files.items():
        yield Details(f"{path}, as submitted", [Words("python", content)])
    yield Words("heading", "Parameters")
    yield Parameters(json.loads(line["parameters"]), json.loads(line["defaults"]))
    yield Words("heading", "To compute it again")
    seeds = ["--seeds", str(max(1, int(ranked["seeds"])))] if ranked else []
    yield Words("code", command(line["plugin"], view.facts["task"], view.choice.protocol, json.loads(line["parameters"]), *seeds))
    where = f"Trained on {line['train_device'] or 'no device'}, scored on {line['device']}"
    version = f"icmbench {line['icmbench']}, commit {line['commit']}"
    yield Words("note", f"Source SHA-256 {line['method_sha256']}. {where}, {version}.")


def docstring(plugins: Plugins, name: str, submitted: Mapping[str, str]) -> tuple[str, str]:
    """What a method says of itself and its source file's name, read without importing it; "" where there is no source.

    `submitted`: the source that came with its submission, by path. Without it the installed plugin speaks.
    """
    for path, source in submitted.items():
        if PurePosixPath(path).stem == name or path.endswith(f"/{name}/__init__.py"):
            return _docstring(source), path
    plugin = plugins.find("methods").get(name)
    if plugin is None or plugin.path is None:
        return "", ""
    try:
        return _docstring(plugin.path.read_text()), "/".join(plugin.path.parts[-2:])
    except (OSError, ValueError):
        return "", ""


def _docstring(source: str) -> str:
    try:
        return ast.get_docstring(ast.parse(source)) or ""
    except (SyntaxError, ValueError, RecursionError, MemoryError):  # it may be anybody's
        return ""


def command(method: str, task: str, protocol: str, parameters: Mapping[str, Any], *more: str) -> str:
    """The command that computes a method's records anew. `protocol`: its identity."""
    words = ["icmbench", "run", method, task, "--protocol", protocol.split("@", maxsplit=1)[0]]
    words += [word for name, value in parameters.items() for word in ("--set", f"{name}={value}")]
    return shlex.join([*words, *more])


def submit(view: View) -> Iterator[Part]:
    """The way from a method's file to a row of the protocol."""
    task, name, file = view.facts["task"], view.facts["name"], "my_method"
    known = f"--protocol {shlex.quote(name)} --plugin {file}.py"
    run = f"icmbench run {file} {task} {known} --seeds 3 --keep-bitstreams"
    pack = f"icmbench submit {file} {task} {known} --out {file}.zip --author 'Your Name' --licence Apache-2.0"
    steps = [
        ("Begin with a method of one file that works, and make it yours:", f"icmbench new method {file} --file"),
        ("Try its contract:", f"icmbench check {file} --plugin {file}.py --task {task}"),
        ("Compute its records under this protocol, with at least three seeds:", run),
        ("Pack them into a bundle, with the plugin, the codecs and the bitstreams:", pack),
        ("See whether somebody else would get the same from it:", f"icmbench verify {file}.zip"),
        (
            "Send the bundle to whoever keeps this leaderboard. They verify it and add its records:",
            f"icmbench accept {file}.zip --results RESULTS",
        ),
    ]
    yield Words("title", "Submit a method")
    yield Steps(steps)
    yield from (Words("text", paragraph) for paragraph in STATUSES)
