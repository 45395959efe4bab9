"""`icmbench bdrate`: two curves from CSV files."""

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from icmbench.stats.bdrate import BDRate

HELP = "BD-rate of two curves in CSV files with the columns bpp and quality"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--anchor", type=Path, required=True, metavar="FILE", help="the curve to compare against")
    parser.add_argument("--test", type=Path, required=True, metavar="FILE", help="the curve to judge")
    parser.add_argument("--method", choices=("pchip", "akima"), default="pchip", help="interpolation (default pchip)")
    parser.add_argument("--json", action="store_true", help="print JSON")


def run(arguments: argparse.Namespace) -> int:
    from icmbench.extras.curves.files import read_curve
    from icmbench.stats.bdrate import bd_rate

    found = bd_rate(read_curve(arguments.anchor), read_curve(arguments.test), method=arguments.method)
    print(_json(found) if arguments.json else _text(found))
    return 0


def _json(found: "BDRate") -> str:
    return json.dumps(
        {
            "bd_rate": found.percent,
            "bd_metric": found.metric,
            "overlap": found.overlap,
            "rate_overlap": found.rate_overlap,
            "method": found.method,
            "cross_check": found.cross_check,
            "points": found.points,
            "monotone": found.monotone,
            "warnings": found.warnings,
            "reason": found.reason or None,
        },
        indent=1,
        allow_nan=False,
    )


def _text(found: "BDRate") -> str:
    other = "Akima" if found.method == "pchip" else "PCHIP"
    name = "PCHIP" if found.method == "pchip" else "Akima"
    check = "" if found.cross_check is None else f"; {other}: {found.cross_check:+.2f} %"
    rate = f"none: {found.reason}" if found.percent is None else f"{found.percent:+.2f} % ({name}{check})"
    metric = "none: no common range of rate" if found.metric is None else f"{found.metric:+.3f} (unit of quality)"
    if found.metric is None and min(found.points) < 3:
        metric = f"none: {found.reason}"
    lines = [
        f"BD-rate:   {rate}",
        f"BD-metric: {metric}",
        f"overlap:   {found.overlap:.0%} of quality, {found.rate_overlap:.0%} of log rate",
        f"points:    {found.points[0]} of the anchor, {found.points[1]} of the test",
    ]
    return "\n".join([*lines, *(f"warning:   {text}" for text in found.warnings)])
