"""Weights files: their paths, and whether they are the files that a protocol means."""

import shutil
import urllib.request
from http.client import HTTPException
from importlib.util import find_spec
from pathlib import Path

from icmbench.base.errors import UserError
from icmbench.base.files import cache_root, data_root, locked, replacing, sha256
from icmbench.schema.protocol import Weights


def shipped_folder() -> Path:
    """Folder of the built-in tasks' weights."""
    spec = find_spec("icmbench.tasks")
    if spec is None or not spec.submodule_search_locations:
        raise UserError("the built-in tasks are not installed.")
    return Path(spec.submodule_search_locations[0]) / "weights"


def local_path(weights: Weights) -> Path:
    """The file's path or, for a URL, the path in the cache."""
    if weights.path.startswith("weights:"):
        return shipped_folder() / weights.path.removeprefix("weights:")
    if weights.path.startswith("https://"):
        return cache_root() / "downloads" / f"{weights.sha256[:8]}-{weights.path.rsplit('/', 1)[-1]}"
    return data_root() / weights.path


def verified_path(weights: Weights) -> Path:
    """The file's path. A URL that is not in the cache yet is fetched first.

    Raises UserError if it is missing, cannot be fetched or has another SHA-256 than in the protocol.
    """
    path = local_path(weights)
    if not path.is_file() and weights.path.startswith("https://"):
        with locked(path.with_name(path.name + ".lock")):
            if not path.is_file():
                _fetch(weights.path, path)
    if not path.is_file():
        raise UserError(f"the weights {weights.path} are missing: there is no file {path}.")
    digest = sha256(path)
    if not digest.startswith(weights.sha256):
        raise UserError(f"{path} is damaged or another file: its SHA-256 is {digest}, in the protocol it is {weights.sha256}.")
    return path


def _fetch(url: str, path: Path) -> None:
    try:
        with urllib.request.urlopen(url, timeout=60) as stream, replacing(path) as temporary, temporary.open("wb") as out:
            shutil.copyfileobj(stream, out)
    except (OSError, ValueError, HTTPException, UserError) as error:
        raise UserError(f"cannot fetch {url}: {error}; put the file at {path} by hand.") from error
