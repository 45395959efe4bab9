"""Bundles as zip archives: the same content always gives the same bytes, and reading is safe for any archive.

Nothing is extracted to the archive's own paths: members are read one by one, by name, within limits.
"""

import hashlib
import stat
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from icmbench.base.errors import UserError
from icmbench.base.files import replacing
from icmbench.submission.manifest import MANIFEST, File, Manifest, parse

# An archive beyond these limits is refused before any member is read. Bitstreams and weights hardly compress, so a member
# that expands more than RATIO times is suspicious (text may, but is small).
MEMBERS = 200_000
BYTES = 8 * 2**30
MANIFEST_BYTES = 64 * 2**20
SMALL = 16 * 2**20  # up to here any ratio is harmless
RATIO = 200
NAME = 300
_CHUNK = 2**20
_EPOCH = (1980, 1, 1, 0, 0, 0)


class Refused(UserError):
    """An invalid bundle; the text gives the reason."""


def write(path: Path, manifest: Manifest, content: dict[str, Path | bytes]) -> None:
    """Write a bundle of `content` (name in the bundle -> file or bytes) with its manifest first.

    It contains no times, owners or file order of the file system. Raises UserError if the file cannot be written.
    """
    with replacing(path) as temporary, zipfile.ZipFile(temporary, "w") as archive:
        _add(archive, MANIFEST, manifest.to_bytes())
        for name in sorted(content):
            source = content[name]
            _add(archive, name, source if isinstance(source, bytes) else source.read_bytes())


def _add(archive: zipfile.ZipFile, name: str, data: bytes) -> None:
    entry = zipfile.ZipInfo(name, _EPOCH)
    entry.compress_type, entry.create_system, entry.external_attr = zipfile.ZIP_DEFLATED, 3, 0o100644 << 16
    archive.writestr(entry, data, compresslevel=6)


def describe(source: Path | bytes) -> File:
    """Size and digest of a file that goes into a bundle."""
    data = source if isinstance(source, bytes) else source.read_bytes()
    return File(bytes=len(data), sha256=hashlib.sha256(data).hexdigest())


@dataclass(frozen=True)
class Archive:
    """An open bundle."""

    manifest: Manifest
    _zip: zipfile.ZipFile

    def read(self, name: str, most: int = BYTES) -> bytes:
        """The bytes of a file that the manifest lists. Raises Refused if there are more than `most`."""
        size = self.manifest.files[name].bytes
        if size > most:
            raise Refused(f"{name} has {size} bytes; at most {most} are allowed.")
        return _read(self._zip, name, size)


@contextmanager
def opened(path: Path) -> Iterator[Archive]:
    """The bundle at `path`, with every byte checked against the manifest.

    Raises Refused if it is not a valid bundle, UserError if the file cannot be read.
    """
    try:
        stream = path.open("rb")
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror or error}.") from error
    with stream, _zip(stream, path) as archive:
        _check_members(archive.infolist())
        manifest = _manifest(archive)
        listed, present = set(manifest.files), {entry.filename for entry in archive.infolist()} - {MANIFEST}
        if missing := sorted(listed - present):
            raise Refused(f"the manifest lists {len(missing)} file(s) that are not in the archive, {missing[0]!r} among them.")
        if extra := sorted(present - listed):
            raise Refused(f"the archive holds {len(extra)} file(s) that the manifest does not list, {extra[0]!r} among them.")
        for name, file in manifest.files.items():
            _check_digest(archive, name, file)
        yield Archive(manifest, archive)


def _zip(stream: IO[bytes], path: Path) -> zipfile.ZipFile:
    try:
        return zipfile.ZipFile(stream)
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError, EOFError) as error:
        raise Refused(f"{path.name} is not a zip archive, or is damaged: {error}.") from error


def _manifest(archive: zipfile.ZipFile) -> Manifest:
    if MANIFEST not in archive.namelist():
        raise Refused(f"the archive has no {MANIFEST}, so it is not a bundle of icmbench.")
    try:
        return parse(_read(archive, MANIFEST, MANIFEST_BYTES))
    except UserError as error:
        raise Refused(str(error)) from error


def _check_members(entries: list[zipfile.ZipInfo]) -> None:
    if len(entries) > MEMBERS:
        raise Refused(f"the archive has {len(entries)} members; at most {MEMBERS} are allowed.")
    seen: set[str] = set()
    for entry in entries:
        if problem := _problem(entry):
            raise Refused(f"the archive is refused: {entry.filename[:NAME]!r} {problem}.")
        folded = entry.filename.casefold()
        if folded in seen:
            raise Refused(f"the archive is refused: {entry.filename!r} is there twice.")
        seen.add(folded)
    total = sum(entry.file_size for entry in entries)
    if total > BYTES:
        raise Refused(f"the archive is refused: it expands to {total / 2**30:.1f} GiB; at most {BYTES / 2**30:.0f} are allowed.")


def _problem(entry: zipfile.ZipInfo) -> str:
    name, kind = entry.orig_filename, stat.S_IFMT(entry.external_attr >> 16)
    parts = name.split("/")
    problems = {
        "is not a plain name": name != entry.filename or not name.isprintable() or len(name) > NAME,
        "is an absolute path": name.startswith("/") or "\\" in name or ":" in parts[0],
        "leads out of the bundle": ".." in parts,
        "is a folder; a bundle holds files only": name.endswith("/"),
        "is not a plain path": "" in parts or "." in parts,
        "is a link or a device": kind not in (0, stat.S_IFREG),
        "is encrypted": entry.flag_bits & 1,
        "is packed in an unusual way": entry.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED),
        f"expands more than {RATIO} times": entry.file_size > max(SMALL, RATIO * entry.compress_size),
    }
    return next((problem for problem, holds in problems.items() if holds), "")


def _read(archive: zipfile.ZipFile, name: str, limit: int) -> bytes:
    """A member's bytes, at most one more than `limit`, whatever size the archive states."""
    with _reading(archive, name) as stream:
        return stream.read(limit + 1)


def _check_digest(archive: zipfile.ZipFile, name: str, listed: File) -> None:
    """Raises Refused unless a member, which may be larger than memory, has the manifest's size and digest."""
    digest, size = hashlib.sha256(), 0
    with _reading(archive, name) as stream:
        while size <= listed.bytes and (chunk := stream.read(_CHUNK)):
            digest.update(chunk)
            size += len(chunk)
    if size != listed.bytes:
        raise Refused(f"{name} has {archive.getinfo(name).file_size} bytes, but {listed.bytes} in the manifest.")
    if digest.hexdigest() != listed.sha256:
        raise Refused(f"{name} is damaged or was changed: its SHA-256 is not the manifest's.")


@contextmanager
def _reading(archive: zipfile.ZipFile, name: str) -> Iterator[IO[bytes]]:
    try:
        with archive.open(name) as stream:
            yield stream
    except (zipfile.BadZipFile, zlib.error, OSError, EOFError, KeyError, NotImplementedError, RuntimeError) as error:
        raise Refused(f"{name} in the archive is damaged: {error}.") from error
