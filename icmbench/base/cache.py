"""Files in the cache folder that take long to make, each under a key of everything it depends on."""

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
MOST = 20_000  # entries of a kind


def key(*content: Any) -> str:
    """A key of `content` (what `json.dumps` takes) and of icmbench's own source, so results of other code are never found."""
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
    """The path of an entry of a kind. If the entry exists, it counts as used now."""
    path = cache_root() / kind / name
    with suppress(OSError):
        os.utime(path)
    return path


def clear_away(kind: str, most: int = MOST) -> None:
    """Remove the entries that were not used for a month, and of more than `most` those that were not used for longest."""
    newest_first = sorted(((_used(path), path) for path in (cache_root() / kind).glob("*")), reverse=True)
    for number, (when, path) in enumerate(newest_first):
        if number >= most or time.time() - when > MONTH:
            _remove(path)


def _used(path: Path) -> float:
    """When an entry was last used; now if another process has just removed it."""
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
