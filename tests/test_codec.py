"""Learned codecs: real bytes in and out, for any size, any padding and any process."""

import subprocess
import sys
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
import torch
from compressai.models import CompressionModel
from torch import Tensor, nn

from icmbench.base.errors import UserError
from icmbench.codecs import container
from icmbench.codecs.neural import NeuralCodec, build_model, code_for_training, estimate_bits, load_weights
from icmbench.schema.protocol import CodecSpec

SPECS = {
    "bmshj2018-factorized": CodecSpec(architecture="bmshj2018-factorized", sizes={"N": 8, "M": 12}),
    "mbt2018-mean": CodecSpec(architecture="mbt2018-mean", sizes={"N": 8, "M": 12}),
    "cheng2020-attn": CodecSpec(architecture="cheng2020-attn", sizes={"N": 8}),
}
SIZES = [(37, 53), (64, 64), (1, 1), (65, 130), (5, 200)]


def make_codec(spec: CodecSpec, seed: int = 0) -> NeuralCodec:
    """A freshly initialised codec, scaled so that its latents are not all zero and as wide as it believes."""
    torch.manual_seed(seed)
    codec = NeuralCodec(build_model(spec), spec)
    model = codec.model
    with torch.no_grad():
        last = [layer for layer in model.g_a if isinstance(layer, nn.Conv2d)][-1]
        wanted = 3 if spec.architecture == "bmshj2018-factorized" else 1
        factor = wanted / model.g_a(picture(64, 128)[None].float() / 255).std()
        last.weight *= factor
        last.bias *= factor
        if wanted == 1:
            believed = model.entropy_parameters if hasattr(model, "context_prediction") else model.h_s
            believed[-1].bias[: believed[-1].out_channels // 2] += 1
    codec.refit()
    return codec


def picture(height: int, width: int, seed: int = 0) -> Tensor:
    """Smooth gradients with noise, uint8 [3, H, W]."""
    noise = torch.randn(3, height, width, generator=torch.Generator().manual_seed(seed))
    ramp = torch.linspace(0, 255, width).expand(3, height, width) + torch.tensor([0.0, 20, -20])[:, None, None]
    return (ramp + 12 * noise).clamp(0, 255).to(torch.uint8)


def sequential(model: CompressionModel, x: Tensor) -> Tensor:
    """Latent after latent, each rounded about the mean that the ones before it predict."""
    y = model.g_a(x)
    hyper = model.h_s(model.entropy_bottleneck(model.h_a(y))[0])
    y_hat = torch.zeros_like(y)
    for h, w in np.ndindex(*y.shape[2:]):
        context = model.context_prediction(y_hat)
        _, mean = model.entropy_parameters(torch.cat([hyper, context], 1)).chunk(2, 1)
        y_hat[..., h, w] = (y - mean).round()[..., h, w] + mean[..., h, w]
    decoded: Tensor = model.g_s(y_hat)
    return decoded


def reconstruction(codec: NeuralCodec, image: Tensor) -> Tensor:
    """The forward pass in eval mode, padded and cropped by hand.

    CompressAI's own forward pass of autoregressive models rounds without the mean, unlike their bitstreams.
    """
    height, width = image.shape[1:]
    rows = torch.arange(height + -height % 64).clamp(max=height - 1)
    columns = torch.arange(width + -width % 64).clamp(max=width - 1)
    with torch.no_grad():
        x = image[:, rows][:, :, columns][None].float() / 255
        output: Tensor = sequential(codec.model, x) if hasattr(codec.model, "context_prediction") else codec.model(x)["x_hat"]
    return (255 * output[0, :, :height, :width].clamp(0, 1)).round()


@pytest.fixture(scope="module", params=SPECS)
def codec(request: pytest.FixtureRequest) -> NeuralCodec:
    return make_codec(SPECS[request.param])


@pytest.mark.parametrize("size", SIZES)
def test_any_size_is_decoded_to_what_the_forward_pass_gives(codec: NeuralCodec, size: tuple[int, int]) -> None:
    image = picture(*size)
    data = codec.encode(image)
    decoded = codec.decode(data)
    assert isinstance(data, bytes)
    assert (decoded.dtype, decoded.shape) == (torch.uint8, image.shape)
    assert container.unpack(data).size == size
    difference = (decoded.float() - reconstruction(codec, image)).abs()
    assert difference.max() <= 1
    assert difference.mean() < 0.01  # rounded, not cut off


def test_the_bytes_depend_on_the_picture_and_on_nothing_else(codec: NeuralCodec) -> None:
    first = codec.encode(picture(64, 64))
    other = codec.encode(picture(64, 64).flip(2))
    torch.manual_seed(99)
    assert codec.encode(picture(64, 64)) == first != other
    assert not torch.equal(codec.decode(first), codec.decode(other))


def test_estimated_and_real_bits_are_close(codec: NeuralCodec) -> None:
    image = picture(192, 256)
    data = codec.encode(image)
    strings = container.unpack(data).strings
    header = len(data) - sum(map(len, strings))
    real, estimated = 8 * len(data), codec.estimated_bits(image)
    assert estimated > 500
    if hasattr(codec.model, "context_prediction"):
        assert real == pytest.approx(estimated, rel=0.3)  # CompressAI estimates with contexts that no decoder has
    else:  # at most 4 % for the 16-bit tables, a word to end each string, and the header
        assert estimated * 0.98 - 8 < real < estimated * 1.04 + 8 * (header + 8 * len(strings))


@pytest.mark.parametrize("spec", SPECS.values(), ids=SPECS.keys())
def test_estimated_bits_are_those_of_the_whole_forward_pass_without_its_networks(spec: CodecSpec) -> None:
    codec, image = make_codec(spec), picture(70, 90)
    with torch.no_grad():
        bits = estimate_bits(codec.model(codec.padded(image))["likelihoods"])
    expected = sum(float(latent.sum()) for latent in bits.values())
    with codec.latents() as latents:
        codec.encode(image)
    own, ran = (codec.model.g_a, codec.model.g_s), list[nn.Module]()
    for network in own:
        network.register_forward_hook(lambda network, given, output: ran.append(network))
    assert codec.estimated_bits(image) == pytest.approx(expected, rel=1e-6)
    assert ran == [codec.model.g_a]
    assert [codec.estimated_bits(image, latent) for latent in latents] == [pytest.approx(expected, rel=1e-6)]
    assert ran == [codec.model.g_a]
    with pytest.raises(RuntimeError):
        codec.estimated_bits(image[:2])
    assert (codec.model.g_a, codec.model.g_s) == own


@pytest.mark.parametrize("padding", get_args(CodecSpec.model_fields["padding"].annotation))
@pytest.mark.parametrize("size", [(37, 53), (3, 70), (1, 1)])
def test_every_padding_takes_every_size_and_keeps_the_picture(padding: Any, size: tuple[int, int]) -> None:
    codec = make_codec(SPECS["bmshj2018-factorized"].model_copy(update={"padding": padding}))
    image = picture(*size)
    assert codec.decode(codec.encode(image)).shape == image.shape
    padded = codec.padded(image)
    assert padded.shape == (1, 3, 64, 64 * -(-size[1] // 64))
    assert torch.equal((255 * padded[0, :, : size[0], : size[1]]).round().to(torch.uint8), image)
    border = {"constant": 0.5, "replicate": image[0, 0, -1] / 255, "reflect": image[0, 0, max(size[1] - 2, 0)] / 255}
    assert padded[0, 0, 0, size[1]] == pytest.approx(float(border[padding]))


def test_saved_weights_give_identical_bytes_and_pictures(codec: NeuralCodec, tmp_path: Path) -> None:
    image, path = picture(37, 53), tmp_path / "codec.safetensors"
    codec.save(path, {"note": "kept"})
    again = NeuralCodec.load(path, torch.device("cpu"))
    assert again.spec == codec.spec
    data = codec.encode(image)
    assert again.encode(image) == data
    assert torch.equal(again.decode(data), codec.decode(data))


@pytest.mark.slow
def test_a_fresh_process_decodes_the_same_pictures_from_bytes_and_weights(tmp_path: Path) -> None:
    codecs = {name: make_codec(spec) for name, spec in SPECS.items()}
    data = {name: codec.encode(picture(37, 53)) for name, codec in codecs.items()}
    for name, codec in codecs.items():
        codec.save(tmp_path / f"{name}.safetensors")
        (tmp_path / f"{name}.bytes").write_bytes(data[name])
    code = (
        "import sys, torch; from pathlib import Path; from icmbench.codecs.neural import NeuralCodec\n"
        "for path in Path(sys.argv[1]).glob('*.safetensors'):\n"
        "    codec = NeuralCodec.load(path, torch.device('cpu'))\n"
        "    image = codec.decode(path.with_suffix('.bytes').read_bytes())\n"
        "    path.with_suffix('.image').write_bytes(image.numpy().tobytes())"
    )
    subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=True)
    for name, codec in codecs.items():
        assert (tmp_path / f"{name}.image").read_bytes() == codec.decode(data[name]).numpy().tobytes()


def test_a_compressai_checkpoint_is_loaded_and_code_in_it_is_not_run(codec: NeuralCodec, tmp_path: Path) -> None:
    path, image = tmp_path / "checkpoint.pth.tar", picture(64, 64)
    torch.save({"state_dict": codec.model.state_dict(), "epoch": 3}, path)
    model = build_model(codec.spec)
    load_weights(model, path)
    assert NeuralCodec(model, codec.spec).encode(image) == codec.encode(image)
    torch.save({"state_dict": _Trap(tmp_path / "trapped")}, path)
    with pytest.raises(UserError, match="cannot load codec weights"):
        load_weights(model, path)
    assert not (tmp_path / "trapped").exists()


class _Trap:
    """Creates a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.path,)


@pytest.mark.parametrize(
    ("architecture", "sizes", "reason"),
    [
        ("bmshj2018-factorised", {"N": 8, "M": 12}, "did you mean 'bmshj2018-factorized'"),
        ("bmshj2018-factorized", {"N": 8}, "does not take the sizes"),
        ("bmshj2018-factorized", {"N": 8, "M": 12, "K": 3}, "does not take the sizes"),
        ("bmshj2018-factorized", {"N": -8, "M": 12}, "does not take the sizes"),
        ("mbt2018-mean", {}, "does not take the sizes"),
    ],
)
def test_an_unknown_architecture_or_wrong_sizes_are_a_sentence(architecture: str, sizes: dict[str, int], reason: str) -> None:
    with pytest.raises(UserError, match=reason) as caught:
        build_model(CodecSpec(architecture=architecture, sizes=sizes))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("suffix", [".safetensors", ".pth"])
@pytest.mark.parametrize("damage", ["missing", "empty", "garbage", "half", "other sizes", "other architecture"])
def test_weights_that_cannot_be_loaded_are_a_sentence(tmp_path: Path, suffix: str, damage: str) -> None:
    path, spec = tmp_path / f"codec{suffix}", SPECS["bmshj2018-factorized"]
    other = spec.model_copy(update={"sizes": {"N": 9, "M": 12}}) if damage == "other sizes" else spec
    other = SPECS["mbt2018-mean"] if damage == "other architecture" else other
    codec = make_codec(other)
    codec.save(path) if suffix == ".safetensors" else torch.save(codec.model.state_dict(), path)
    whole = path.read_bytes()
    if damage == "missing":
        path.unlink()
    elif damage in ("empty", "garbage", "half"):
        path.write_bytes({"empty": b"", "garbage": b"garbage" * 99, "half": whole[: len(whole) // 2]}[damage])
    with pytest.raises(UserError, match="cannot load codec weights") as caught:
        load_weights(build_model(spec), path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_bitstream_that_does_not_fit_the_codec_is_a_sentence(codec: NeuralCodec) -> None:
    content = container.unpack(codec.encode(picture(37, 53)))
    first, *rest = content.strings
    for wrong in (
        container.Content((370, 53), content.latent, content.strings),
        container.Content((0, 0), content.latent, content.strings),
        container.Content(content.size, (0, 0), content.strings),
        container.Content(content.size, (content.latent[0] + 1, content.latent[1]), content.strings),
        container.Content(content.size, (2**34, 2**34), content.strings),
        container.Content(content.size, content.latent, []),
        container.Content(content.size, content.latent, [first, *rest, b"more"]),
    ):
        with pytest.raises(UserError, match="bitstream"):
            codec.decode(container.pack(wrong))


def test_the_estimate_in_training_is_bits_per_pixel_and_has_gradients() -> None:
    torch.manual_seed(0)
    model: CompressionModel = build_model(SPECS["mbt2018-mean"]).train()
    images = torch.stack([picture(64, 128, seed) for seed in range(2)]).float() / 255
    torch.manual_seed(1)
    coded = code_for_training(model, images)
    torch.manual_seed(1)
    likelihoods = model(images)["likelihoods"]
    bits = sum(float(-p.log2().sum()) for p in likelihoods.values())
    assert coded.images.shape == images.shape
    assert float(coded.bpp) == pytest.approx(bits / (2 * 64 * 128), rel=1e-5)
    (coded.bpp + coded.images.mean()).backward()
    assert all(p.grad is not None for name, p in model.named_parameters() if not name.endswith("quantiles"))


@pytest.mark.parametrize("architecture", ["bmshj2018-factorized", "bmshj2018-hyperprior", "mbt2018-mean"])
def test_with_rounding_the_decoder_gets_the_latents_that_coding_gives_it(architecture: str) -> None:
    torch.manual_seed(0)
    model = build_model(CodecSpec(architecture=architecture, sizes={"N": 8, "M": 12})).train()
    images, decoder_input = 5 * torch.rand(2, 3, 64, 64), list[Tensor]()
    with torch.no_grad():
        model.g_a[-1].weight.mul_(100)  # latents of many sizes
    model.g_s.register_forward_pre_hook(lambda _, given: decoder_input.append(given[0]))
    torch.manual_seed(1)
    rounded = code_for_training(model, images, "rounding")
    coded = model.eval()(images)["x_hat"]
    assert torch.allclose(decoder_input[0], decoder_input[1], atol=1e-5)
    assert torch.allclose(rounded.images, coded, atol=1e-4)
    torch.manual_seed(1)
    noisy = code_for_training(model.train(), images)
    last = next(iter(rounded.bits))
    assert torch.equal(rounded.bits[last], noisy.bits[last]) == (architecture == "bmshj2018-factorized")  # z is rounded, too
    rounded.images.sum().backward()
    assert model.g_a[0].weight.grad.abs().sum() > 0


def test_rounding_is_refused_where_a_context_model_quantises() -> None:
    model = build_model(CodecSpec(architecture="mbt2018", sizes={"N": 8, "M": 12}))
    with pytest.raises(UserError, match=r"has a context model: set training.quantisation to 'noise'"):
        code_for_training(model, torch.rand(1, 3, 64, 64), "rounding")


def test_bits_per_element_sum_up_to_the_rate() -> None:
    model = build_model(CodecSpec(architecture="mbt2018-mean", sizes={"N": 8, "M": 12}))
    coded = code_for_training(model, torch.rand(2, 3, 64, 128))
    assert {name: tuple(bits.shape) for name, bits in coded.bits.items()} == {"y": (2, 12, 4, 8), "z": (2, 8, 1, 2)}
    assert coded.bpp.item() == pytest.approx(sum(b.sum().item() for b in coded.bits.values()) / (2 * 64 * 128), rel=1e-5)
