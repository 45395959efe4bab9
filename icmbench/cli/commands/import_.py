"""`icmbench import`: keep a published curve beside the computed ones."""

import argparse
from pathlib import Path

from icmbench.cli import options

HELP = "keep a published curve as external, from CompressAI's RD JSON or CSV"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", type=Path, metavar="FILE", help="CompressAI's RD JSON, or CSV with columns bpp and quality")
    parser.add_argument("--name", required=True, help="what the curve is called in tables")
    parser.add_argument("--source", required=True, metavar="TEXT", help="where it was published: citation or address")
    parser.add_argument("--metric", metavar="KEY", help="the score to take (default: the file's only one)")
    parser.add_argument("--protocol", metavar="NAME@HASH", help="the protocol whose rules the curve claims to follow")
    parser.add_argument("--anchor", metavar="NAME", help="what its publication took as the anchor")
    options.add_results(parser)


def run(arguments: argparse.Namespace) -> int:
    from datetime import UTC, datetime

    from icmbench.extras.curves import external
    from icmbench.extras.curves.files import read_points
    from icmbench.schema.protocol import validated

    metric, points = read_points(arguments.file, arguments.metric)
    fields = {
        "name": arguments.name,
        "source": arguments.source,
        "metric": metric,
        "points": points,
        "protocol": arguments.protocol,
        "anchor": arguments.anchor,
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
    }
    curve = validated(external.ExternalCurve, fields, f"cannot import {arguments.file}")
    new = external.add(arguments.results.folder, curve)
    state = f"{len(points)} points of {metric}" if new else "the same curve exists already"
    print(f"{external.path_of(arguments.results.folder, curve.name)}: {state}")
    return 0
