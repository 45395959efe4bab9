"""`icmbench status`: what runs at the moment."""

import argparse
import json
from dataclasses import asdict
from pathlib import Path

HELP = "show the jobs of a runs folder: what is done, what runs, how long it still takes"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--runs", type=Path, default=Path("runs"), metavar="DIR", help="the jobs' --runs (default runs)")
    parser.add_argument("--results", dest="only", metavar="DIR|URL", help="only jobs whose records go here (default: all)")
    parser.add_argument("--json", action="store_true", help="all that is known, as JSON")


def run(arguments: argparse.Namespace) -> int:
    from icmbench.extras import status
    from icmbench.extras.remote import Remote, is_url

    only: str | None = arguments.only
    folder = only and (Remote(only).folder if is_url(only) else Path(only))
    found = status.jobs(arguments.runs, folder or None)
    if arguments.json:
        print(json.dumps([{"state": job.state(), **asdict(job)} for job in found], indent=1, ensure_ascii=False))
    else:
        where = status.folder_of(arguments.runs)
        print("\n\n".join(map(status.describe, found)) or f"no job has run lately, says {where}")
    return 0
