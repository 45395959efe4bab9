"""What the leaderboard keeps in the cache folder: it stays as long as it is used, and does not grow without end."""

import os
import shutil
import time
from contextlib import suppress
from pathlib import Path

from icmbench.base.files import cache_root

MONTH = 30 * 86400  # seconds
MOST = {"leaderboard": 1000, "pairs": 20_000, "classes": 20_000, "pictures": 1000}  # files and folders of each kind


def place(kind: str, name: str) -> Path:
    """Where a thing of a kind in `MOST` lies. One that is there counts as used now."""
    path = cache_root() / kind / name
    with suppress(OSError):
        os.utime(path)
    return path


def clear_away() -> None:
    """Remove what nobody used for a month, and of each kind what was not used for longest beyond `MOST`."""
    for kind, most in MOST.items():
        found = sorted(((_used(path), path) for path in (cache_root() / kind).glob("*")), reverse=True)
        for number, (when, path) in enumerate(found):
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
