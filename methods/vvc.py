"""VVC intra (ITU-T H.266 | ISO/IEC 23090-3), by VVenC.

Through FFmpeg: 10 bits, as in VVenC's own search, chroma 4:2:0, constant QP without perceptual adaptation, without delimiter
and timing. `qp`: 0 to 63. The default preset is VVenC's fastest; the record names it.
"""

from typing import Literal

from icmbench.api import Strict
from icmbench.methods._ffmpeg import IntraMethod


class Vvc(IntraMethod):
    class Parameters(Strict):
        """`preset` of VVenC."""

        preset: Literal["faster", "fast", "medium", "slow", "slower"] = "faster"

    encoder, decoder, muxer, demuxer = "libvvenc", "vvc", "vvc", "vvc"
    pixel_format = "yuv420p10le"
    rate_parameter = "qp"
    rates = (47, 44, 41, 38, 35, 31, 25)

    def coder(self) -> list[str]:
        bare = "accessunitdelimiter=0:hrdparameterspresent=0:range=full"
        return ["-preset", self.options.preset, "-qp", str(int(self.rate)), "-qpa", "0", "-vvenc-params", bare]
