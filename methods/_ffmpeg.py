"""Codecs of the FFmpeg program. One process with one thread codes one image: the same image gives the same bytes."""

import subprocess
import tempfile
from abc import abstractmethod
from pathlib import Path
from typing import Any, ClassVar

import imageio_ffmpeg
import torch
from torch import Tensor

from icmbench.api import ClassicalMethod, UserError, container
from icmbench.methods import _pillow

ADVICE = "update the package imageio-ffmpeg, or name an FFmpeg that has the codec in the variable IMAGEIO_FFMPEG_EXE"


def _convert(arguments: list[str], data: bytes) -> bytes:
    """FFmpeg's output for `data`. Raises UserError if it fails or is not installed.

    The output is not piped, because VVenC prints warnings to standard output.
    """
    with tempfile.TemporaryDirectory() as folder:
        result = Path(folder) / "made"
        try:
            command = [imageio_ffmpeg.get_ffmpeg_exe(), "-hide_banner", "-loglevel", "error", *arguments, str(result)]
            done = subprocess.run(command, input=data, capture_output=True, check=False)
        except (OSError, RuntimeError) as error:
            raise UserError(f"FFmpeg cannot be started: {error}.") from error
        if done.returncode or not result.exists():
            reason = done.stderr.decode(errors="replace").strip().partition("\n")[0].rpartition("] ")[2].rstrip(".")
            raise UserError(f"FFmpeg failed: {reason or 'it wrote no output'}.")
        return result.read_bytes()


class FfmpegMethod(ClassicalMethod):
    """An image format of FFmpeg. `encoder`, `decoder`, `muxer`, `demuxer`: FFmpeg's names. `to_rgb`: arguments for decoding.

    Images go to and from FFmpeg as PPM files.
    """

    encoder: ClassVar[str]
    decoder: ClassVar[str]
    muxer: ClassVar[str]
    demuxer: ClassVar[str]
    to_rgb: ClassVar[tuple[str, ...]] = ()

    def __init__(self, parameters: Any, rate: float) -> None:
        super().__init__(parameters, rate)
        _pillow.require_working(self, ADVICE)

    @abstractmethod
    def settings(self) -> list[str]:
        """FFmpeg's arguments for the encoder at this rate."""

    def encode(self, image: Tensor) -> bytes:
        coder = ["-c:v", self.encoder, *self.settings(), "-threads", "1", "-f", self.muxer]
        return _convert(["-f", "ppm_pipe", "-i", "-", *coder], _pillow.write(image, "PPM"))

    def decode(self, data: bytes) -> Tensor:
        source = ["-xerror", "-threads", "1", "-c:v", self.decoder, "-f", self.demuxer, "-i", "-"]
        try:
            ppm = _convert([*source, *self.to_rgb, "-c:v", "ppm", "-f", "image2pipe"], data)
        except UserError as error:
            raise UserError(f"the bitstream is damaged or of another codec: {error}") from error
        return _pillow.read(ppm, "PPM")


class IntraMethod(FfmpegMethod):
    """One intra picture of a video codec: a raw stream of YCbCr 4:2:0 (BT.709, full range) in the learned codecs' container.

    zimg (FFmpeg's `zscale`) converts, with bicubic chroma; the stream names matrix and range. 4:2:0 needs even sides and the
    encoders need a minimum size, so the last row and column are repeated up to even sides of at least 32 pixels. The container
    (`icmbench.api.container`) has the true size and, as `latent`, the coded one. It costs as much as for the learned codecs, and
    it detects a truncated stream.
    """

    pixel_format: ClassVar[str]
    to_rgb = ("-vf", "zscale=matrix=gbr:range=full:filter=bicubic,format=gbrp")

    @abstractmethod
    def coder(self) -> list[str]:
        """FFmpeg's arguments for the encoder at this rate, without those of the conversion."""

    def settings(self) -> list[str]:
        convert = ["-vf", "zscale=matrix=709:range=full:filter=bicubic", "-pix_fmt", self.pixel_format]
        return [*convert, "-g", "1", *self.coder()]

    def encode(self, image: Tensor) -> bytes:
        height, width = image.shape[1:]
        coded = max(height + height % 2, 32), max(width + width % 2, 32)
        rows, columns = (torch.arange(to).clamp(max=side - 1) for side, to in zip((height, width), coded, strict=True))
        stream = super().encode(image[:, rows][:, :, columns])
        return container.pack(container.Content((height, width), coded, [stream]))

    def decode(self, data: bytes) -> Tensor:
        content = container.unpack(data)
        image = super().decode(b"".join(content.strings))
        height, width = content.size
        if tuple(image.shape[1:]) != content.latent or not (0 < height <= image.shape[1] and 0 < width <= image.shape[2]):
            raise UserError("the bitstream is damaged: its image has another size than in its header.")
        return image[:, :height, :width].contiguous()
