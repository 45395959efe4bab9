"""`icmbench verify`: check the claims of a bundle."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from icmbench.cli import options

if TYPE_CHECKING:
    from rich.console import Console

    from icmbench.submission.verify import Verdict

HELP = "decode and score a bundle's bitstreams in a sandbox, and compare with what it claims"
STATUS = {"verified": 0, "rejected": 1, "claimed": 3}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_bundle(parser)
    parser.add_argument("--json", action="store_true", help="the verdict as JSON on standard output, progress on standard error")


def add_bundle(parser: argparse.ArgumentParser) -> None:
    """The options of verifying: the bundle, the protocol, plugins of tasks."""
    parser.add_argument("bundle", type=Path, metavar="BUNDLE.zip")
    parser.add_argument("--protocol", metavar="NAME|FILE", help="default: the one that the bundle names")
    options.add_plugin(parser)


def run(arguments: argparse.Namespace) -> int:
    verdict = verify_bundle(arguments, arguments.json)
    if arguments.json:
        print(verdict.model_dump_json(indent=1))
    return STATUS[verdict.status]


def verify_bundle(arguments: argparse.Namespace, quiet: bool = False) -> "Verdict":
    """The verdict on the bundle, with a progress display; it is printed unless `quiet`."""
    from rich.console import Console

    from icmbench.running.progress import show_progress
    from icmbench.submission.verify import verify

    console = Console(stderr=quiet)
    with show_progress(arguments.bundle.name, console) as report:
        verdict = verify(
            arguments.bundle, options.plugins(arguments), arguments.protocol,
            lambda phase, done, total: report(phase, done, total, {}),
        )  # fmt: skip
    if not quiet:
        _print(verdict, console)
    return verdict


def _print(verdict: "Verdict", console: "Console") -> None:
    from icmbench.show.sheet import Cell, Column, Sheet, number, print_line

    if verdict.cells:
        columns = [Column("record", names=True)]
        columns += [Column(name, numeric=True) for name in ("bpp", "claimed", "here", "same pixels", "probe bits", "dB")]
        lines = [
            [
                Cell(cell.record.rpartition("/")[2].removesuffix(".json")), number(cell.bpp, ".4f"),
                number(cell.claimed_score, ".2f"), number(cell.score, ".2f"), Cell(f"{cell.same} of {cell.images}"),
                number(cell.probe_bits, ".2f", " ×"), number(cell.probe_psnr, "+.2f"),
            ]
            for cell in verdict.cells
        ]  # fmt: skip
        Sheet("verdict", f"{verdict.label} under {verdict.protocol}", columns, lines).show(console)
    reason = f": {verdict.reason}" if verdict.reason else ""
    print_line(f"{verdict.status.upper()}{reason} ({verdict.seconds:.0f} s, sha256 {verdict.bundle_sha256[:12]})", console)
