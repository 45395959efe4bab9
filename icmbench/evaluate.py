"""Evaluation: image -> codec -> bytes -> decoded 8-bit image -> frozen recogniser -> scores."""

import math
import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from icmbench.codec import Codec, NeuralCodec
from icmbench.task import Dataset, Sample, Task

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Evaluation:
    """What one codec reached on `val`. `rows` has one entry per picture (see `code_picture`, and `score`)."""

    scores: dict[str, float]
    rows: list[dict[str, Any]]

    def total(self, column: str) -> float:
        """Sum of a column over the pictures."""
        return float(sum(row[column] for row in self.rows))

    @property
    def bpp(self) -> float:
        """Rate: sum of bits over sum of pixels."""
        return self.total("bits") / self.total("pixels")

    @property
    def bpp_mean(self) -> float:
        """Mean over the pictures of bits per pixel."""
        return statistics.fmean(row["bits"] / row["pixels"] for row in self.rows)

    @property
    def estimated_bpp(self) -> float:
        """What the likelihoods promised, over the same pixels; nan for a codec without likelihoods."""
        return self.total("estimated_bits") / self.total("pixels")

    @property
    def psnr(self) -> float:
        """Mean PSNR in dB (only descriptive: the decoded pictures are made for machines)."""
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


def code_picture(codec: Codec, sample: Sample) -> tuple[Tensor, bytes, dict[str, Any]]:
    """Through real bytes: the decoded uint8 image, its bitstream, and the row of what was measured."""
    start = synchronised_seconds()
    data = codec.encode(sample.image)
    encoded = synchronised_seconds()
    decoded = codec.decode(data)
    done = synchronised_seconds()
    row = {
        "image": sample.name,
        "pixels": sample.image.shape[1] * sample.image.shape[2],
        "bits": 8 * len(data),
        "estimated_bits": codec.estimated_bits(sample.image) if isinstance(codec, NeuralCodec) else math.nan,
        "psnr": psnr(decoded, sample.image),
        "encode_seconds": encoded - start,
        "decode_seconds": done - encoded,
    }
    return decoded, data, row


def code_dataset(codec: Codec, dataset: Dataset) -> Iterator[tuple[Sample, Tensor, dict[str, Any]]]:
    """Every picture through the codec; one warm-up coding first, so that times are not those of a cold start."""
    codec.decode(codec.encode(dataset[0].image))
    for index in range(len(dataset)):
        decoded, _, row = code_picture(codec, dataset[index])
        yield dataset[index], decoded, row


def evaluate(codec: Codec, task: Task, progress: Progress = lambda done, total: None) -> Evaluation:
    """Rate and recognition scores of a codec on the task's `val` pictures."""
    dataset, metric, rows = task.dataset("val"), task.metric(), []
    for sample, decoded, row in code_dataset(codec, dataset):
        rows.append(row | {"score": metric.update(sample, task.predict(decoded, sample))})
        progress(len(rows), len(dataset))
    return Evaluation(metric.compute(), rows)


def evaluate_uncompressed(task: Task, progress: Progress = lambda done, total: None) -> dict[str, float]:
    """The ceiling: scores on the pictures as loaded."""
    dataset, metric = task.dataset("val"), task.metric()
    for index in range(len(dataset)):
        metric.update(dataset[index], task.predict(dataset[index].image, dataset[index]))
        progress(index + 1, len(dataset))
    return metric.compute()
