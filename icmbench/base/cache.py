"""What is kept because it takes long to make: files in the cache folder, under a key of everything they depend on."""

import hashlib
import json
import os
import shutil
import time
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any

from icmbench.base.files import cache_root

MONTH = 30 * 86400  # seconds
MOST = 20_000  # files and folders of a kind


def key(*content: Any) -> str:
    """A key of `content` (what `json.dumps` takes) and of icmbench's own source: nothing is found that other code made."""
    return hashlib.sha256(json.dumps([_source(), *content]).encode()).hexdigest()[:32]


@cache
def _source() -> str:
    """Digest of all Python files of the package."""
    digest = hashlib.sha256()
    for folder, folders, names in os.walk(Path(__file__).parents[1], followlinks=True):
        folders.sort()
        for name in sorted(names):
            if name.endswith(".py"):
                digest.update(name.encode() + Path(folder, name).read_bytes())
    return digest.hexdigest()


def place(kind: str, name: str) -> Path:
    """Where a thing of a kind lies. One that is there counts as used now."""
    path = cache_root() / kind / name
    with suppress(OSError):
        os.utime(path)
    return path


def clear_away(kind: str, most: int = MOST) -> None:
    """Remove what nobody used for a month, and beyond `most` what was not used for longest."""
    newest_first = sorted(((_used(path), path) for path in (cache_root() / kind).glob("*")), reverse=True)
    for number, (when, path) in enumerate(newest_first):
        if number >= most or time.time() - when > MONTH:
            _remove(path)


def _used(path: Path) -> float:
    """When it was last used; now for one that somebody else has just removed."""
    try:
        return path.stat().st_mtime
    except OSError:
        return time.time()


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
        return
    with suppress(OSError):
        path.unlink()
