"""Evaluation: image -> codec -> bytes -> decoded 8-bit image -> frozen recogniser -> scores."""

import hashlib
import math
import statistics
import time
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
from torch import Tensor

from icmbench.api.task import Dataset, Metric, Sample, Task
from icmbench.base.errors import UserError
from icmbench.codecs.neural import Codec, NeuralCodec
from icmbench.experiment import cost
from icmbench.schema.record import Network

Progress = Callable[[int, int], None]
Result = TypeVar("Result")
Keep = Callable[[str, bytes], None]  # a sample's name and its bitstream


def no_progress(done: int, total: int) -> None:
    """Shows nothing."""


def no_keep(name: str, data: bytes) -> None:
    """Keeps nothing."""


@dataclass(frozen=True)
class Evaluation:
    """The results of one codec on `val`. `rows` has one entry per image, from `code_image` and the metric.

    `tally`: the name of the tally in the rows, or "".
    """

    scores: dict[str, float]
    rows: list[dict[str, Any]]
    tally: str = ""

    def column(self, name: str) -> list[float]:
        """A column's values, one per image."""
        return [float(row[name]) for row in self.rows]

    def total(self, column: str) -> float:
        """Sum of a column over the images."""
        return sum(self.column(column))

    @property
    def bpp(self) -> float:
        """Rate: sum of bits over sum of pixels."""
        return self.total("bits") / self.total("pixels")

    @property
    def bpp_mean(self) -> float:
        """Mean over the images of bits per pixel."""
        return statistics.fmean(row["bits"] / row["pixels"] for row in self.rows)

    @property
    def estimated_bpp(self) -> float:
        """The estimate of the likelihoods over the same pixels; nan for a codec without likelihoods."""
        return self.total("estimated_bits") / self.total("pixels")

    @property
    def psnr(self) -> float:
        """Mean PSNR in dB (only descriptive, because the decoded images are made for machines)."""
        return self.total("psnr") / len(self.rows)


def synchronised_seconds() -> float:
    """A clock that waits for the GPU."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter()


def psnr(decoded: Tensor, original: Tensor) -> float:
    """Peak signal-to-noise ratio of two uint8 images in dB, at most 100."""
    mse = (decoded.float() - original.float()).square().mean().item()
    return min(100.0, 10 * math.log10(255**2 / mse)) if mse else 100.0


def pixels(image: Tensor) -> int:
    """Number of pixels of an image [3, H, W]."""
    return image.shape[1] * image.shape[2]


def pixels_sha256(image: Tensor) -> str:
    """SHA-256 of the bytes of an image uint8 [3, H, W], channel after channel, row after row."""
    return hashlib.sha256(image.contiguous().numpy().tobytes()).hexdigest()


def _timed(work: Callable[[], Result]) -> tuple[Result, float]:
    """The result of `work` and the seconds that it takes."""
    start = synchronised_seconds()
    result = work()
    return result, synchronised_seconds() - start


def code_image(codec: Codec, sample: Sample) -> tuple[Tensor, bytes, dict[str, Any]]:
    """Code an image through real bytes: the decoded uint8 image, its bitstream, and the row of measurements."""
    learned = codec if isinstance(codec, NeuralCodec) else None
    with learned.latents() if learned else nullcontext(()) as latents:
        data, encode_seconds = _timed(lambda: codec.encode(sample.image))
    decoded, decode_seconds = _timed(lambda: codec.decode(data))
    latent = latents[0] if len(latents) == 1 else None
    estimated = learned.estimated_bits(sample.image, latent) if learned else math.nan
    row = {
        "image": sample.name,
        "pixels": pixels(sample.image),
        "bits": 8 * len(data),
        "estimated_bits": estimated,
        "rate_ratio": 8 * len(data) / estimated if estimated else math.inf,
        "decoded_sha256": pixels_sha256(decoded),
        "psnr": psnr(decoded, sample.image),
        "encode_seconds": encode_seconds,
        "decode_seconds": decode_seconds,
    }
    return decoded, data, row


def _in_order(codec: Codec, dataset: Dataset, coders: int) -> Iterator[tuple[Sample, tuple[Tensor, bytes, dict[str, Any]]]]:
    """The samples with the results of `code_image`, `coders` at once; at most twice as many results wait."""
    samples = (dataset[index] for index in range(len(dataset)))
    if coders == 1:
        yield from ((sample, code_image(codec, sample)) for sample in samples)
        return
    with ThreadPoolExecutor(coders) as pool:
        waiting: deque[tuple[Sample, Future[tuple[Tensor, bytes, dict[str, Any]]]]] = deque()
        for sample in samples:
            waiting.append((sample, pool.submit(code_image, codec, sample)))
            if len(waiting) == 2 * coders:
                first, coded = waiting.popleft()
                yield first, coded.result()
        yield from ((sample, coded.result()) for sample, coded in waiting)


def code_dataset(
    codec: Codec, dataset: Dataset, keep: Keep = no_keep, coders: int = 1
) -> Iterator[tuple[Sample, Tensor, dict[str, Any]]]:
    """Every image through the codec, in order. A first coding warms up, so times are not those of a cold start.

    `coders`: images that a classical codec codes at once, in threads; a learned codec takes one after the other.
    """
    codec.decode(codec.encode(dataset[0].image))
    for sample, (decoded, data, row) in _in_order(codec, dataset, 1 if isinstance(codec, NeuralCodec) else coders):
        keep(sample.name, data)
        yield sample, decoded, row


def evaluate(codec: Codec, task: Task, progress: Progress = no_progress, keep: Keep = no_keep, coders: int = 1) -> Evaluation:
    """Rate and recognition scores of a codec on the task's `val` images; `keep` gets the bitstreams.

    `coders`: as in `code_dataset`.
    """
    dataset, metric, rows = task.dataset("val"), task.metric(), []
    for sample, decoded, row in code_dataset(codec, dataset, keep, coders):
        rows.append(row | {"score": None, **metric.update(sample, task.predict(decoded, sample))})
        progress(len(rows), len(dataset))
    return Evaluation(scores_of(metric), rows, metric.tally.name if metric.tally else "")


def scores_of(metric: Metric) -> dict[str, float]:
    """The metric's scores in percent. Raises UserError if they contradict each other by its tally."""
    scores = metric.compute()
    if metric.tally and (problems := metric.tally.disordered(scores)):
        raise UserError(f"the scores are impossible and were not recorded: {'; '.join(problems)}.")
    return scores


def networks(codec: Codec, task: Task) -> tuple[Network, Network, Network]:
    """The cost of encoding, decoding and recognising the first `val` image; operations of a classical codec are not counted.

    The recogniser gets the uncompressed image, because its cost may depend on what it detects but must not depend on the codec.
    """
    sample = task.dataset("val")[0]
    area = pixels(sample.image)
    encoder = decoder = Network(parameters=0, macs_per_pixel=None)
    if isinstance(codec, NeuralCodec):
        data = codec.encode(sample.image)
        encoder = cost.measure(lambda: codec.encode(sample.image), codec.model, area)
        decoder = cost.measure(lambda: codec.decode(data), codec.model, area)
    return encoder, decoder, cost.measure(lambda: task.predict(sample.image, sample), task.recognizer, area)


def evaluate_uncompressed(task: Task, progress: Progress = no_progress) -> dict[str, float]:
    """The ceiling: scores on the uncompressed images."""
    dataset, metric = task.dataset("val"), task.metric()
    for index in range(len(dataset)):
        metric.update(dataset[index], task.predict(dataset[index].image, dataset[index]))
        progress(index + 1, len(dataset))
    return scores_of(metric)
