"""Networks from OpenMMLab configs and checkpoints, and their preprocessing as differentiable tensor code."""

import hashlib
import json
import warnings
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from mmengine.config import Config, ConfigDict
from mmengine.logging import MMLogger
from mmengine.registry import DefaultScope, Registry
from torch import Tensor, nn
from torch.nn import functional as F

from icmbench.api import Strict, UserError, Weights, data_root, verified_path

MMLogger.get_current_instance().setLevel("ERROR")  # it would print every parameter's initialisation
STOCK = {"mmdet": "mmdetection", "mmseg": "mmsegmentation"}


class RecognizerOptions(Strict):
    """The network, and the size of its images.

    `config`: an OpenMMLab config: `mmdet:PATH` or `mmseg:PATH` for a stock one, `tasks:PATH` for one shipped here,
    else a path (absolute or below `$ICMBENCH_DATA`). `checkpoint`: None means fresh weights.
    `scale`: (long, short) side that a whole image is resized to fit, aspect kept; None: not resized.
    `crop_scale`: the resize factor of training crops, which should be the usual factor of whole images.
    """

    config: str
    checkpoint: Weights | None = None
    scale: tuple[int, int] | None = None
    crop_scale: float = 1.0


def read_config(name: str) -> ConfigDict:
    """The `model` part of a config, changed so that it downloads nothing and runs on one device.

    Raises UserError if it is absent or broken.
    """
    model = _whole_config(name).get("model")
    if not isinstance(model, ConfigDict):
        raise UserError(f"the recogniser's config {_config_path(name)} has no model.")
    _localise(model)
    return model


def _whole_config(name: str) -> Config:
    path = _config_path(name)
    if not path.is_file():
        raise UserError(f"the recogniser's config {path} is missing.")
    try:
        return Config.fromfile(path)
    except Exception as error:  # configs are Python code
        raise UserError(f"the recogniser's config {path} cannot be read: {error}.") from error


def class_count(model: ConfigDict) -> int | None:
    """How many classes a network has, None if its config does not say so in the usual place."""
    head = model.get("decode_head") or model.get("bbox_head") or model.get("roi_head", {}).get("bbox_head") or {}
    last = head[-1] if isinstance(head, (list, tuple)) else head
    count: int | None = last.get("num_classes")
    return count


def class_names(name: str, datasets: Registry) -> tuple[str, ...]:
    """The names of a network's classes in its order: of `metainfo` in its config, else of the data set that it was made for.

    Empty if the config names no classes, or not as many as the network has.
    """
    config = _whole_config(name)
    loader = config.get("val_dataloader")
    dataset = loader.get("dataset", {}) if isinstance(loader, dict) else {}
    kind = datasets.get(dataset["type"]) if isinstance(dataset.get("type"), str) else dataset.get("type")
    own = dataset.get("metainfo") or config.get("metainfo") or getattr(kind, "METAINFO", {})
    names = own.get("classes", ())
    return () if isinstance(names, str) or len(names) != class_count(config.model) else tuple(names)


def config_fingerprint(name: str) -> str:
    """SHA-256 of the result of `read_config`: the content with that of the base files, independent of their paths."""
    content = json.dumps(read_config(name).to_dict(), sort_keys=True, default=_spelt)
    return hashlib.sha256(content.encode()).hexdigest()


def _spelt(value: Any) -> str:
    """The name of a class or function, because its printed form contains an address."""
    return f"{value.__module__}.{value.__qualname__}" if hasattr(value, "__qualname__") else repr(value)


def _config_path(name: str) -> Path:
    package, _, rest = name.partition(":")
    if package in STOCK and rest:
        import importlib.util

        spec = importlib.util.find_spec(package)
        if spec is None or spec.origin is None:
            raise UserError(f"{STOCK[package]} is not installed.")
        return Path(spec.origin).parent / ".mim" / "configs" / rest
    if package == "tasks" and rest:
        return Path(__file__).parents[1] / rest
    return data_root() / name


