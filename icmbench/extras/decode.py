"""`icmbench decode`: images from kept bitstreams."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from PIL import Image
from torch import Tensor

from icmbench.base.errors import UserError
from icmbench.base.files import replacing
from icmbench.codecs.neural import Codec
from icmbench.experiment.bitstreams import SUFFIX
from icmbench.experiment.evaluate import pixels_sha256


def find(path: Path) -> list[Path]:
    """The bitstream `path`, or those in the folder `path` by name. Raises UserError if there are none."""
    if path.is_file():
        return [path]
    if not path.is_dir():
        raise UserError(f"there is no file or folder {path}.")
    if files := sorted(path.glob(f"[!.]*{SUFFIX}")):
        return files
    raise UserError(f"there are no {SUFFIX} files in {path}.")


@dataclass(frozen=True)
class Decoded:
    """The result of one bitstream: the PNG with the SHA-256 of its pixels as in the rows of a record, or a problem."""

    png: Path
    sha256: str = ""
    problem: str = ""


def decode(files: Iterable[Path], codec: Codec, out: Path) -> Iterator[Decoded]:
    """Decode bitstreams to NAME.png (RGB, 8 bit) in the folder `out`, one after the other, also after a damaged one.

    Raises UserError if an image cannot be written.
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
