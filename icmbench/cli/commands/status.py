"""`icmbench status`: the running jobs."""

import argparse
import json
from pathlib import Path

from icmbench.cli import options

HELP = "show the jobs of a runs folder: what is done, what runs, how long it still takes"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--runs", type=Path, default=Path("runs"), metavar="DIR", help="the jobs' --runs (default runs)")
    parser.add_argument(
        "--results", dest="only", type=options.store, metavar="DIR|URL", help="only jobs whose records go here (default: all)"
    )
    parser.add_argument("--json", action="store_true", help="all that is known, as JSON")


def run(arguments: argparse.Namespace) -> int:
    from icmbench.extras import status

    jobs = status.jobs(arguments.runs, arguments.only.folder if arguments.only else None)
    if arguments.json:
        print(json.dumps([{"state": job.state(), **job.model_dump()} for job in jobs], indent=1, ensure_ascii=False))
    else:
        where = status.folder_of(arguments.runs)
        print("\n\n".join(map(status.describe, jobs)) or f"no job has run lately (looked in {where})")
    return 0
