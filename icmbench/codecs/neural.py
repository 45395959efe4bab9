"""Learned codecs: CompressAI models by name, their weights, and encoding and decoding for evaluation."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, cast

import safetensors.torch
import torch
from pydantic import ValidationError
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn
from torch.nn import functional as F

from icmbench.base.errors import UserError, unknown
from icmbench.codecs import container
from icmbench.schema.protocol import CodecSpec, Quantisation, describe_errors

if TYPE_CHECKING:  # takes seconds to import, and classical codecs do not need it
    from compressai.models import CompressionModel

Extend = Callable[["CompressionModel"], None]

MESSAGE = 400  # characters of a reader's own message that are shown
_SPEC = "codec"  # the key of the CodecSpec in a file's metadata


class Codec(Protocol):
    """The interface of any method, learned or classical, for evaluation."""

    def encode(self, image: Tensor) -> bytes:
        """Image uint8 [3, H, W] to the bytes of a whole file."""

    def decode(self, data: bytes) -> Tensor:
        """Bytes to the image uint8 [3, H, W]."""


@dataclass(frozen=True)
class Coded:
    """The output of a codec in training: `images` [B, 3, H, W], about 0..1, not clamped.

    `bits`: the estimated bits of each latent's elements, [B, C, h, w].
    """

    images: Tensor
    bits: dict[str, Tensor]

    @property
    def bpp(self) -> Tensor:
        """The estimated rate in bits per pixel, a scalar."""
        return torch.stack([bits.sum() for bits in self.bits.values()]).sum() / (self.images.numel() / 3)


def build_model(spec: CodecSpec) -> "CompressionModel":
    """The CompressAI model `spec.architecture` with its sizes, freshly initialised.

    Raises UserError for a name that CompressAI does not have or sizes that its constructor does not take.
    """
    from compressai import models  # noqa: F401  (it registers them)
    from compressai.registry import MODELS

    if spec.architecture not in MODELS:
        raise unknown("CompressAI architecture", spec.architecture, MODELS)
    try:
        return cast("CompressionModel", MODELS[spec.architecture](**spec.sizes))
    except Exception as error:  # constructors of layers raise many kinds
        raise UserError(f"{spec.architecture} does not take the sizes {spec.sizes}: {error}.") from error


def load_weights(model: "CompressionModel", path: Path) -> None:
    """Load a codec's safetensors, or a CompressAI checkpoint (`.pth`, `.tar`; tensors only, no code is run)."""
    try:
        if path.suffix == ".safetensors":
            state: dict[str, Any] = safetensors.torch.load_file(path)
        else:
            state = torch.load(path, map_location="cpu", weights_only=True)
            from compressai.zoo.pretrained import load_pretrained

            state = load_pretrained(state.get("state_dict", state))
        model.load_state_dict(state)
    except Exception as error:  # the readers raise many kinds
        lines = [line.strip() for line in str(error).splitlines()]
        reason = " ".join(lines)[:MESSAGE] or type(error).__name__  # torch names what does not fit from the second line on
        raise UserError(f"cannot load codec weights from {path}: {reason}") from error


def estimate_bits(likelihoods: dict[str, Tensor]) -> dict[str, Tensor]:
    """Estimated bits of every latent's elements, -log2 p."""
    return {name: -torch.log2(p.float()) for name, p in likelihoods.items()}


def code_for_training(model: "CompressionModel", images: Tensor, quantisation: Quantisation = "noise") -> Coded:
    """Differentiable forward pass; images float [B, 3, H, W] in 0..1. The rate is that of latents with additive noise.

    `quantisation`: whether the decoder gets those, or rounded ones with gradients straight through (arXiv 2007.08739).
    Raises UserError for rounding with a context model, whose latents are quantised where no hook sees them.
    """
    with _rounded(model) if quantisation == "rounding" else nullcontext():
        output = model(images)
    return Coded(output["x_hat"], estimate_bits(output["likelihoods"]))


