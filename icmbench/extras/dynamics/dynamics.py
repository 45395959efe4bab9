"""`icmbench dynamics`: watch the missing cells train, draw, and say in short what was found."""

import json
import math
import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from rich.console import Console

from icmbench.api.classes import method_class
from icmbench.api.method import TrainedMethod
from icmbench.base.errors import UserError
from icmbench.base.files import demand_writable, write_text
from icmbench.experiment.cell import Cell, Place, Report
from icmbench.extras.dynamics.allocation import bit_map, object_mask
from icmbench.extras.dynamics.figures import START, Picture, Study, draw
from icmbench.extras.dynamics.page import page
from icmbench.extras.dynamics.watch import Dynamics, DynamicsRun, Gradients, Values, start_codec
from icmbench.extras.status import StatusFile
from icmbench.running.job import Job
from icmbench.running.pace import Event, Pace
from icmbench.running.plan import plan, units
from icmbench.running.pool import machine_cores
from icmbench.running.progress import LOG_SECONDS, SHOWN
from icmbench.schema.protocol import Protocol

PICTURES = 4
ENDS = 4  # probes that are averaged for "at the start" and "at the end": the gradient of one batch is noisy


def run(job: Job, protocol: Protocol, place: Place, console: Console) -> None:
    """Watch the anchor's and the method's cells that have no result yet, then draw and summarise every rate point.

    Without rate points in the job, the middle one of the protocol's. Raises UserError for a method that is not trained, and
    for whatever ends a cell; the same command goes on where it was.
    """
    methods: dict[str, dict[str, Any]] = {protocol.anchor: {}} | {job.method: job.parameters}
    for name in methods:
        if not issubclass(method_class(job.plugins, name), TrainedMethod):
            raise UserError(f"{name} is not trained, and dynamics shows what happens while a method trains.")
    rates = job.rate_indices(protocol) if job.rates else [len(protocol.rates) // 2]
    cells = plan(job.plugins, protocol, methods, rates, job.seeds)
    compute(cells, place, console)
    for rate in rates:
        _finish([cell for cell in cells if cell.rate_index == rate], place, console)


def compute(cells: Sequence[Cell], place: Place, console: Console) -> None:
    """Measure the cells that have no result yet, one after the other."""
    demand_writable(place.runs)
    place = replace(place, cores=machine_cores())
    runs = [DynamicsRun(cell, place) for cell in cells]
    absent = [run for run in runs if not run.finished]
    found = f"{len(runs)} cells, {len(runs) - len(absent)} already there"
    console.print(f"{cells[0].protocol.identity} on {place.accelerator}: {found}", highlight=False)
    if place.accelerator == "cpu":
        torch.set_num_threads(1)  # as in the workers of `icmbench run`: sums depend on how many threads share them
    for run in absent:
        run.method()  # it may find that it cannot do with the codec: better before the first is trained
    pace = Pace(units([run.cell for run in absent], place.plugins))
    with StatusFile(place.runs, place.results) as file:
        for number, run in enumerate(absent):
            run.report = _reporter(number, pace, file, console)
            run.run()
            pace.hear(Event(number, "done"))
            file.tell(pace)


def _reporter(number: int, pace: Pace, file: StatusFile, console: Console) -> Report:
    """Prints what a cell reports every few seconds, and at the end of each phase; the status file has all of it."""
    last, name = -math.inf, pace.units[number].name

    def report(phase: str, done: int, total: int, terms: dict[str, float]) -> None:
        nonlocal last
        pace.hear(Event(number, phase, done, total))
        file.tell(pace)
        if done < total and time.monotonic() - last < LOG_SECONDS:
            return
        last = time.monotonic()
        shown = "  ".join(f"{key} {terms[key]:.3f}" for key in SHOWN if key in terms)
        steps = f" {done}/{total}" if total else ""
        text = "  ".join(filter(None, [f"{name}: {phase}{steps}", shown, str(pace.left(number))]))
        console.print(text, highlight=False, markup=False, soft_wrap=True)

    return report


def _finish(cells: Sequence[Cell], place: Place, console: Console) -> None:
    """Figures, numbers and summary of the cells of one rate point, whose results are there."""
    results: dict[str, list[Dynamics]] = {}
    for cell in cells:
        found = DynamicsRun(cell, place).result()
        assert found is not None
        results.setdefault(cell.label, []).append(found)
    protocol, lmbda, label = cells[0].protocol, cells[0].rate.lmbda, cells[-1].label
    pictures = _pictures([DynamicsRun(cell, place) for cell in cells if cell.seed == 0])
    study = Study(protocol.identity, lmbda, results, pictures)
    folder = place.runs / protocol.identity / "dynamics" / label / f"lambda={lmbda:g}"
    numbers = summary(study)
    paths = [*draw(study, folder), folder / "dynamics.html", folder / "numbers.json"]
    write_text(folder / "dynamics.html", page(study))
    write_text(folder / "numbers.json", json.dumps(numbers, indent=1, ensure_ascii=False) + "\n")
    paths += [DynamicsRun(cell, place).path for cell in cells]
    console.print("\n".join([describe(numbers), *map(str, paths)]), highlight=False, markup=False, soft_wrap=True)


def _pictures(runs: Sequence[DynamicsRun]) -> list[Picture]:
    """Some `val` pictures with the bit maps of the start codec and of each run's."""
    task, codecs = runs[0].task, {START: start_codec(runs[0])} | {run.cell.label: run.trained_codec() for run in runs}
    dataset = task.dataset("val")
    found = []
    for index in sorted({int(index) for index in np.linspace(0, len(dataset) - 1, PICTURES)}):
        sample = dataset[index]
        mask = object_mask(task, sample)
        maps = {name: bit_map(codec, sample.image).numpy() for name, codec in codecs.items()}
        found.append(Picture(sample.image.permute(1, 2, 0).numpy(), None if mask is None else mask.numpy(), maps))
    return found


def summary(study: Study) -> dict[str, Any]:
    """The figures in short, as means over the seeds; None for what is not there.

    For each method: norms [part][term] as [start, end], each of `ENDS` probes; cosines [part][term] with the task's gradient,
    over all probes; bits per pixel, and the share of the bits inside objects; seconds a step, and a probe.
    """
    start = next(iter(study.results.values()))[0].before
    return {
        "protocol": study.protocol,
        "lambda": study.lmbda,
        "area_inside": _mean([start.area_share]),
        "start": {"bpp": start.bpp, "bits_inside": _mean([start.bits_share])},
        "methods": {label: _summary_of(runs) for label, runs in study.results.items()},
    }


def _summary_of(runs: Sequence[Dynamics]) -> dict[str, Any]:
    return {
        "seeds": [run.seed for run in runs],
        "norms": {part: _norms([run.parts[part] for run in runs]) for part in runs[0].parts},
        "cosines": {part: _cosines([run.parts[part] for run in runs]) for part in runs[0].parts},
        "bpp": _mean([run.after.bpp for run in runs]),
        "bits_inside": _mean([run.after.bits_share for run in runs]),
        "seconds_per_step": _mean([run.train_seconds / (run.steps[-1] + 1) for run in runs]),
        "seconds_per_probe": _mean([run.probe_seconds / len(run.probed) for run in runs]),
    }


def _norms(of_seeds: Sequence[Gradients]) -> dict[str, list[float | None]]:
    def over(term: str, ends: slice) -> float | None:
        return _mean([value for g in of_seeds for value in g.norms[term][ends]])

    return {term: [over(term, slice(ENDS)), over(term, slice(-ENDS, None))] for term in of_seeds[0].norms}


def _cosines(of_seeds: Sequence[Gradients]) -> dict[str, float | None]:
    return {term: _mean([value for g in of_seeds for value in g.cosines[term]]) for term in of_seeds[0].cosines}


def _mean(values: Values) -> float | None:
    known = [value for value in values if value is not None and not math.isnan(value)]
    return sum(known) / len(known) if known else None


def describe(numbers: dict[str, Any]) -> str:
    """The summary in plain words."""
    lines = [f"{numbers['protocol']}, λ = {numbers['lambda']:g}: gradients of the single terms, without λ and other weights"]
    for label, found in numbers["methods"].items():
        for part, norms in found["norms"].items():
            ends = (f"{term} {a:.3g} → {b:.3g}" for term, (a, b) in norms.items() if a is not None and b is not None)
            lines.append(f"{label}: gradient norm in the {part}, start → end: {', '.join(ends)}")
        for part, cosines in found["cosines"].items():
            known = [f"{term} {value:+.2f}" for term, value in cosines.items() if value is not None and term != "loss"]
            if known:
                lines.append(f"{label}: mean cosine with the task's gradient in the {part}: {', '.join(known)}")
    lines.append(_bits(numbers))
    return "\n".join(lines)


def _bits(numbers: dict[str, Any]) -> str:
    codecs = {START: numbers["start"]} | numbers["methods"]
    if numbers["area_inside"] is None:
        rates = (f"{name} {found['bpp']:.3f}" for name, found in codecs.items())
        return f"bits per pixel: {', '.join(rates)}; the task does not say where objects are, so no share of bits inside them"
    shares = (f"{name} {found['bits_inside']:.1%} of {found['bpp']:.3f} bpp" for name, found in codecs.items())
    return f"bits inside objects: {', '.join(shares)}; objects cover {numbers['area_inside']:.1%} of the area"
