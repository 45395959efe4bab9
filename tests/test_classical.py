"""The classical codecs: whole files that decode by themselves, damaged ones refused, several images at once."""

import itertools
import threading
import time
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from icmbench.api.method import ClassicalMethod
from icmbench.api.task import Sample
from icmbench.base.errors import UserError
from icmbench.experiment.evaluate import code_dataset, networks, psnr
from icmbench.methods import _ffmpeg
from icmbench.methods.avif import Avif
from icmbench.methods.hevc import Hevc
from icmbench.methods.jpeg import Jpeg
from icmbench.methods.jpeg2000 import Jpeg2000
from icmbench.methods.jpegxl import JpegXl
from icmbench.methods.uncompressed import Uncompressed
from icmbench.methods.vvc import Vvc
from icmbench.methods.webp import Webp

LOSSY: tuple[type[ClassicalMethod], ...] = (Jpeg, Jpeg2000, Webp, Avif, JpegXl, Hevc, Vvc)
ALL = (*LOSSY, Uncompressed)
each = pytest.mark.parametrize("kind", ALL, ids=lambda kind: kind.__name__)
each_lossy = pytest.mark.parametrize("kind", LOSSY, ids=lambda kind: kind.__name__)


def make(kind: type[ClassicalMethod], rate: float | None = None, **parameters: Any) -> ClassicalMethod:
    """The method with its defaults, in the middle of its rates unless one is given."""
    return kind(kind.Parameters(**parameters), kind.rates[len(kind.rates) // 2] if rate is None else rate)


def picture(height: int, width: int, seed: int = 0) -> Tensor:
    """Smooth colours with some texture and a few edges, as photographs have; uint8 [3, H, W]."""
    rng = np.random.default_rng(seed)
    coarse = Image.fromarray(rng.integers(30, 226, (6, 6, 3), np.uint8))
    smooth = np.array(coarse.resize((width, height), Image.Resampling.BICUBIC), np.float32)
    grain = rng.normal(0, 4, (height, width, 1))
    smooth[height // 3 : height // 2, width // 4 : width // 2] = rng.integers(0, 256, 3)
    return torch.from_numpy((smooth + grain).clip(0, 255).astype(np.uint8)).permute(2, 0, 1).contiguous()


@each
@pytest.mark.parametrize("size", [(1, 1), (1, 70), (37, 1), (33, 47), (64, 96)])
def test_every_size_comes_back_from_the_bytes_alone(kind: type[ClassicalMethod], size: tuple[int, int]) -> None:
    image = picture(*size)
    decoded = make(kind, kind.rates[0]).decode(make(kind, kind.rates[-1]).encode(image))
    assert decoded.dtype == torch.uint8
    assert decoded.shape == image.shape
    assert decoded.is_contiguous()
    assert psnr(decoded, image) > 28


@each_lossy
def test_rate_and_quality_rise_along_the_rates(kind: type[ClassicalMethod]) -> None:
    image, sizes, qualities = picture(128, 128), [], []
    for rate in kind.rates:
        codec = make(kind, rate)
        data = codec.encode(image)
        sizes.append(8 * len(data) / 128**2)
        qualities.append(psnr(codec.decode(data), image))
    assert all(low < high for low, high in itertools.pairwise(sizes))
    assert all(low < high for low, high in itertools.pairwise(qualities))
    assert 6 <= len(kind.rates) <= 8
    assert sizes[0] < 0.4
    assert 0.6 < sizes[-1] < 8


@each
def test_the_same_image_gives_the_same_bytes(kind: type[ClassicalMethod]) -> None:
    image = picture(70, 90)
    assert make(kind).encode(image) == make(kind).encode(image)


@each_lossy
def test_colours_are_neither_swapped_nor_shifted(kind: type[ClassicalMethod]) -> None:
    colours = torch.tensor([[220, 30, 40], [20, 200, 60], [30, 50, 210], [255, 255, 255], [0, 0, 0], [128, 128, 128]])
    image = colours.T.to(torch.uint8)[:, None, :, None].expand(3, 48, 6, 48).reshape(3, 48, 6 * 48)
    codec = make(kind, kind.rates[-1])
    patches = codec.decode(codec.encode(image)).float().reshape(3, 48, 6, 48)[..., 8:-8]
    assert (patches.mean((1, 3)).T - colours).abs().max() < 4


@each
def test_a_flat_image_costs_little_more_than_headers(kind: type[ClassicalMethod]) -> None:
    flat = torch.full((3, 128, 128), 128, dtype=torch.uint8)
    limit = {Jpeg: 400, Avif: 330, Jpeg2000: 180, Uncompressed: 3 * 128**2 + 20}.get(kind, 120)  # bytes
    assert len(make(kind).encode(flat)) < limit


@each
def test_bytes_that_are_no_such_file_are_refused_in_a_sentence(kind: type[ClassicalMethod]) -> None:
    codec, other = make(kind), make(Webp if kind is not Webp else Jpeg)
    image = picture(64, 64)
    data = codec.encode(image)
    wrong = {
        "empty": b"",
        "other": other.encode(image),
        "noise": bytes(range(256)),
        "half": data[: len(data) // 2],
        "cut": data[:-20],
    }
    for name, damaged in wrong.items():
        with pytest.raises(UserError) as error:
            codec.decode(damaged)
        assert str(error.value).endswith("."), name
        assert "\n" not in str(error.value), name


@pytest.mark.parametrize("kind", [Hevc, Vvc])
def test_a_container_that_lies_about_the_size_is_refused(kind: type[ClassicalMethod]) -> None:
    codec = make(kind)
    data = bytearray(codec.encode(picture(40, 50)))
    assert (data[3], data[4]) == (40, 50)
    for place, value in ((3, 0), (3, 41), (4, 51), (5, 42)):
        with pytest.raises(UserError, match="another size"):
            codec.decode(bytes(data[:place]) + bytes([value]) + bytes(data[place + 1 :]))


def test_uncompressed_loses_nothing_and_costs_24_bits_a_pixel() -> None:
    codec, image = make(Uncompressed), picture(33, 47)
    data = codec.encode(image)
    assert torch.equal(codec.decode(data), image)
    assert 0 < len(data) - 3 * 33 * 47 < 20


def test_a_preset_changes_the_bytes() -> None:
    image = picture(64, 64)
    assert make(Hevc, 30, preset="ultrafast").encode(image) != make(Hevc, 30).encode(image)
    assert make(Avif, 45, speed=9).encode(image) != make(Avif, 45).encode(image)


def test_an_image_too_large_for_the_format_is_refused() -> None:
    with pytest.raises(UserError, match="16384x1 pixels as WEBP"):
        make(Webp).encode(torch.zeros(3, 1, 16384, dtype=torch.uint8))


@each_lossy
@pytest.mark.slow
def test_a_large_image_is_coded(kind: type[ClassicalMethod]) -> None:
    image = picture(1081, 1923)
    codec = make(kind, kind.rates[1])
    assert codec.decode(codec.encode(image)).shape == image.shape


def test_software_without_the_codec_is_named_when_the_method_is_made(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Vvc, "encoder", "libnothing")
    with pytest.raises(UserError, match=r"Unknown encoder 'libnothing'; update the package imageio-ffmpeg.*\.$"):
        make(Vvc)
    monkeypatch.setattr(Avif, "form", "NOTHING")
    with pytest.raises(UserError, match=r"as NOTHING.*; install Pillow.*\.$"):
        make(Avif)
    monkeypatch.setattr(_ffmpeg.imageio_ffmpeg, "get_ffmpeg_exe", lambda: "/nowhere/ffmpeg")
    with pytest.raises(UserError, match="FFmpeg cannot be started"):
        make(Hevc)


class Recorded:
    """Coding that takes its time, longer for the first images; notes how many images it had at once."""

    def __init__(self) -> None:
        self.now, self.most, self.begun, self.lock = 0, 0, 0, threading.Lock()

    def encode(self, image: Tensor) -> bytes:
        with self.lock:
            self.now, self.begun = self.now + 1, self.begun + 1
            self.most = max(self.most, self.now)
        time.sleep(0.02 if image[0, 0, 0] % 2 else 0.05)
        with self.lock:
            self.now -= 1
        return image.numpy().tobytes()

    def decode(self, data: bytes) -> Tensor:
        return torch.frombuffer(bytearray(data), dtype=torch.uint8).reshape(3, 4, 4)


def numbered(count: int) -> list[Sample]:
    return [Sample(torch.full((3, 4, 4), number, dtype=torch.uint8), None, str(number)) for number in range(count)]


def test_several_images_at_once_come_in_order_and_not_too_far_ahead() -> None:
    codec, kept = Recorded(), []
    coding = code_dataset(codec, numbered(12), lambda name, data: kept.append((name, data[0])), coders=3)  # type: ignore[arg-type]
    for number, (sample, decoded, row) in enumerate(coding):
        assert (sample.name, row["image"], int(decoded[0, 0, 0])) == (str(number), str(number), number)
        assert codec.begun <= 1 + number + 6  # the warm-up, those taken, and the look-ahead
    assert kept == [(str(number), number) for number in range(12)]
    assert codec.most == 3


@pytest.mark.parametrize("kind", [Jpeg, Avif, Hevc])
def test_several_images_at_once_give_what_one_after_the_other_gives(kind: type[ClassicalMethod]) -> None:
    samples = [Sample(picture(40 + 3 * number, 61, number), None, str(number)) for number in range(7)]

    def results(coders: int) -> Sequence[Any]:
        kept: dict[str, bytes] = {}
        rows = [row for _, _, row in code_dataset(make(kind), samples, kept.__setitem__, coders)]  # type: ignore[arg-type]
        return [kept, [(row["image"], row["bits"], row["psnr"], row["decoded_sha256"]) for row in rows]]

    assert results(1) == results(3)


def test_an_error_in_a_thread_is_raised() -> None:
    class Broken(Recorded):
        def decode(self, data: bytes) -> Tensor:
            if data[0] == 5:
                raise UserError("the fifth is broken.")
            return super().decode(data)

    seen: list[str] = []
    coding = code_dataset(Broken(), numbered(9), coders=2)  # type: ignore[arg-type]
    with pytest.raises(UserError, match="fifth"):
        seen.extend(sample.name for sample, _, _ in coding)
    assert seen == list("01234")


def test_operations_of_a_classical_codec_are_not_counted() -> None:
    net = nn.Conv2d(3, 1, 1)
    sample = Sample(picture(8, 8), None, "only")
    task = SimpleNamespace(dataset=lambda split: [sample], recognizer=net, predict=lambda image, _: net(image[None].float()))
    encoder, decoder, recognizer = networks(make(Jpeg), task)  # type: ignore[arg-type]
    assert (encoder.parameters, encoder.macs_per_pixel) == (decoder.parameters, decoder.macs_per_pixel) == (0, None)
    assert recognizer.macs_per_pixel == 3