@contextmanager
def _rounded(model: "CompressionModel") -> Iterator[None]:
    """While the block runs, what reads an entropy model's latents gets rounded ones."""
    from compressai.entropy_models import EntropyModel

    if hasattr(model, "context_prediction"):
        raise UserError(f"{type(model).__name__} has a context model: set training.quantisation to 'noise'.")
    entropy_models = [module for module in model.modules() if isinstance(module, EntropyModel)]
    hooks = [module.register_forward_hook(_round, with_kwargs=True) for module in entropy_models]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


def _round(
    entropy_model: nn.Module, arguments: tuple[Tensor, ...], named: dict[str, Any], output: tuple[Tensor, Tensor]
) -> tuple[Tensor, Tensor]:
    """Replace the noisy latents of an entropy model's output by rounded ones, as coding rounds them."""
    latents = arguments[0]
    medians = getattr(entropy_model, "_get_medians", None)
    means = medians().reshape(1, -1, 1, 1) if medians else named.get("means", arguments[2] if len(arguments) > 2 else 0.0)
    rounded = (latents - means).round() + means
    return latents + (rounded - latents).detach(), output[1]


def densities(module: nn.Module) -> list[nn.Parameter]:
    """The parameters of the factorised densities in a module. Quantiles are not among them: they are computed, not trained."""
    from compressai.entropy_models import EntropyBottleneck

    found = [own for own in module.modules() if isinstance(own, EntropyBottleneck)]
    return [parameter for own in found for name, parameter in own.named_parameters() if name != "quantiles"]


def _back_and_forth(side: int, total: int) -> Tensor:
    """Indices 0 .. side - 1, then back without repeating the end, and so on: mirrored padding of any length."""
    period = max(2 * (side - 1), 1)
    indices = torch.arange(total) % period
    return torch.minimum(indices, period - indices)


@contextmanager
def _one_thread(device: torch.device) -> Iterator[None]:
    """One thread on a CPU: sums depend on the number of threads, and a decoder that rounds unlike the encoder misreads bits."""
    before = torch.get_num_threads()
    if device.type != "cpu" or before == 1:
        yield
        return
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@contextmanager
def _in_place(model: "CompressionModel", **networks: nn.Module) -> Iterator[None]:
    """Replace a model's own networks, where it has them, while the block runs."""
    own = {name: getattr(model, name) for name in networks if hasattr(model, name)}
    try:
        for name in own:
            setattr(model, name, networks[name])
        yield
    finally:
        for name, network in own.items():
            setattr(model, name, network)


class _Known(nn.Module):
    """A network whose output is known."""

    def __init__(self, output: Tensor) -> None:
        super().__init__()
        self.output = output

    def forward(self, x: Tensor) -> Tensor:
        return self.output


def saved_metadata(path: Path) -> dict[str, str]:
    """The metadata of a safetensors file. Raises UserError if it is not one."""
    try:
        with safe_open(path, "pt") as file:
            return dict(file.metadata() or {})
    except (OSError, SafetensorError) as error:
        raise UserError(f"cannot load a codec from {path}: {error}.") from error


def _saved_spec(path: Path) -> CodecSpec:
    metadata = saved_metadata(path)
    if _SPEC not in metadata:
        raise UserError(f"{path} does not say which codec it holds; use the codec.safetensors that 'icmbench run' writes.")
    try:
        return CodecSpec.model_validate_json(metadata[_SPEC])
    except ValidationError as error:
        raise UserError(f"{path} does not hold a valid codec: {describe_errors(error)}.") from error


