"""Codecs that are ready to code: from the file of a trained one, or a classical one by name."""

from pathlib import Path
from typing import TYPE_CHECKING

import torch

from icmbench.api.classes import method_class
from icmbench.api.method import ClassicalMethod, TrainedMethod
from icmbench.base.errors import UserError
from icmbench.codecs.neural import Codec, NeuralCodec, saved_metadata
from icmbench.plugins.find import Plugins
from icmbench.schema.protocol import CodecSpec

if TYPE_CHECKING:  # takes seconds to import, and classical codecs do without
    from compressai.models import CompressionModel


def load_codec(path: Path, plugins: Plugins, device: torch.device, spec: CodecSpec | None = None) -> NeuralCodec:
    """A codec that a run saved, with the modules that its method adds; `spec` is for files of earlier versions.

    Raises UserError where the file is not a whole codec or its method is not there.
    """
    saved = saved_metadata(path)

    def extend(model: "CompressionModel") -> None:
        kind = method_class(plugins, saved["method"]) if "method" in saved else TrainedMethod
        if issubclass(kind, TrainedMethod):
            kind.extend(model, kind.Parameters.model_validate_json(saved.get("parameters", "{}")))

    return NeuralCodec.load(path, device, spec, extend)


def codec_of(name: str, plugins: Plugins, device: torch.device) -> Codec:
    """For decoding: the saved codec whose file is called so, or the classical method. Raises UserError where there is neither."""
    if name not in plugins.find("methods"):
        return load_codec(Path(name), plugins, device)
    kind = method_class(plugins, name)
    if not issubclass(kind, ClassicalMethod):
        raise UserError(f"the method {name} is no codec of its own; name the codec.safetensors of its run.")
    return kind(kind.Parameters(), kind.rates[0])  # any rate: it is in the bytes
