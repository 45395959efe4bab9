"""Verifies a bundle: its bitstreams are decoded by its codec in a sandbox and scored by the protocol's recogniser.

The code of the bundle runs in the sandbox only. Its output is pixels, which are scored outside the sandbox.
"""

import math
import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from icmbench.api.task import Task
from icmbench.base.errors import UserError
from icmbench.base.files import sha256
from icmbench.experiment import environment
from icmbench.experiment.build import load_task
from icmbench.experiment.devices import device_name
from icmbench.experiment.evaluate import evaluate_uncompressed, pixels, pixels_sha256, psnr
from icmbench.experiment.folders import Device
from icmbench.plugins.find import Plugins
from icmbench.plugins.requirements import require
from icmbench.running.runner import bind
from icmbench.schema.protocol import Protocol, Strict
from icmbench.schema.record import Environment
from icmbench.submission import sandbox
from icmbench.submission.archive import Archive, Refused, opened
from icmbench.submission.inspect import Claim, Contents, contents, tallied
from icmbench.submission.sandbox_run import NotHere, SandboxRun

SCRATCH_BYTES = 2**30  # of decoded images in a scratch folder
DECIBELS = 0.5  # by which the PSNR of an image may differ from that in its row
CPU = "thread(s)"  # the end of a CPU's name in records
PROBES = 8  # images that the codec has never seen, for every rate point
PROBE_BITS = 1.25  # largest ratio of a probe's bits to those of the image itself
PROBE_DECIBELS = 1.5  # by which its PSNR may be lower

Progress = Callable[[str, int, int], None]  # phase, done, total


def no_progress(phase: str, done: int, total: int) -> None:
    """Shows nothing."""


class Measured(Strict):
    """A record's claim and the measurement of its bitstreams on this machine: bits per pixel, primary score in percent.

    `images`: how many bitstreams were decoded, `same` of them to exactly the pixels that the record's rows name.
    `probe_bits` and `probe_psnr`: mirrored and shifted images through the same codec, bits over those of the images
    themselves, and PSNR minus theirs in dB.
    """

    record: str
    bpp: float
    claimed_score: float
    score: float
    images: int
    same: int
    probe_bits: float
    probe_psnr: float


class Verdict(Strict):
    """The result of verifying a bundle. `reason`: why it was not verified."""

    status: Literal["verified", "rejected", "claimed"]
    reason: str = ""
    bundle_sha256: str
    protocol: str = ""
    label: str = ""
    cells: tuple[Measured, ...] = ()
    environment: Environment
    seconds: float


def verify(path: Path, plugins: Plugins, protocol: str | None = None, progress: Progress = no_progress) -> Verdict:
    """Verify the bundle at `path` against the protocol of its name, or against `protocol` (a name or a file).

    Raises UserError if the file cannot be read.
    """
    start = time.monotonic()
    verdict = Verdict(
        status="rejected", bundle_sha256=sha256(path) if path.is_file() else "", environment=_environment(), seconds=0
    )
    try:
        with opened(path) as bundle:
            submitted = contents(bundle, plugins)
            verdict = verdict.model_copy(update={"protocol": submitted.manifest.protocol, "label": submitted.manifest.label})
            cells = Verification(bundle, submitted, _protocol(submitted, plugins, protocol), plugins, progress).run()
        ended = {"status": "verified", "cells": cells}
    except Refused as error:
        ended = {"status": "rejected", "reason": str(error)}
    except NotHere as error:
        ended = {"status": "claimed", "reason": str(error)}
    return verdict.model_copy(update=ended | {"seconds": time.monotonic() - start})


def _environment() -> Environment:
    return environment.describe(device_name(torch.device("cpu")))


def _protocol(submitted: Contents, plugins: Plugins, name: str | None) -> Protocol:
    """The protocol on this machine."""
    claimed = submitted.protocol
    if name is None and claimed.name not in plugins.protocols():
        raise NotHere(f"this machine has no protocol {claimed.name}; its task may not be installed.")
    ours = plugins.protocol(name or claimed.name)
    try:
        require(ours)
    except UserError as error:
        raise NotHere(str(error)) from error
    ours = bind(ours, plugins)
    if ours.identity != claimed.identity:
        raise Refused(
            f"the records are of {claimed.identity}, the protocol is {ours.identity}: other data, another recogniser, "
            "other start codecs or another budget."
        )
    if ours.bound.val != claimed.bound.val:
        raise Refused("the records were scored on other val images or annotations than those of the protocol here.")
    if reason := sandbox.why_not():
        raise NotHere(f"untrusted code cannot be isolated on this machine: {reason}.")
    return ours


