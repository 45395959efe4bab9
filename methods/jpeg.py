"""JPEG, baseline (ITU-T T.81 | ISO/IEC 10918-1), by libjpeg-turbo.

Through Pillow: Huffman tables optimised for each image, BT.601 full range as in JFIF, chroma 4:2:0, which most JPEG files
have. `quality` scales the quantisation tables: 1 to 95 in libjpeg.
"""

from typing import Any

from icmbench.methods._pillow import PillowMethod


class Jpeg(PillowMethod):
    form = "JPEG"
    rate_parameter = "quality"
    rates = (5, 8, 12, 20, 35, 60, 85)

    def settings(self) -> dict[str, Any]:
        return {"quality": int(self.rate), "optimize": True, "subsampling": "4:2:0"}
