"""Bitstreams in files, one per image, as `icmbench run --keep-bitstreams` keeps them."""

import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from icmbench.base.files import replacing, writing
from icmbench.experiment.evaluate import Keep, no_keep

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
