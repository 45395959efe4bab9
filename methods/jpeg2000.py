"""JPEG 2000, lossy (ITU-T T.800 | ISO/IEC 15444-1), by OpenJPEG.

Through Pillow: one tile, 9/7 wavelet, irreversible colour transform (BT.601, no subsampling), and the bare codestream without
the boxes of a JP2 file. `psnr` is the encoder's target quality in dB for each image: a constant quality, as for
the other codecs, and not a constant rate. Above 20 and up to about 45.
"""

from typing import Any

from icmbench.methods._pillow import PillowMethod


class Jpeg2000(PillowMethod):
    form = "JPEG2000"
    rate_parameter = "psnr"
    rates = (23, 25, 27, 29, 31, 34, 38)

    def settings(self) -> dict[str, Any]:
        return {"quality_mode": "dB", "quality_layers": [self.rate], "irreversible": True, "mct": 1, "no_jp2": True}
