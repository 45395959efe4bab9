"""The bitstream container: everything that a decoder needs besides the weights.

    magic "IC" | version (1 byte) | height | width | latent height | latent width | number of strings
    | length of each string | the strings

Every number after the version is an unsigned LEB128 varint. About 12 bytes for a small image, all counted as rate.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from icmbench.base.errors import UserError

MAGIC = b"IC"
VERSION = 1


@dataclass(frozen=True)
class Content:
    """Image size and latent size (height, width) in pixels and latent samples; one entropy-coded string per latent."""

    size: tuple[int, int]
    latent: tuple[int, int]
    strings: Sequence[bytes]


def _varint(number: int) -> bytes:
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)


def pack(content: Content) -> bytes:
    """Content to bytes."""
    numbers = [*content.size, *content.latent, len(content.strings), *map(len, content.strings)]
    return MAGIC + bytes([VERSION]) + b"".join(map(_varint, numbers)) + b"".join(content.strings)


class _Reader:
    def __init__(self, data: bytes) -> None:
        self.data, self.position = data, 3

    def varint(self) -> int:
        number, shift = 0, 0
        while shift <= 28 and self.position < len(self.data):
            byte = self.data[self.position]
            self.position += 1
            number |= (byte & 0x7F) << shift
            if byte < 0x80:
                return number
            shift += 7
        raise UserError("the bitstream is damaged: a number in its header does not end.")

    def string(self, length: int) -> bytes:
        piece = self.data[self.position : self.position + length]
        self.position += length
        return piece


def unpack(data: bytes) -> Content:
    """Bytes to content. Raises UserError if the bytes are not a whole container of this version."""
    if data[:2] != MAGIC or len(data) < 3:
        raise UserError("the bitstream is not an icmbench container.")
    if data[2] != VERSION:
        raise UserError(f"the bitstream has container version {data[2]}; this program reads version {VERSION}.")
    reader = _Reader(data)
    size, latent = (reader.varint(), reader.varint()), (reader.varint(), reader.varint())
    count = reader.varint()
    if count > len(data):
        raise UserError("the bitstream is damaged: its header lists more strings than it has bytes.")
    lengths = [reader.varint() for _ in range(count)]
    if reader.position + sum(lengths) != len(data):
        raise UserError("the bitstream is damaged: its length does not match its header.")
    return Content(size, latent, [reader.string(length) for length in lengths])
