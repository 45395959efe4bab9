"""Generated images in the cache: made on first use, and made anew if a file was changed since."""

import json
from collections.abc import Callable
from functools import cache
from pathlib import Path

from icmbench.api import build_once, cache_root, sha256

LIST = "files.json"  # SHA-256 of each file


def generated(name: str, build: Callable[[Path], object]) -> Path:
    """The folder `name` of the cache as `build` makes it. `name` must change with what is built."""

    def build_and_list(folder: Path) -> None:
        build(folder)
        (folder / LIST).write_text(json.dumps(_digests(folder)))

    return build_once(cache_root() / name, build_and_list, _is_whole)


def _is_whole(folder: Path) -> bool:
    try:
        listed = json.loads((folder / LIST).read_text())
    except (OSError, ValueError):
        return False
    return bool(listed == _digests(folder))


def _digests(folder: Path) -> dict[str, str]:
    files = sorted(path for path in folder.rglob("*") if path.is_file() and path != folder / LIST)
    return {str(path.relative_to(folder)): _digest(path, path.stat().st_size, path.stat().st_mtime_ns) for path in files}


@cache
def _digest(path: Path, _size: int, _changed: int) -> str:
    return sha256(path)