def _localise(node: Any) -> None:
    """In place: no pretrained downloads, plain batch norm, torchvision's RoIAlign."""
    if isinstance(node, dict):
        for key in ("init_cfg", "pretrained"):
            if key in node:
                node[key] = None
        if node.get("type") in ("SyncBN", "naiveSyncBN2d"):
            node["type"] = "BN"
        if node.get("type") == "RoIAlign":
            node["use_torchvision"] = True
        for value in node.values():
            _localise(value)
    elif isinstance(node, (list, tuple)):
        for value in node:
            _localise(value)


def build(registry: Any, model: ConfigDict) -> nn.Module:
    """The network of a `model` config. Raises UserError if the toolbox cannot build it."""
    try:
        with warnings.catch_warnings(), DefaultScope.overwrite_default_scope(registry.scope):
            warnings.simplefilter("ignore")
            network: nn.Module = registry.build(model)
    except Exception as error:  # toolboxes raise anything
        raise UserError(f"the toolbox cannot build the network: {type(error).__name__} {error}.") from error
    return network


def load_checkpoint(network: nn.Module, weights: Weights) -> None:
    """Load a safetensors or OpenMMLab checkpoint. Raises UserError unless it contains every parameter."""
    path = verified_path(weights)
    try:
        if path.suffix == ".safetensors":
            state: dict[str, Tensor] = safetensors.torch.load_file(path)
        else:
            content = torch.load(path, map_location="cpu", weights_only=True)
            state = content.get("state_dict", content)
    except Exception as error:  # damaged files raise many kinds
        raise UserError(f"cannot read the checkpoint {path}: {(str(error).splitlines() or [type(error).__name__])[0]}") from error
    try:
        network.load_state_dict(state)
    except RuntimeError as error:
        raise UserError(f"the checkpoint {path} does not fit the config: {_brief(error)}") from error


def _brief(error: RuntimeError) -> str:
    lines = [line.strip() for line in str(error).splitlines()[1:3]]
    return " ".join(lines)[:300]


class Preprocessor:
    """The recogniser's own preprocessing: resize, channel order, normalise, pad; from images float [B, 3, H, W] in 0..1."""

    def __init__(self, config: ConfigDict, options: RecognizerOptions) -> None:
        own = config.get("data_preprocessor", {})
        self.mean = torch.tensor(own.get("mean", [0.0, 0.0, 0.0])).view(3, 1, 1)
        self.std = torch.tensor(own.get("std", [1.0, 1.0, 1.0])).view(3, 1, 1)
        self.rgb = bool(own.get("bgr_to_rgb", False))
        self.divisor = int(own.get("pad_size_divisor", 1))
        self.options = options

    def scale_of(self, height: int, width: int) -> float:
        """Resize factor for a whole image."""
        if self.options.scale is None:
            return 1.0
        long, short = max(self.options.scale), min(self.options.scale)
        return min(long / max(height, width), short / min(height, width))

    def __call__(self, images: Tensor, scale: float) -> tuple[Tensor, tuple[int, int]]:
        """The network input, and the (height, width) of the image in it, without padding."""
        height, width = (round(side * scale) for side in images.shape[-2:])
        if scale != 1:
            images = F.interpolate(images, (height, width), mode="bilinear", align_corners=False)
        images = images if self.rgb else images.flip(1)
        x = (images * 255 - self.mean.to(images.device)) / self.std.to(images.device)
        return F.pad(x, (0, -width % self.divisor, 0, -height % self.divisor)), (height, width)


def probe(network: nn.Module, module: nn.Module, size: int = 128) -> tuple[int, int]:
    """Channels and stride of the output of `module` inside `network.extract_feat`, measured on a blank input."""
    caught: list[Tensor] = []
    handle = module.register_forward_hook(lambda _, __, output: caught.append(output))
    try:
        with torch.no_grad():
            network.extract_feat(torch.zeros(1, 3, size, size, device=next(network.parameters()).device))  # type: ignore[operator]
    finally:
        handle.remove()
    return caught[0].shape[1], size // caught[0].shape[3]


def middle(backbone: nn.Module) -> nn.Module:
    """The stage in the middle of a backbone: the second of its four `layerN`, else its middle child."""
    stages = [child for name, child in backbone.named_children() if name.startswith(("layer", "stage"))]
    stages = stages or list(backbone.children())
    return stages[(len(stages) - 1) // 2]
