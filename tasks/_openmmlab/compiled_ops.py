"""A stand-in for mmcv's compiled operators where mmcv was installed without them.

mmdet imports `mmcv._ext`, but the networks here use only its `nms`, which torchvision has too. All other operators raise
a clear error when they are called. A real `mmcv._ext` is used if it exists.
"""

import importlib.util
import io
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stdout
from types import ModuleType
from typing import Any

import torch
from torch import Tensor
from torchvision.ops import nms as torchvision_nms

from icmbench.api import UserError


def _nms(boxes: Tensor, scores: Tensor, iou_threshold: float, offset: int) -> Tensor:
    """mmcv's nms: `offset` 1 counts the pixels at both ends of a box, so the box is one pixel wider."""
    widened = boxes + torch.tensor([0.0, 0.0, offset, offset], device=boxes.device) if offset else boxes
    kept: Tensor = torchvision_nms(widened, scores, iou_threshold)
    return kept


class _Operators(ModuleType):
    nms = staticmethod(_nms)

    def __getattr__(self, name: str) -> Callable[..., Any]:
        if name.startswith("__"):
            raise AttributeError(name)

        def missing(*_: Any, **__: Any) -> None:
            raise UserError(f"this network needs mmcv's compiled operator '{name}'; install an mmcv built with its operators.")

        return missing


@contextmanager
def toolbox_imports() -> Iterator[None]:
    """A block that imports mmdet or mmseg: operators are in place, and remarks about optional packages are not printed."""
    install()
    with redirect_stdout(io.StringIO()):
        yield


def install() -> None:
    """Install the stand-in as `mmcv._ext` unless the real one exists."""
    if "mmcv._ext" not in sys.modules and importlib.util.find_spec("mmcv._ext") is None:
        sys.modules["mmcv._ext"] = _Operators("mmcv._ext")