@dataclass(frozen=True)
class Probe:
    """An image that no codec has seen: image `number` of the data set, mirrored and shifted around its edges."""

    number: int
    image: Tensor


@dataclass(frozen=True)
class RunFiles:
    """The random file numbers of a record's bitstreams and probes in a run, which do not reveal their order."""

    claim: Claim
    images: Sequence[int]
    probes: Sequence[int]


class Verification:
    """The steps that verify one bundle with valid contents. Each raises Refused or NotHere."""

    def __init__(self, bundle: Archive, submitted: Contents, protocol: Protocol, plugins: Plugins, progress: Progress) -> None:
        self.bundle, self.submitted, self.protocol, self.progress = bundle, submitted, protocol, progress
        self.task: Task = load_task(protocol, plugins, Device())
        self.dataset = self.task.dataset("val")
        self.rng = random.SystemRandom()  # what a submitter cannot foresee

    def run(self) -> tuple[Measured, ...]:
        """All steps, for every record."""
        self.check_images()
        self.check_ceiling()
        probes = self.probes()
        streams = self.encode(probes)
        measured: list[Measured] = []
        for group in self._groups():
            try:
                measured += self.measure(group, probes, {name: streams[name] for name in (claim.cell.record for claim in group)})
            except Refused as error:
                if elsewhere := [claim for claim in group if not claim.record.environment.device.endswith(CPU)]:
                    device = elsewhere[0].record.environment.device
                    raise NotHere(f"the bitstreams were made on {device}, and on this machine's CPU {error}") from error
                raise
        return tuple(measured)

    def _groups(self) -> list[list[Claim]]:
        """The records in groups whose decoded images fit into SCRATCH_BYTES, because a run in the sandbox starts slowly."""
        size = 3 * int(self.submitted.claims[0].rows["pixels"].sum())
        each = max(1, SCRATCH_BYTES // size)
        claims = self.submitted.claims
        return [list(claims[first : first + each]) for first in range(0, len(claims), each)]

    def check_images(self) -> None:
        """Raises Refused unless the rows are those of the protocol's images, none of which was trained on."""
        rows, seen = self.submitted.claims[0].rows, []
        if len(rows) != len(self.dataset):
            raise Refused(f"the rows are of {len(rows)} images, the protocol has {len(self.dataset)}.")
        for number, (name, size) in enumerate(zip(rows["image"], rows["pixels"], strict=True)):
            sample = self.dataset[number]
            if (name, size) != (sample.name, pixels(sample.image)):
                raise Refused(f"the rows have {name!r} with {size} pixels where the protocol has {sample.name!r}.")
            if pixels_sha256(sample.image) in self.submitted.training_images:
                seen.append(name)
            self.progress("images", number + 1, len(rows))
        if seen:
            raise Refused(f"the codec was trained on {len(seen)} of the images that it is scored on, {seen[0]!r} among them.")

    def check_ceiling(self) -> None:
        """Raises Refused unless the recogniser gives the claimed ceiling on uncompressed images."""
        measured = evaluate_uncompressed(self.task, partial(self.progress, "ceiling"))
        self._same_scores("the ceiling", self.submitted.claims[0].record.ceiling, measured)

    def _same_scores(self, what: str, claimed: dict[str, float], measured: dict[str, float]) -> None:
        tolerance = self.protocol.evaluation.score_tolerance
        for name, value in claimed.items():
            here = measured.get(name, math.nan)
            if not abs(here - value) <= tolerance and not (math.isnan(here) and math.isnan(value)):
                raise Refused(f"the bundle claims {name} {value:.2f} for {what}, but here it is {here:.2f}.")

    def probes(self) -> list[Probe]:
        """A few of the images, mirrored and randomly shifted: the same content, but no codec can have memorised it."""
        numbers = self.rng.sample(range(len(self.dataset)), min(PROBES, len(self.dataset)))
        return [Probe(number, self._moved(self.dataset[number].image)) for number in numbers]

    def _moved(self, image: Tensor) -> Tensor:
        shifts = [self.rng.randrange(1, max(side, 2)) for side in image.shape[1:]]
        return image.flip(2).roll(shifts, (1, 2)).contiguous()

    def encode(self, probes: Sequence[Probe]) -> dict[str, list[bytes]]:
        """The bitstreams of the probes, for every record."""
        claims = self.submitted.claims
        with SandboxRun(self.bundle, self.submitted, self.rng) as run:
            work, numbers = [], {}
            for claim in claims:
                numbers[claim.cell.record] = [run.add(probe.image.numpy().tobytes(), probe.image) for probe in probes]
                work.append(run.work(claim, numbers[claim.cell.record]))
            run.run(work, partial(self.progress, "encode"))
            return {name: [run.result(number, limit=2**28) for number in of] for name, of in numbers.items()}

    def measure(self, claims: Sequence[Claim], probes: Sequence[Probe], streams: dict[str, list[bytes]]) -> list[Measured]:
        """Decode the bitstreams of records and those of the probes, and score the images."""
        with SandboxRun(self.bundle, self.submitted, self.rng) as run:
            files, work = [], []
            for claim in claims:
                images = [run.add(self.bundle.read(claim.cell.bitstream(number))) for number in claim.cell.shipped]
                files.append(RunFiles(claim, images, [run.add(data) for data in streams[claim.cell.record]]))
                work.append(run.work(claim, [*files[-1].images, *files[-1].probes]))
            run.run(work, partial(self.progress, "decode"))
            return [self._measure(run, file, probes, streams[file.claim.cell.record]) for file in files]

    def _measure(self, run: SandboxRun, files: RunFiles, probes: Sequence[Probe], streams: Sequence[bytes]) -> Measured:
        claim = files.claim
        score, same = self._check_scores(run, files)
        bits, gained = self._check_probes(run, files, probes, streams)
        return Measured(
            record=claim.cell.record,
            bpp=claim.record.bpp,
            claimed_score=claim.record.scores[claim.record.metric],
            score=score,
            images=len(files.images),
            same=same,
            probe_bits=bits,
            probe_psnr=gained,
        )

    def _check_scores(self, run: SandboxRun, files: RunFiles) -> tuple[float, int]:
        """The primary score of the decoded images, and how many of them have the pixels that the rows name."""
        record, cell = files.claim.record, files.claim.cell
        metric, rows, same = self.task.metric(), [], 0
        claimed = files.claim.rows.iloc[list(cell.shipped)]
        for done, (number, file) in enumerate(zip(cell.shipped, files.images, strict=True)):
            sample, row = self.dataset[number], claimed.iloc[done]
            image = run.image(file, sample.image)
            decibels = psnr(image, sample.image)
            if abs(decibels - row["psnr"]) > DECIBELS:
                raise Refused(
                    f"{sample.name!r} of {cell.record} decodes to {decibels:.2f} dB, but has {row['psnr']:.2f} dB in its row."
                )
            same += pixels_sha256(image) == row["decoded_sha256"]
            rows.append({"score": None, **metric.update(sample, self.task.predict(image, sample))})
            self.progress(f"score {record.point} seed={record.seed}", done + 1, len(claimed))
        whole = len(rows) == len(self.dataset)
        measured = metric.compute() if whole else tallied(record, pd.DataFrame(rows), metric.tally)
        self._same_scores(cell.record, record.scores if whole else tallied(record, claimed, metric.tally), measured)
        return measured.get(self.protocol.evaluation.metric, math.nan), same

    def _check_probes(
        self, run: SandboxRun, files: RunFiles, probes: Sequence[Probe], streams: Sequence[bytes]
    ) -> tuple[float, float]:
        """Bits and PSNR of the probes against those of the images that they were made of."""
        rows = files.claim.rows.iloc[[probe.number for probe in probes]]
        bits = 8 * sum(map(len, streams)) / float(rows["bits"].sum())
        images = [run.image(file, probe.image) for file, probe in zip(files.probes, probes, strict=True)]
        decibels = [psnr(image, probe.image) for image, probe in zip(images, probes, strict=True)]
        gained = float(np.mean(decibels) - rows["psnr"].mean())
        if bits > PROBE_BITS or gained < -PROBE_DECIBELS:
            raise Refused(
                f"the codec of {files.claim.cell.record} knows the images that it is scored on: mirrored and shifted, they take "
                f"{bits:.2f} times the bits at {gained:+.1f} dB."
            )
        return bits, gained
