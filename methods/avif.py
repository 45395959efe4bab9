"""AVIF (AOM's AV1 Image File Format), an intra picture of AV1, by libaom.

Through Pillow and libavif: 8 bits, chroma 4:2:0, BT.601 full range, one thread, with libavif's default tuning. The file's
boxes take about 300 bytes. `quality`: 0 to 100.
"""

from typing import Annotated, Any

from pydantic import Field

from icmbench.api import Strict
from icmbench.methods._pillow import PillowMethod


class Avif(PillowMethod):
    class Parameters(Strict):
        """`speed` of the encoder, from 0, the most thorough, to 10."""

        speed: Annotated[int, Field(ge=0, le=10)] = 6

    form = "AVIF"
    rate_parameter = "quality"
    rates = (0, 5, 10, 17, 25, 45, 70)

    def settings(self) -> dict[str, Any]:
        return {"quality": int(self.rate), "codec": "aom", "speed": self.options.speed, "subsampling": "4:2:0", "max_threads": 1}
