"""Bitstreams in files, one per image, as `icmbench run --keep-bitstreams` keeps them."""

import re
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pandas as pd

from icmbench.api.classes import method_class
from icmbench.api.method import ClassicalMethod
from icmbench.base.errors import UserError
from icmbench.base.files import locked, replacing, writing
from icmbench.experiment.build import load_task, saved_codec, saved_training
from icmbench.experiment.cell import Cell
from icmbench.experiment.evaluate import Keep, no_keep
from icmbench.experiment.folders import Device, Folders
from icmbench.plugins.find import Plugins
from icmbench.schema.store import rows_path

SUFFIX = ".icm"


class FileNames:
    """Safe file names for samples, without suffix and unique, also where a file system ignores case.

    The same samples in the same order get the same names: a second `a` becomes `a~2`.
    """

    def __init__(self) -> None:
        self._taken: set[str] = set()

    def name(self, sample: str) -> str:
        """The next sample's file name: its own without an image suffix, odd characters replaced by `_`."""
        plain = re.sub(r"\.(bmp|jpe?g|png|tiff?|webp)$", "", sample, flags=re.IGNORECASE)
        stem = re.sub(r"^\.|[^\w.-]", "_", plain)[:60] or "_"
        name, number = stem, 1
        while name.casefold() in self._taken:
            number += 1
            name = f"{stem}~{number}"
        self._taken.add(name.casefold())
        return name


@contextmanager
def writer(folder: Path | None) -> Iterator[Keep]:
    """Yields a function that takes a sample's name and bitstream. After a block without error, `folder` holds them alone.

    Until then `folder` is absent or the earlier one, so an interrupted run leaves no partial folder. None: keep nothing.
    One process at a time. Raises UserError if the files cannot be written.
    """
    if folder is None:
        yield no_keep
        return
    for leftover in folder.parent.glob(f".{folder.name}.*"):
        shutil.rmtree(leftover, ignore_errors=True)
    with writing(folder), tempfile.TemporaryDirectory(prefix=f".{folder.name}.", dir=folder.parent) as temporary:
        unfinished, names = Path(temporary) / folder.name, FileNames()
        unfinished.mkdir()

        def keep(sample: str, data: bytes) -> None:
            with replacing(unfinished / (names.name(sample) + SUFFIX)) as path:
                path.write_bytes(data)

        yield keep
        if folder.exists():
            shutil.rmtree(folder)
        unfinished.rename(folder)


def make_missing_bitstreams(cells: Sequence[Cell], plugins: Plugins, folders: Folders, device: Device) -> list[str]:
    """Make the bitstreams of those cells that have a record and no bitstreams. Returns why some cannot be made."""
    problems = []
    for cell in cells:
        if not folders.bitstreams(cell).exists() and folders.record(cell).exists():
            try:
                make_bitstreams(cell, plugins, folders, device)
            except UserError as error:
                problems.append(str(error))
    return problems


def make_bitstreams(cell: Cell, plugins: Plugins, folders: Folders, device: Device) -> Path:
    """The folder with the bitstreams of a finished cell, made with its codec if it is absent. The record does not change.

    Raises UserError if the codec or the record's rows are missing, or if the codec's bytes are not those of the record.
    """
    rows, folder = rows_path(folders.record(cell)), folders.bitstreams(cell)
    with locked(folders.lock(cell)):
        if folder.exists():
            return folder
        classical = issubclass(method_class(plugins, cell.method), ClassicalMethod)
        trained = classical or bool(saved_training(cell, plugins, folders))
        for needed, exists in ((folders.codec(cell), trained), (rows, rows.exists())):
            if not exists:
                raise UserError(f"{cell.name} has a record, but its bitstreams cannot be made: {needed} is missing.")
        codec, dataset = saved_codec(cell, plugins, folders, device), load_task(cell.protocol, plugins, device).dataset("val")
        with writer(folder) as keep:
            for index, bits in enumerate(pd.read_parquet(rows)["bits"]):
                sample = dataset[index]
                data = codec.encode(sample.image)
                if 8 * len(data) != bits:
                    now = f"{sample.name} is coded to {8 * len(data)} bits here, its record says {bits}"
                    raise UserError(f"the bitstreams of {cell.name} cannot be made: {now}.")
                keep(sample.name, data)
    return folder
