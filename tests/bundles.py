"""Bundles for the tests: an honest one of a small classical codec, one of a trained codec, and ways to forge them."""

import contextlib
import hashlib
import io
import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cells
import pandas as pd

from icmbench.plugins.find import Plugins
from icmbench.plugins.source import digest
from icmbench.running.runner import plan
from icmbench.schema.record import seal
from icmbench.submission.manifest import MANIFEST, About
from icmbench.submission.submit import pack

Files = dict[str, bytes]
Change = Callable[[Files], object]  # changes the members in place
ABOUT = About(authors=("A. Author",), licence="Apache-2.0", title="A test")

PLAIN = '''"""JPEG by another name, with the size of the image left to it."""

import io

import numpy as np
import torch
from PIL import Image

from icmbench.api import ClassicalMethod


class Plain(ClassicalMethod):
    rate_parameter = "quality"
    rates = (10, 30, 60)

    def encode(self, image):
        out = io.BytesIO()
        Image.fromarray(image.permute(1, 2, 0).numpy()).save(out, "JPEG", quality=int(self.rate))
        return out.getvalue()

    def decode(self, data):
        picture = np.array(Image.open(io.BytesIO(data)).convert("RGB"))
        return torch.from_numpy(picture).permute(2, 0, 1).contiguous()
'''


def make(folder: Path, protocol: Path, method: str, source: str | None = None) -> Path:
    """Run a method (of the plugin with `source`, if given) under the protocol in a file, and pack its bundle."""
    files = []
    if source is not None:
        files = [folder / f"{method}.py"]
        files[0].write_text(source)
    plugins = Plugins(tuple(files))
    rules, compute = cells.bound(protocol, plugins=plugins), cells.work(folder, plugins)
    for cell in plan(plugins, rules, {method: {}}, range(len(rules.rates)), 1):
        compute(cell)
    out = folder / f"{method}.zip"
    pack(plugins, compute.folders, compute.device, rules, method, {}, ABOUT, out)
    return out


def read(path: Path) -> Files:
    """The members of a bundle."""
    with zipfile.ZipFile(path) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def write(path: Path, files: Files) -> Path:
    """A bundle of these members, as they are."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return path


def manifest(files: Files) -> dict[str, Any]:
    """The manifest's fields."""
    fields: dict[str, Any] = json.loads(files[MANIFEST])
    return fields


def agree(files: Files) -> None:
    """Make the manifest's sizes and digests, the records' seals and what else hangs on digests agree with the members."""
    fields = manifest(files)
    source = digest({name.removeprefix("plugin/"): data for name, data in files.items() if name.startswith("plugin/")})
    for cell in fields["cells"]:
        with contextlib.suppress(ValueError, RecursionError):  # a record that is none
            digests = {"rows_sha256": _sha(files[cell["rows"]]), "method_sha256": source}
            edit_record(files, cell["record"], digests)
        cell["bitstreams"] = [_sha(files[f"{cell['folder']}/{number:06d}.icm"]) for number in cell["shipped"]]
    edit_manifest(files, fields)
    list_files(files)


def list_files(files: Files) -> None:
    """Make the manifest's sizes and digests agree with the members."""
    described = {name: {"bytes": len(data), "sha256": _sha(data)} for name, data in files.items() if name != MANIFEST}
    edit_manifest(files, {"files": described})


def _sha(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def edit_record(files: Files, name: str, changes: dict[str, Any]) -> None:
    """Change fields of a record, and seal it anew."""
    record = json.loads(files[name]) | changes
    files[name] = json.dumps(record | {"content_sha256": seal(record)}).encode()


def edit_manifest(files: Files, changes: dict[str, Any]) -> None:
    """Change fields of the manifest."""
    files[MANIFEST] = json.dumps(manifest(files) | changes).encode()


def edit_rows(files: Files, name: str, change: Callable[[pd.DataFrame], pd.DataFrame]) -> None:
    """Change the rows of the images."""
    out = io.BytesIO()
    change(pd.read_parquet(io.BytesIO(files[name]))).to_parquet(out)
    files[name] = out.getvalue()


def records(files: Files) -> list[str]:
    """Names of the records, in the order of the manifest."""
    return [cell["record"] for cell in manifest(files)["cells"]]


def forge(path: Path, honest: Path, change: Change, consistent: bool = True) -> Path:
    """A copy of an honest bundle with a change; if `consistent`, every digest is made to agree with it."""
    files = read(honest)
    change(files)
    if consistent:
        agree(files)
    return write(path, files)


def with_plugin(source: str) -> Change:
    """The change that puts another source in the place of the single-file plugin's."""

    def change(files: Files) -> None:
        files[next(name for name in files if name.startswith("plugin/"))] = source.encode()

    return change
