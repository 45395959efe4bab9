"""`icmbench bdrate`: BD-rate of two curves in CSV files."""

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

    result = bd_rate(read_curve(arguments.anchor), read_curve(arguments.test), method=arguments.method)
    print(_json(result) if arguments.json else _text(result))
    return 0


def _json(result: "BDRate") -> str:
    from icmbench.stats.bdrate import stability

    return json.dumps(
        {
            "bd_rate": result.percent,
            "bd_metric": result.metric,
            "overlap": result.overlap,
            "rate_overlap": result.rate_overlap,
            "method": result.method,
            "cross_check": result.cross_check,
            "points": result.points,
            "leave_one_out": stability([result.left_out]),
            "monotone": result.monotone,
            "warnings": result.warnings,
            "reason": result.reason or None,
        },
        indent=1,
        allow_nan=False,
    )


def _text(result: "BDRate") -> str:
    from icmbench.stats.bdrate import stability

    check_name = "Akima" if result.method == "pchip" else "PCHIP"
    name = "PCHIP" if result.method == "pchip" else "Akima"
    check = "" if result.cross_check is None else f"; {check_name}: {result.cross_check:+.2f} %"
    rate = f"none: {result.reason}" if result.percent is None else f"{result.percent:+.2f} % ({name}{check})"
    metric = "none: no common range of rate" if result.metric is None else f"{result.metric:+.3f} (unit of quality)"
    if result.metric is None and min(result.points) < 3:
        metric = f"none: {result.reason}"
    lines = [
        f"BD-rate:   {rate}",
        f"BD-metric: {metric}",
        f"overlap:   {result.overlap:.0%} of quality, {result.rate_overlap:.0%} of log rate",
        f"points:    {result.points[0]} of the anchor, {result.points[1]} of the test",
    ]
    if ends := stability([result.left_out]):
        lines.append(f"one less:  {ends[0]:+.2f} … {ends[1]:+.2f} % (any one rate point left out, PCHIP)")
    return "\n".join([*lines, *(f"warning:   {text}" for text in result.warnings)])
