"""mmdetection networks: building, targets, total loss, and the light copy of a detector."""

from collections.abc import Sequence
from typing import Any

from icmbench.api import UserError
from icmbench.tasks._openmmlab import compiled_ops

with compiled_ops.toolbox_imports():
    from mmdet.registry import MODELS
    from mmdet.structures import DetDataSample
    from mmdet.utils import register_all_modules

    register_all_modules(init_default_scope=False)  # a default scope would exclude the other toolbox

from mmengine.config import ConfigDict
from mmengine.structures import InstanceData
from torch import Tensor, nn

from icmbench.tasks._data.coco import Boxes
from icmbench.tasks._openmmlab import models
from icmbench.tasks._openmmlab.levels import FeatureLevels
from icmbench.tasks.detection import nanodet  # noqa: F401  (registers NanoDet's parts)

FINEST = 8  # stride of a light detector, in pixels of the network's input

MODELS.register_module(module=FeatureLevels, force=True)


def build(config: ConfigDict) -> nn.Module:
    """The detector of a config, initialised by its own rules."""
    network = models.build(MODELS, config)
    network.init_weights()  # type: ignore[operator]
    return network


def samples(inputs: Tensor, shape: tuple[int, int], targets: Sequence[Boxes], scale: float) -> list[Any]:
    """mmdet's data samples for a batch: boxes in pixels of the network's input, of which `shape` is the image."""
    samples = []
    for target in targets:
        meta = {
            "img_shape": shape,
            "ori_shape": target.size,
            "scale_factor": (shape[1] / target.size[1], shape[0] / target.size[0]),
            "pad_shape": tuple(inputs.shape[-2:]),
            "batch_input_shape": tuple(inputs.shape[-2:]),
        }
        instances = InstanceData(bboxes=target.boxes.to(inputs.device) * scale, labels=target.labels.to(inputs.device))
        sample = DetDataSample(metainfo=meta)
        sample.gt_instances = instances
        sample.ignored_instances = InstanceData(bboxes=inputs.new_zeros(0, 4))
        samples.append(sample)
    return samples


def total_loss(network: nn.Module, inputs: Tensor, batch: list[Any]) -> Tensor:
    """Sum of the detector's own losses."""
    losses = network.loss(inputs, batch)  # type: ignore[operator]
    total: Tensor = network.parse_losses(losses)[0]  # type: ignore[operator]
    return total


def light_config(config: ConfigDict, body: dict[str, int]) -> ConfigDict:
    """The same kind of detector on a feature map, behind a `body` of `FeatureLevels`: same heads, losses, assigners and classes.

    Raises UserError for a detector that has neither an RPN with one RoI head nor a single anchor-based head.
    """
    first = config.get("bbox_head") or config.get("rpn_head")
    one_roi_head = isinstance(config.get("roi_head", {}).get("bbox_head", {}), dict)
    if not isinstance(first, ConfigDict) or "anchor_generator" not in first or not one_roi_head:
        raise UserError(f"there is no branch for a {config.type}: it needs an anchor-based head, alone or with one RoI head.")
    single = "bbox_head" in config
    strides = [s for s in first.anchor_generator.strides if s >= FINEST]
    config.backbone = ConfigDict(type="FeatureLevels", strides=strides, **body)
    config.neck = None
    first.in_channels = first.feat_channels = body["width"]
    first.anchor_generator.strides = strides
    if "centers" in first.anchor_generator:
        first.anchor_generator.centers = [((s - 1) / 2, (s - 1) / 2) for s in strides]
    if not single:
        _narrow_roi_head(config.roi_head, strides, body["width"])
    return config


def _narrow_roi_head(roi_head: ConfigDict, strides: list[int], width: int) -> None:
    extractor, head = roi_head.bbox_roi_extractor, roi_head.bbox_head
    extractor.out_channels = head.in_channels = width
    extractor.featmap_strides = [s for s in extractor.featmap_strides if s in strides]
    head.fc_out_channels = min(head.get("fc_out_channels", 1024), 4 * width)
