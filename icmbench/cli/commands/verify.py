"""`icmbench verify`: is what a bundle claims true?"""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from icmbench.cli import options

if TYPE_CHECKING:
    from icmbench.submission.verify import Verdict

HELP = "decode and score a bundle's bitstreams in a sandbox, and compare with what it claims"
STATUS = {"verified": 0, "rejected": 1, "claimed": 3}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_bundle(parser)
    parser.add_argument("--json", action="store_true", help="the verdict as JSON on standard output, progress on standard error")


def add_bundle(parser: argparse.ArgumentParser) -> None:
    """What verifying takes: the bundle, the protocol, plugins of tasks."""
    parser.add_argument("bundle", type=Path, metavar="BUNDLE.zip")
    parser.add_argument("--protocol", metavar="NAME|FILE", help="default: the one that the bundle names")
    options.add_plugin(parser)


def run(arguments: argparse.Namespace) -> int:
    verdict = reached(arguments, arguments.json)
    if arguments.json:
        print(verdict.model_dump_json(indent=1))
    return STATUS[verdict.status]


def reached(arguments: argparse.Namespace, quiet: bool = False) -> "Verdict":
    """The verdict on the arguments' bundle, with a progress bar on the way, and told unless `quiet`."""
    from rich.console import Console

    from icmbench.submission.verify import verify

    console = Console(stderr=quiet)
    with _Bars(console) as bars:
        verdict = verify(arguments.bundle, options.plugins(arguments), arguments.protocol, bars.show)
    if not quiet:
        _tell(verdict, console)
    return verdict


class _Bars:
    """A bar for each phase, on a terminal; a line for each phase elsewhere."""

    def __init__(self, console: object) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

        assert isinstance(console, Console)
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        self.console, self.progress = console, Progress(*columns, console=console, disable=not console.is_terminal)
        self.phase, self.bar = "", self.progress.add_task("", visible=False)

    def __enter__(self) -> "_Bars":
        self.progress.start()
        return self

    def __exit__(self, *error: object) -> None:
        self.progress.stop()

    def show(self, phase: str, done: int, total: int) -> None:
        """Show how far a phase has come."""
        if phase != self.phase:
            self.phase, self.bar = phase, self.progress.add_task(phase, total=total)
            if not self.console.is_terminal:
                self.console.print(f"{phase} ...", markup=False, highlight=False)
        self.progress.update(self.bar, completed=done)


def _tell(verdict: "Verdict", console: object) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    assert isinstance(console, Console)
    if verdict.cells:
        table = Table(title=Text(f"{verdict.label} under {verdict.protocol}"))
        for heading in ("record", "bpp", "claimed", "here", "same pixels", "probe bits", "dB"):
            table.add_column(heading, justify="left" if heading == "record" else "right", no_wrap=heading == "record")
        for cell in verdict.cells:
            table.add_row(
                Text(cell.record.rpartition("/")[2].removesuffix(".json")), f"{cell.bpp:.4f}", f"{cell.claimed_score:.2f}",
                f"{cell.score:.2f}", f"{cell.same} of {cell.images}", f"{cell.probe_bits:.2f} x", f"{cell.probe_psnr:+.2f}",
            )  # fmt: skip
        console.print(table)
    reason = f": {verdict.reason}" if verdict.reason else ""
    text = f"{verdict.status.upper()}{reason} ({verdict.seconds:.0f} s, sha256 {verdict.bundle_sha256[:12]})"
    console.print(text, markup=False, highlight=False, soft_wrap=True)
