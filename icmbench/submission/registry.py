"""The submissions in a results folder: which records came in a bundle, and whether they were verified. Needs no torch.

RESULTS/submissions/PROTOCOL@HASH/LABEL/submission.json    who, what, status; the seals of the records that it covers
RESULTS/submissions/PROTOCOL@HASH/LABEL/plugin/            the method's source
"""

import json
import shutil
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

from icmbench.base.errors import UserError
from icmbench.base.files import replacing, sha256, write_text
from icmbench.extras.curves import external
from icmbench.extras.curves.external import ExternalCurve
from icmbench.schema.protocol import Strict, validated
from icmbench.schema.record import Environment
from icmbench.schema.store import Store, read_models, rows_path
from icmbench.submission.archive import Archive, opened
from icmbench.submission.inspect import Contents, contents
from icmbench.submission.manifest import About, Digest, Identity, Line

Status = Literal["claimed", "verified", "retracted"]
STATUSES: tuple[Status, ...] = ("claimed", "verified", "retracted")


class Submission(Strict):
    """The entry of a method that came in a bundle.

    `seals`: `content_sha256` of the records that the status applies to. `reason`: why it was not verified, or was retracted.
    `environment`: where it was verified. `images`: how many bitstreams were decoded, and `same` of them to exactly the claimed
    pixels.
    """

    status: Status
    reason: str = ""
    protocol: Identity
    label: Line
    about: About
    bundle_sha256: Digest
    seals: tuple[Digest, ...]
    images: int = 0
    same: int = 0
    environment: Environment | None = None
    accepted: str
    changed: str | None = None


def folder_of(results: Path, protocol: str, label: str) -> Path:
    """The folder of the submission of a method under a protocol, whether it exists or not."""
    return results / "submissions" / protocol / label


def read(results: Path) -> tuple[dict[tuple[str, str], Submission], dict[Path, str]]:
    """The submissions of a results folder by (protocol identity, label), and the files that cannot be used, with the reason."""

    def path_of(submission: Submission) -> Path:
        return folder_of(results, submission.protocol, submission.label) / "submission.json"

    submissions, broken = read_models((results / "submissions").glob("*@*/*/submission.json"), Submission, path_of)
    return {(submission.protocol, submission.label): submission for submission in submissions}, broken


def source_files(results: Path, submission: Submission) -> list[Path]:
    """The files of the method's source from the bundle."""
    return sorted((folder_of(results, submission.protocol, submission.label) / "plugin").rglob("*.py"))


def accept(results: Path, path: Path, submission: Submission) -> list[Path]:
    """Add the records of the bundle at `path` with their status; returns the records' files.

    Raises UserError if other records of that method exist, or if the file is not the one that was verified.
    """
    if sha256(path) != submission.bundle_sha256:
        raise UserError(f"{path} was changed while it was being verified.")
    with opened(path) as bundle:
        submitted = contents(bundle)
        store = Store(results)
        files = [store.path_of(claim.record) for claim in submitted.claims]
        _require_free(results, bundle, submitted, files)
        for claim, file in zip(submitted.claims, files, strict=True):
            _write(rows_path(file), bundle.read(claim.cell.rows))
            _write(file, bundle.read(claim.cell.record))
        folder = folder_of(results, submission.protocol, submission.label)
        shutil.rmtree(folder / "plugin", ignore_errors=True)
        for name in submitted.manifest.plugin.files:
            _write(folder / name, bundle.read(name))
    write_text(folder / "submission.json", submission.model_dump_json(indent=1) + "\n")
    return files


def seals(bundle: Archive, submitted: Contents) -> tuple[str, ...]:
    """`content_sha256` of the records of a bundle."""
    return tuple(sorted(str(json.loads(bundle.read(claim.cell.record))["content_sha256"]) for claim in submitted.claims))


def _require_free(results: Path, bundle: Archive, submitted: Contents, files: Sequence[Path]) -> None:
    """Raises UserError if the method has records that differ from the bundle's in any byte."""
    present = set(files[0].parent.glob("*.json"))
    same = {file for claim, file in zip(submitted.claims, files, strict=True) if _is(file, bundle.read(claim.cell.record))}
    if others := sorted(present - same):
        raise UserError(f"{others[0]} exists already and is not from this bundle; retract the method or move its records away.")


def _is(file: Path, data: bytes) -> bool:
    return file.is_file() and file.read_bytes() == data


def _write(path: Path, data: bytes) -> None:
    with replacing(path) as temporary:
        temporary.write_bytes(data)


def retract(results: Path, protocol: str, label: str, reason: str) -> list[Path]:
    """Remove a submission's records from the results folder; its entry stays, with the reason.

    Returns the removed records' files. Raises UserError if there is no such submission.
    """
    submissions, _ = read(results)
    if (protocol, label) not in submissions:
        known = ", ".join(f"{label} under {protocol}" for protocol, label in submissions) or "none"
        raise UserError(f"there is no submission of {label} under {protocol} in {results}; known: {known}.")
    submission = submissions[protocol, label]
    removed = list(_records(results, submission))
    for file in removed:
        file.unlink()
        rows_path(file).unlink(missing_ok=True)
    if removed and not any(removed[0].parent.iterdir()):
        removed[0].parent.rmdir()
    changed = submission.model_copy(update={"status": "retracted", "reason": reason, "changed": now()})
    write_text(folder_of(results, protocol, label) / "submission.json", changed.model_dump_json(indent=1) + "\n")
    return removed


def _records(results: Path, submission: Submission) -> Iterator[Path]:
    """The files of the records that a submission covers."""
    for file in Store(results).files(submission.protocol):
        if file.parent.name == submission.label:
            try:
                if json.loads(file.read_text()).get("content_sha256") in submission.seals:
                    yield file
            except (OSError, ValueError, AttributeError):
                continue


def add_external(results: Path, name: str, submitted: Contents, points: Sequence[tuple[float, float]]) -> ExternalCurve:
    """Keep the measured points of a bundle as an external curve, which is shown beside the methods and not ranked with them.

    `points`: (bits per pixel, score in percent). Raises UserError if another curve has the name.
    """
    about = submitted.manifest.about
    source = "; ".join([", ".join(about.authors), *filter(None, (about.title, about.link)), "decoded and scored again"])
    fields = {
        "name": name,
        "source": source,
        "metric": submitted.protocol.evaluation.metric,
        "points": tuple(points),
        "protocol": submitted.manifest.protocol,
        "anchor": submitted.protocol.anchor,
        "created": now(),
    }
    curve = validated(ExternalCurve, fields, f"{name} cannot be kept as an external curve")
    external.add(results, curve)
    return curve


def now() -> str:
    """The time in UTC, to the second."""
    return datetime.now(UTC).isoformat(timespec="seconds")
