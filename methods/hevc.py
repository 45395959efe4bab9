"""HEVC intra (ITU-T H.265 | ISO/IEC 23008-2), by x265.

Through FFmpeg: 8 bits, chroma 4:2:0, constant QP, tuned for PSNR instead of viewing, without the message with the encoder's
settings. `qp`: 0 to 51, that of the picture itself (x265 would lower it for intra pictures).
"""

from typing import Literal

from icmbench.api import Strict
from icmbench.methods._ffmpeg import IntraMethod


class Hevc(IntraMethod):
    class Parameters(Strict):
        """`preset` of x265."""

        preset: Literal["ultrafast", "veryfast", "fast", "medium", "slow", "slower", "veryslow"] = "slow"

    encoder, decoder, muxer, demuxer = "libx265", "hevc", "hevc", "hevc"
    pixel_format = "yuv420p"
    rate_parameter = "qp"
    rates = (46, 43, 40, 37, 34, 30, 24)

    def coder(self) -> list[str]:
        bare, alone = "info=0:vui-timing-info=0", "pools=none:frame-threads=1:wpp=0"
        return ["-preset", self.options.preset, "-tune", "psnr", "-x265-params", f"qp={int(self.rate)}:ipratio=1:{bare}:{alone}"]
