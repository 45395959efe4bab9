"""Raw 8-bit RGB in a PPM file: the ceiling as its own row, at 24 bits per pixel.

Netpbm's PPM has a header of about 15 bytes with the size. `depth`: bits of a sample, always 8.
"""

from icmbench.methods._pillow import PillowMethod


class Uncompressed(PillowMethod):
    form = "PPM"
    rate_parameter = "depth"
    rates = (8,)
