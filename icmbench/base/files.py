"""Files that are written whole or not at all, and the folders of data and caches."""

import fcntl
import glob
import hashlib
import json
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from icmbench.base.errors import UserError


def data_root() -> Path:
    """Folder that relative data and checkpoint paths of protocols start from: `$ICMBENCH_DATA`, else `./icmbench-data`."""
    return Path(os.environ.get("ICMBENCH_DATA", "icmbench-data"))


def cache_root() -> Path:
    """Folder of files that can be made again: `$ICMBENCH_CACHE`, else `~/.cache/icmbench`."""
    return Path(os.environ.get("ICMBENCH_CACHE", Path.home() / ".cache" / "icmbench"))


def sha256(path: Path) -> str:
    """SHA-256 of a file, in hexadecimal."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def fingerprint(folder: Path, names: Iterable[str], *content: Any) -> str:
    """SHA-256 over the names and sizes in bytes of files below `folder`, and over JSON content, in this order.

    Raises UserError if a file is missing.
    """
    sizes = [(name, _size(folder / name)) for name in names]
    return hashlib.sha256(json.dumps([sizes, *content], sort_keys=True).encode()).hexdigest()


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError as error:
        raise UserError(f"{path} is missing.") from error


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """A block that writes `path`. Raises UserError if it cannot be written or the disk is full."""
    try:
        yield
    except OSError as error:
        raise UserError(f"cannot write {path}: {error.strerror or error}.") from error


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A temporary path beside `path` that takes its place when the block ends without an error.

    Raises UserError if the folder cannot be written or the disk is full.
    """
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
        os.close(handle)
    temporary = Path(name)
    try:
        with writing(path):
            yield temporary
            with temporary.open("rb") as stream:
                os.fsync(stream.fileno())
            temporary.chmod(0o644)
            temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def require_writable(folder: Path) -> None:
    """Make `folder` if it does not exist. Raises UserError if files cannot be written into it."""
    with replacing(folder / ".writable") as temporary:
        temporary.touch()
    (folder / ".writable").unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Write a whole text file at once."""
    with replacing(path) as temporary:
        temporary.write_text(text)


def remove_leftovers(path: Path, age: float = 0.0) -> None:
    """Remove files that killed processes left of `replacing(path)` and that are `age` seconds old. Only for the one writer."""
    for leftover in path.parent.glob(f".{glob.escape(path.name)}.*"):
        with suppress(OSError):
            if time.time() - leftover.stat().st_mtime >= age:
                leftover.unlink()


@contextmanager
def locked(path: Path, wait: bool = True) -> Iterator[bool]:
    """Hold an exclusive lock named by `path`; the kernel frees it when the process dies.

    Without `wait`, the block gets False, and no lock, if another process holds it.
    """
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        stream = path.open("w")
    with stream:
        try:
            fcntl.flock(stream, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
            mine = True
        except BlockingIOError:
            mine = False
        yield mine


def build_once(folder: Path, build: Callable[[Path], None], whole: Callable[[Path], bool] = Path.exists) -> Path:
    """Return `folder`, calling `build` on a temporary folder that becomes it if it is not there yet, or not `whole`.

    If several processes ask at once, one builds and the others wait.
    """
    if folder.exists() and whole(folder):
        return folder
    with locked(folder.with_name(folder.name + ".lock")):
        if folder.exists() and not whole(folder):
            shutil.rmtree(folder)
        if not folder.exists():
            with writing(folder), tempfile.TemporaryDirectory(prefix=f".{folder.name}.", dir=folder.parent) as temporary:
                unfinished = Path(temporary) / folder.name
                unfinished.mkdir()
                build(unfinished)
                unfinished.rename(folder)
    return folder
