"""Results at a URL: a local folder kept equal to one in any file system that fsspec knows (S3, GCS, SFTP, ...).

All other code reads and writes the local folder. Files that could not be sent stay, and are sent the next time. No torch.
"""

import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

from icmbench.base.errors import UserError
from icmbench.base.files import cache_root, locked, replacing, write_text
from icmbench.schema.record import Record
from icmbench.schema.store import Store

VERSION_KEYS = ("size", "ETag", "etag", "mtime", "LastModified", "last_modified", "updated", "created", "modify")


class Remote:
    """The results at `url`, and `folder`, their local copy. Raises UserError for a URL that fsspec cannot open."""

    def __init__(self, url: str) -> None:
        import fsspec
        from fsspec.implementations.dirfs import DirFileSystem

        self.url = url
        home = cache_root() / "results" / hashlib.sha256(url.encode()).hexdigest()[:16]
        self.folder, self._seen_path = home / "records", home / "seen.json"
        try:
            files, root = fsspec.core.url_to_fs(url)
        except (ImportError, ValueError) as error:
            raise UserError(f"cannot open {url}: {error}") from error
        self._files = DirFileSystem(root, files)
        self._pulled: set[str] = set()

    def pull(self) -> None:
        """Fetch files that are new, changed or missing here, and drop those removed there, except files changed here since."""
        self.folder.mkdir(parents=True, exist_ok=True)
        with self._access("read"), locked(self._seen_path.with_suffix(".lock")):
            seen, there = self._seen(), self._listed()
            for name in [name for name in seen if name not in there]:
                if self._here(name) == seen.pop(name)["here"]:
                    (self.folder / name).unlink(missing_ok=True)
            # the rows before their record: a reader of the folder must find both
            for name, version in sorted(there.items(), key=lambda item: item[0].endswith(".json")):
                known, here = seen.get(name), self._here(name)
                if not known or not here or (here == known["here"] and version != known["there"]):
                    self._fetch(name)
                    seen[name] = {"there": version, "here": self._here(name)}
            self._pulled = set(there)
            write_text(self._seen_path, json.dumps(seen))

    def push(self) -> None:
        """Send files that are new or changed here since `pull`, and remove there those removed here."""
        with self._access("write"), locked(self._seen_path.with_suffix(".lock")):
            seen = self._seen()
            files = (path for path in self.folder.rglob("*") if path.is_file() and not path.name.startswith("."))
            names = {path.relative_to(self.folder).as_posix() for path in files}
            for name in self._pulled - names:
                with suppress(FileNotFoundError):
                    self._files.rm_file(name)
                seen.pop(name, None)
            self._pulled &= names
            for name in sorted(names, key=lambda name: name.endswith(".json")):
                here = self._here(name)
                if name not in seen or seen[name]["here"] != here:
                    seen[name] = {"there": self._send(name), "here": here}
            write_text(self._seen_path, json.dumps(seen))

    @contextmanager
    def _access(self, doing: str) -> Iterator[None]:
        """A block that accesses the URL. File systems raise exceptions of all kinds; each becomes a UserError."""
        try:
            yield
        except UserError:
            raise
        except Exception as error:
            results, reason = f"the results at {self.url}", str(error) or type(error).__name__
            raise UserError(f"cannot {doing} {results}: {reason}; the local copy stays in {self.folder}.") from error

    def _seen(self) -> dict[str, Any]:
        """Name -> version there and version here when the two were last equal."""
        try:
            seen: dict[str, Any] = json.loads(self._seen_path.read_text())
        except (OSError, ValueError):
            return {}
        return seen

    def _here(self, name: str) -> list[int] | None:
        try:
            stat = (self.folder / name).stat()
        except FileNotFoundError:
            return None
        return [stat.st_size, stat.st_mtime_ns]

    def _listed(self) -> dict[str, str]:
        """Name -> version of all files there."""
        self._files.invalidate_cache()
        try:
            infos = self._files.find("", detail=True)
        except FileNotFoundError:
            return {}
        return {name: _version(info) for name, info in infos.items() if not Path(name).name.startswith(".")}

    def _fetch(self, name: str) -> None:
        with replacing(self.folder / name) as temporary:
            self._files.get_file(name, str(temporary))

    def _send(self, name: str) -> str:
        """Send under a temporary name first, because some file systems show files that are being written."""
        folder = Path(name).parent.as_posix()
        temporary = f"{folder}/.{uuid4().hex}"
        self._files.makedirs(folder, exist_ok=True)
        self._files.put_file(str(self.folder / name), temporary)
        self._files.mv(temporary, name)
        self._files.invalidate_cache()
        return _version(self._files.info(name))


def _version(info: dict[str, Any]) -> str:
    return str({key: str(info[key]) for key in VERSION_KEYS if key in info})


@dataclass(frozen=True)
class RemoteStore(Store):
    """The results at `url`, and `folder`, their local copy. A record is sent as soon as it is written."""

    url: str

    def __str__(self) -> str:
        return self.url

    @contextmanager
    def shared(self) -> Iterator[None]:
        """Fetch the results before the block, and send them after it, however it ends."""
        remote = Remote(self.url)
        remote.pull()
        try:
            yield
        finally:
            remote.push()

    def refresh(self) -> None:
        """Fetch what other machines have written since."""
        Remote(self.url).pull()

    def write(self, record: Record) -> Path:
        """Write a record to the local copy, and send it with its rows."""
        path = super().write(record)
        Remote(self.url).push()
        return path


def open_store(address: str) -> Store:
    """The store at a path or at a URL. Raises UserError for a URL that fsspec cannot open."""
    return RemoteStore(Remote(address).folder, address) if "://" in address else Store(Path(address))
