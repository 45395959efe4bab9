"""mmsegmentation networks: building, total loss, prediction, and the light copy of a segmenter."""

from collections.abc import Sequence

from icmbench.api import UserError
from icmbench.tasks._openmmlab import compiled_ops

with compiled_ops.toolbox_imports():
    from mmseg.registry import MODELS
    from mmseg.structures import SegDataSample
    from mmseg.utils import register_all_modules

    register_all_modules(init_default_scope=False)  # a default scope would exclude the other toolbox

import torch
from mmengine.config import ConfigDict
from mmengine.structures import PixelData
from torch import Tensor, nn
from torch.nn import functional as F

from icmbench.tasks._openmmlab import models
from icmbench.tasks._openmmlab.levels import FeatureLevels

STRIDE = 8  # of a light segmenter's feature map, in pixels of the network's input

MODELS.register_module(module=FeatureLevels, force=True)


def build(config: ConfigDict) -> nn.Module:
    """The segmenter of a config, initialised by its own rules."""
    network = models.build(MODELS, config)
    network.init_weights()  # type: ignore[operator]
    return network


def total_loss(network: nn.Module, inputs: Tensor, masks: Sequence[Tensor]) -> Tensor:
    """Sum of the segmenter's own losses against masks int64 [H, W]."""
    batch = []
    for mask in masks:
        sample = SegDataSample(metainfo={"img_shape": tuple(mask.shape)})
        sample.gt_sem_seg = PixelData(data=mask[None].to(inputs.device))
        batch.append(sample)
    total: Tensor = network.parse_losses(network.loss(inputs, batch))[0]  # type: ignore[operator]
    return total


def predict(network: nn.Module, inputs: Tensor, shape: tuple[int, int], size: tuple[int, int]) -> Tensor:
    """Class numbers int64 [B, H, W] of images of `size`; `shape`: their size in the network's input, without padding.

    `inputs`: images, at least as large as `shape`, or the feature maps that a light segmenter reads.
    """
    whole = (max(inputs.shape[-2], shape[0]), max(inputs.shape[-1], shape[1]))
    meta = {"ori_shape": size, "img_shape": whole, "pad_shape": whole}
    logits = network.inference(inputs, [meta] * len(inputs))[..., : shape[0], : shape[1]]  # type: ignore[operator]
    if tuple(logits.shape[-2:]) != size:
        logits = F.interpolate(logits, size, mode="bilinear", align_corners=False)
    return torch.as_tensor(logits.argmax(1))


def light_config(config: ConfigDict, body: dict[str, int]) -> ConfigDict:
    """The same kind of segmenter on a feature map, behind a `body` of `FeatureLevels`: same head, loss and classes.

    Raises UserError for a head that reads several feature maps.
    """
    head = config.decode_head
    if not isinstance(head, ConfigDict) or not isinstance(head.get("in_channels"), int):
        raise UserError(f"there is no branch for this {config.type}: its head must read one feature map.")
    config.backbone = ConfigDict(type="FeatureLevels", strides=[STRIDE], **body)
    config.neck = config.auxiliary_head = None
    head.in_channels, head.in_index, head.channels = body["width"], 0, body["width"]
    if "c1_in_channels" in head:
        head.c1_in_channels, head.c1_channels = 0, 0
    return config
