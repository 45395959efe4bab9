"""What the checks of all kinds of data share: each file is looked at once, and again only after a change."""

import hashlib
import os
from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

from icmbench.api import UserError, build_once, cache_root, sha256

READERS = 8  # files read side by side
Item = TypeVar("Item")
Found = TypeVar("Found")


def check_once(files: Iterable[Path], expected: object, check: Callable[[], None]) -> None:
    """Call `check`, unless it passed before with the same files (by size and time of change) and the same expectation.

    `expected`: everything else that the check depends on, spelt by `repr`. Raises UserError for a missing file.
    """
    code = [sha256(path) for path in sorted(Path(__file__).parent.glob("*.py"))]
    state = repr((code, expected, [_state(path) for path in files]))
    passed = cache_root() / "checked" / hashlib.sha256(state.encode()).hexdigest()
    build_once(passed, lambda _: check())


def _state(path: Path) -> tuple[str, int, int]:
    try:
        found = path.stat()
    except OSError as error:
        raise UserError(f"{path} is missing.") from error
    return os.path.abspath(path), found.st_size, found.st_mtime_ns


def side_by_side(look: Callable[[Item], Found], items: Sequence[Item]) -> list[Found]:
    """What `look` finds in each item, in their order. Raises what the first of them raises."""
    with ThreadPoolExecutor(READERS) as pool:
        return list(pool.map(look, items))


def repeated(values: Iterable[Hashable]) -> Hashable | None:
    """The first value that occurs more than once, None if there is none."""
    return next((value for value, count in Counter(values).items() if count > 1), None)


def strays(folders: Iterable[Path], known: Iterable[Path], suffixes: tuple[str, ...]) -> list[Path]:
    """Files of the folders with one of the suffixes that are not among the known files."""
    names = {os.path.abspath(path) for path in known}
    files = (path for folder in sorted(set(folders)) for path in sorted(folder.iterdir()))
    return [path for path in files if path.suffix.lower() in suffixes and os.path.abspath(path) not in names]
