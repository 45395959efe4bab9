"""WebP, lossy (RFC 9649), an intra picture of VP8, by libwebp.

Through Pillow: method 6, the most thorough; the format is always 4:2:0, BT.601 limited range. `quality`: 0 to 100.
"""

from typing import Any

from icmbench.methods._pillow import PillowMethod


class Webp(PillowMethod):
    form = "WEBP"
    rate_parameter = "quality"
    rates = (0, 5, 8, 12, 20, 45, 80)

    def settings(self) -> dict[str, Any]:
        return {"quality": int(self.rate), "method": 6}
