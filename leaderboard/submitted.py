"""What submissions say of the methods that pages show: status, authors, source. Reads the results folder, runs nothing of it."""

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from icmbench.leaderboard.lines import where
from icmbench.submission import registry
from icmbench.submission.registry import Submission


def read(results: Path) -> tuple[list[dict[str, Any]], dict[Path, str]]:
    """A line for every submission in a results folder, and the files that are none with the reason."""
    found, broken = registry.read(results)
    return [_line(results, submission) for _, submission in sorted(found.items())], broken


def _line(results: Path, submission: Submission) -> dict[str, Any]:
    about, environment = submission.about, submission.environment
    return {
        "protocol": submission.protocol,
        "method": submission.label,
        "status": submission.status,
        "reason": submission.reason,
        "authors": json.dumps(about.authors, ensure_ascii=False),
        "licence": about.licence,
        "title": about.title or "",
        "link": about.link or "",
        "accepted": submission.accepted,
        "changed": submission.changed or "",
        "covered": json.dumps(submission.seals),
        "bitstreams": submission.images,
        "same": submission.same,
        "device": environment.device if environment else "",
        "icmbench": environment.icmbench if environment else "",
        "bundle_sha256": submission.bundle_sha256,
        "source": json.dumps(_sources(results, submission), ensure_ascii=False),
    }


def _sources(results: Path, submission: Submission) -> dict[str, str]:
    """The text of the method's source by its path in the submission."""
    folder = registry.folder_of(results, submission.protocol, submission.label)
    paths = registry.source_files(results, submission)
    return {path.relative_to(folder).as_posix(): path.read_text(errors="replace") for path in paths}


def with_status(ranking: pd.DataFrame, records: pd.DataFrame, submissions: Iterable[Mapping[str, Any]]) -> pd.DataFrame:
    """The ranking with methods as verified of which every record is one that a verified submission covers."""
    made = ranking.copy()
    for line in submissions:
        same = {name: line[name] for name in ("protocol", "method")}
        seals = set(where(records, **same)["seal"]) if line["status"] == "verified" else set()
        if seals and seals <= set(json.loads(line["covered"])):
            made.loc[where(made, **same).index, "status"] = "verified"
    return made
