"""`icmbench dynamics`: watch the missing cells train, then draw and summarise the results."""

import math
from collections.abc import Iterable, Sequence
from statistics import fmean
from typing import Any

import numpy as np
from pydantic_core import to_json
from rich.console import Console

from icmbench.api.classes import method_class
from icmbench.api.method import TrainedMethod
from icmbench.base.errors import UserError
from icmbench.base.files import write_text
from icmbench.experiment.build import load_task
from icmbench.experiment.cell import Cell
from icmbench.extras.dynamics.allocation import bit_map, object_mask
from icmbench.extras.dynamics.figures import START, ImageMaps, Study, draw
from icmbench.extras.dynamics.watch import Dynamics, WatchCell, ready_start_codec
from icmbench.running.job import Job
from icmbench.running.runner import Runner, plan
from icmbench.schema.protocol import Protocol

IMAGES = 4
ENDS = 4  # probes that are averaged for "at the start" and "at the end": the gradient of one batch is noisy


def run(job: Job, protocol: Protocol, runner: Runner) -> int:
    """Watch the anchor's and the method's cells that have no result yet, then draw and summarise every rate point.

    The default rate point is the protocol's middle one. Returns 1 if a cell failed; running the same command again continues.
    Raises UserError for a method that is not trained.
    """
    methods: dict[str, dict[str, Any]] = {protocol.anchor: {}} | {job.method: job.parameters}
    for name in methods:
        if not issubclass(method_class(job.plugins, name), TrainedMethod):
            raise UserError(f"{name} is not trained, and dynamics shows how a method trains; name a trained method.")
    rates = job.rate_indices(protocol) if job.rates else [len(protocol.rates) // 2]
    cells = plan(job.plugins, protocol, methods, rates, job.seeds)
    work = WatchCell(runner.plugins, runner.folders, runner.device)
    if not runner.fill(cells, work):
        return 1
    for rate in rates:
        _finish([cell for cell in cells if cell.rate_index == rate], work, runner.console)
    return 0


def _finish(cells: Sequence[Cell], work: WatchCell, console: Console) -> None:
    """Write figures, numbers and summary of the cells of one rate point, which have their results."""
    results: dict[str, list[Dynamics]] = {}
    for result in filter(None, map(work.result, cells)):
        results.setdefault(result.label, []).append(result)
    protocol, lmbda, label = cells[0].protocol, cells[0].rate.lmbda, cells[-1].label
    images = _images([cell for cell in cells if cell.seed == 0], work)
    study = Study(protocol.identity, lmbda, results, images)
    folder = work.folders.runs / protocol.identity / "dynamics" / label / f"lambda={lmbda:g}"
    numbers = summary(study)
    paths = [*draw(study, folder), folder / "numbers.json", *map(work.path, cells)]
    write_text(folder / "numbers.json", to_json(numbers, indent=1, inf_nan_mode="null").decode() + "\n")
    console.print("\n".join([describe(numbers), *map(str, paths)]), highlight=False, markup=False, soft_wrap=True)


def _images(cells: Sequence[Cell], work: WatchCell) -> list[ImageMaps]:
    """Some val images with the bit maps of the start codec and of each cell's codec."""
    task = load_task(cells[0].protocol, work.plugins, work.device)
    codecs = {START: ready_start_codec(cells[0], work.device)} | {cell.label: work.trained_codec(cell) for cell in cells}
    dataset = task.dataset("val")
    images = []
    for index in sorted({int(index) for index in np.linspace(0, len(dataset) - 1, IMAGES)}):
        sample = dataset[index]
        mask = object_mask(task, sample)
        maps = {name: bit_map(codec, sample.image).numpy() for name, codec in codecs.items()}
        images.append(ImageMaps(sample.image.permute(1, 2, 0).numpy(), None if mask is None else mask.numpy(), maps))
    return images


def summary(study: Study) -> dict[str, Any]:
    """The figures in short, as means over the seeds; nan for absent ones.

    For each method: norms [part][term] as [start, end], each of `ENDS` probes; cosines [part][term] with the task's gradient,
    over all probes; bits per pixel, and the share of the bits inside objects; seconds a step, and a probe.
    """
    start = next(iter(study.results.values()))[0].before
    return {
        "protocol": study.protocol,
        "lambda": study.lmbda,
        "area_inside": start.area_share,
        "start": {"bpp": start.bpp, "bits_inside": start.bits_share},
        "methods": {label: _summary_of(runs) for label, runs in study.results.items()},
    }


def _summary_of(runs: Sequence[Dynamics]) -> dict[str, Any]:
    parts = {part: [run.parts[part] for run in runs] for part in runs[0].parts}
    ends = (slice(ENDS), slice(-ENDS, None))
    return {
        "seeds": [run.seed for run in runs],
        "norms": {
            part: {term: [_mean(v for g in of_seeds for v in g.norms[term][end]) for end in ends] for term in of_seeds[0].norms}
            for part, of_seeds in parts.items()
        },
        "cosines": {
            part: {term: _mean(v for g in of_seeds for v in g.cosines[term]) for term in of_seeds[0].cosines}
            for part, of_seeds in parts.items()
        },
        "bpp": _mean(run.after.bpp for run in runs),
        "bits_inside": _mean(run.after.bits_share for run in runs),
        "seconds_per_step": _mean(run.train_seconds / (run.steps[-1] + 1) for run in runs),
        "seconds_per_probe": _mean(run.probe_seconds / len(run.probed) for run in runs),
    }


def _mean(values: Iterable[float]) -> float:
    """Mean of the values that are known; nan if none is."""
    known = [value for value in values if not math.isnan(value)]
    return fmean(known) if known else math.nan


def describe(numbers: dict[str, Any]) -> str:
    """The summary in plain words."""
    lines = [f"{numbers['protocol']}, λ = {numbers['lambda']:g}: gradients of the single terms, without λ and other weights"]
    for label, figures in numbers["methods"].items():
        for part, norms in figures["norms"].items():
            ends = (f"{term} {a:.3g} → {b:.3g}" for term, (a, b) in norms.items() if not math.isnan(a + b))
            lines.append(f"{label}: gradient norm in the {part}, start → end: {', '.join(ends)}")
        for part, cosines in figures["cosines"].items():
            known = [f"{term} {value:+.2f}" for term, value in cosines.items() if not math.isnan(value) and term != "loss"]
            if known:
                lines.append(f"{label}: mean cosine with the task's gradient in the {part}: {', '.join(known)}")
    codecs = {START: numbers["start"]} | numbers["methods"]
    if math.isnan(numbers["area_inside"]):
        rates = ", ".join(f"{name} {of['bpp']:.3f}" for name, of in codecs.items())
        lines.append(f"bits per pixel: {rates}; the task does not say where objects are, so shares of bits are unknown")
    else:
        shares = ", ".join(f"{name} {of['bits_inside']:.1%} of {of['bpp']:.3f} bpp" for name, of in codecs.items())
        lines.append(f"bits inside objects: {shares}; objects cover {numbers['area_inside']:.1%} of the area")
    return "\n".join(lines)