class NeuralCodec:
    """Real bitstreams from a CompressAI model, arbitrary image sizes, 8-bit output.

    The image is padded at the right and bottom to a multiple of `spec.pad_multiple` and cropped after decoding.
    """

    def __init__(self, model: "CompressionModel", spec: CodecSpec) -> None:
        self.model, self.spec = model.eval(), spec

    @classmethod
    def load(cls, path: Path, device: torch.device, extend: Extend = lambda model: None) -> "NeuralCodec":
        """The codec that `save` wrote, from its file alone.

        `extend` adds the modules that are not the architecture's own. Raises UserError if the file is not a whole codec.
        """
        spec = _saved_spec(path)
        model = build_model(spec)
        extend(model)
        load_weights(model, path)
        return cls(model.to(device), spec)

    @property
    def device(self) -> torch.device:
        """The device of the weights."""
        device: torch.device = next(self.model.parameters()).device
        return device

    def refit(self) -> None:
        """Fit the quantiles and the entropy coder's tables to the trained densities; needed once before coding."""
        with torch.no_grad():
            self.model.update(force=True, update_quantiles=True)

    def padded(self, image: Tensor) -> Tensor:
        """The network's input for an image uint8 [3, H, W]: float [1, 3, H', W'] in 0..1 on its device."""
        multiple = self.spec.pad_multiple
        height, width = image.shape[-2:]
        x = image.to(self.device, torch.float32)[None] / 255
        padding = (0, -width % multiple, 0, -height % multiple)
        if self.spec.padding == "constant":
            return F.pad(x, padding, value=0.5)
        if self.spec.padding == "reflect":
            return x[:, :, _back_and_forth(height, height + padding[3])][..., _back_and_forth(width, width + padding[1])]
        return F.pad(x, padding, mode=self.spec.padding)

    @contextmanager
    def latents(self) -> Iterator[list[Tensor]]:
        """Collects the latents that g_a gives while the block runs, each [1, M, height, width] in the model's type.

        A model without a g_a gives none.
        """
        latents: list[Tensor] = []
        if not hasattr(self.model, "g_a"):
            yield latents
            return
        hook = self.model.g_a.register_forward_hook(lambda network, given, latent: latents.append(latent))
        try:
            yield latents
        finally:
            hook.remove()

    @torch.no_grad()
    def estimated_bits(self, image: Tensor, latent: Tensor | None = None) -> float:
        """Bits by the likelihoods for the padded image uint8 [3, H, W].

        `latent`: the output of g_a for this image (see `latents`), if it is known: then only the entropy model runs.
        """
        known = {"g_a": _Known(latent)} if latent is not None else {}
        with _in_place(self.model, g_s=nn.Identity(), **known):  # the decoded image is not needed
            bits = estimate_bits(self.model(self.padded(image))["likelihoods"])
        return float(torch.stack([latent_bits.sum() for latent_bits in bits.values()]).sum())

    @torch.no_grad()
    def encode(self, image: Tensor) -> bytes:
        """Image uint8 [3, H, W] to the bytes of a container."""
        with _one_thread(self.device):
            output = self.model.compress(self.padded(image))
        height, width = image.shape[-2:]
        latent = (int(output["shape"][0]), int(output["shape"][1]))
        return container.pack(container.Content((height, width), latent, [group[0] for group in output["strings"]]))

    @torch.no_grad()
    def decode(self, data: bytes) -> Tensor:
        """Bytes of a container to the image uint8 [3, H, W]. Raises UserError if they are not of this codec."""
        content = container.unpack(data)
        height, width = content.size
        padded = (side + -side % self.spec.pad_multiple for side in content.size)
        latent = tuple(-(-side // self.model.downsampling_factor) for side in padded)
        if content.latent != latent or 0 in latent:
            raise UserError(f"the bitstream does not fit the codec: latent size {content.latent} instead of {latent}.")
        try:
            with _one_thread(self.device):
                output = self.model.decompress([[piece] for piece in content.strings], torch.Size(latent))
        except (AssertionError, IndexError, ValueError) as error:
            raise UserError(f"the bitstream does not fit the codec {self.spec.architecture}.") from error
        image = output["x_hat"][0, :, :height, :width]
        decoded: Tensor = (image.clamp(0, 1) * 255).round().to(torch.uint8).cpu()
        return decoded

    def save(self, path: Path, metadata: dict[str, str] | None = None) -> None:
        """Write the weights and coder tables as safetensors, with the spec in the metadata, as `load` needs them."""
        tensors = {name: value.contiguous().cpu() for name, value in self.model.state_dict().items()}
        path.write_bytes(safetensors.torch.save(tensors, (metadata or {}) | {_SPEC: self.spec.model_dump_json()}))
