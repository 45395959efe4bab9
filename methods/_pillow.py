"""Codecs of Pillow, and images to and from the bytes of its formats."""

from io import BytesIO
from typing import Any, ClassVar

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from icmbench.api import ClassicalMethod, UserError


def write(image: Tensor, form: str, **settings: Any) -> bytes:
    """Image uint8 [3, H, W] RGB to a file of Pillow's format `form`. Raises UserError if Pillow or the format cannot."""
    buffer = BytesIO()
    try:
        Image.fromarray(image.permute(1, 2, 0).contiguous().numpy()).save(buffer, form, **settings)
    except (KeyError, OSError, ValueError) as error:
        raise UserError(f"Pillow cannot write {image.shape[2]}x{image.shape[1]} pixels as {form}: {error}.") from error
    return buffer.getvalue()


def read(data: bytes, form: str) -> Tensor:
    """A file of Pillow's format `form` to the image uint8 [3, H, W] RGB. Raises UserError if the bytes are not one."""
    try:
        with Image.open(BytesIO(data), formats=[form]) as opened:
            pixels = np.array(opened.convert("RGB"))
    except Exception as error:  # the readers raise many kinds
        raise UserError(f"the bitstream is damaged or not a {form} file.") from error
    return torch.from_numpy(pixels).permute(2, 0, 1).contiguous()


def require_working(method: ClassicalMethod, advice: str) -> None:
    """Code one pixel. Raises UserError with the reason and the advice if that fails, as in builds without the codec."""
    try:
        method.decode(method.encode(torch.zeros(3, 1, 1, dtype=torch.uint8)))
    except UserError as error:
        raise UserError(f"{str(error).rstrip('.')}; {advice}.") from error


class PillowMethod(ClassicalMethod):
    """A format of Pillow. `form`: Pillow's name for it."""

    form: ClassVar[str]

    def __init__(self, parameters: Any, rate: float) -> None:
        super().__init__(parameters, rate)
        require_working(self, "install Pillow from its own wheels, which have all codecs")

    def settings(self) -> dict[str, Any]:
        """Options of Pillow's `save` at this rate."""
        return {}

    def encode(self, image: Tensor) -> bytes:
        return write(image, self.form, **self.settings())

    def decode(self, data: bytes) -> Tensor:
        return read(data, self.form)
