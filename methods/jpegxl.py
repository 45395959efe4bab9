"""JPEG XL, lossy (ISO/IEC 18181), by libjxl.

Through FFmpeg: a bare codestream, XYB colour without subsampling, sRGB in and out. `distance` is Butteraugli's, from 0.01,
near lossless, to 15; from 10 on libjxl halves the image, and the rate rises again, so the curve ends at 9.
"""

from typing import Annotated

from pydantic import Field

from icmbench.api import Strict
from icmbench.methods._ffmpeg import FfmpegMethod


class JpegXl(FfmpegMethod):
    class Parameters(Strict):
        """`effort` of the encoder, from 1 to 9, the most thorough."""

        effort: Annotated[int, Field(ge=1, le=9)] = 7

    encoder = decoder = "libjxl"
    muxer, demuxer = "image2pipe", "jpegxl_pipe"
    rate_parameter = "distance"
    rates = (9, 7, 5, 3.5, 2, 1, 0.5)

    def settings(self) -> list[str]:
        return ["-distance", str(self.rate), "-effort", str(self.options.effort)]
