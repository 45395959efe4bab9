"""Bitstreams in files: kept by `icmbench run --keep-bitstreams`, decoded by `icmbench decode`."""

import re
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from PIL import Image
from torch import Tensor

from icmbench.base.errors import UserError
from icmbench.base.files import replacing
from icmbench.codecs.neural import Codec
from icmbench.experiment.evaluate import Keep, no_keep, pixels_sha256

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
def keeping(folder: Path | None) -> Iterator[Keep]:
    """Takes samples' names and bitstreams; `folder` holds them, and nothing else, when the block has ended without an error.

    Until then it is not there, or is the earlier one: an interrupted run leaves no part that looks whole. None: keep nothing.
    One process at a time. Raises UserError where the files cannot be written.
    """
    if folder is None:
        yield no_keep
        return
    for leftover in folder.parent.glob(f".{folder.name}.*"):
        shutil.rmtree(leftover, ignore_errors=True)
    try:
        with tempfile.TemporaryDirectory(prefix=f".{folder.name}.", dir=folder.parent) as temporary:
            made, names = Path(temporary) / folder.name, FileNames()
            made.mkdir()

            def keep(sample: str, data: bytes) -> None:
                with replacing(made / (names.name(sample) + SUFFIX)) as path:
                    path.write_bytes(data)

            yield keep
            if folder.exists():
                shutil.rmtree(folder)
            made.rename(folder)
    except OSError as error:
        raise UserError(f"cannot write {folder}: {error.strerror or error}.") from error


def find(path: Path) -> list[Path]:
    """The bitstream `path`, or those in the folder `path` by name. Raises UserError where there are none."""
    if path.is_file():
        return [path]
    if not path.is_dir():
        raise UserError(f"there is no file or folder {path}.")
    if found := sorted(path.glob(f"[!.]*{SUFFIX}")):
        return found
    raise UserError(f"there are no {SUFFIX} files in {path}.")


@dataclass(frozen=True)
class Decoded:
    """What became of one bitstream: the PNG with the SHA-256 of its pixels as in the rows of a record, or a problem."""

    png: Path
    sha256: str = ""
    problem: str = ""


def decode(files: Iterable[Path], codec: Codec, out: Path) -> Iterator[Decoded]:
    """Decode bitstreams to NAME.png (RGB, 8 bit) in the folder `out`, one after the other; a damaged one stops none.

    Raises UserError where a picture cannot be written.
    """
    for file in files:
        png = out / f"{file.stem}.png"
        try:
            image = codec.decode(file.read_bytes())
        except UserError as error:
            yield Decoded(png, problem=f"{file}: {error}")
        except (OSError, MemoryError, RuntimeError) as error:
            reason = (str(error) or type(error).__name__).splitlines()[0]
            yield Decoded(png, problem=f"{file} cannot be decoded: {reason}.")
        else:
            _write_png(image, png)
            yield Decoded(png, sha256=pixels_sha256(image))


def _write_png(image: Tensor, path: Path) -> None:
    with replacing(path) as temporary:
        Image.fromarray(image.permute(1, 2, 0).contiguous().numpy()).save(temporary, "PNG")
