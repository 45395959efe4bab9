"""What a job computes: its protocol, bound to the data on this machine, its cells, and which of them are missing."""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from rich.console import Console

from icmbench.api.classes import make_task, method_class
from icmbench.api.method import ClassicalMethod, TrainedMethod
from icmbench.base.errors import UserError
from icmbench.base.files import require_writable
from icmbench.compare.comparable import read_comparable
from icmbench.experiment.cell import Cell
from icmbench.experiment.compute import ComputeCell
from icmbench.experiment.folders import Device, Folders
from icmbench.plugins.find import Plugins, options
from icmbench.plugins.source import source_digest
from icmbench.running.job import Job
from icmbench.running.progress import Listener, Tracker, follow
from icmbench.running.workers import Pool, Work, compute
from icmbench.schema.protocol import VAL, Content, Protocol, Strict
from icmbench.schema.record import Record


def bind(protocol: Protocol, plugins: Plugins) -> Protocol:
    """The protocol with the digests of its data and configs on this machine, which are part of its identity.

    Reads annotations and lists images, but decodes none. Raises UserError for missing or damaged files.
    """
    task, plugin = make_task(plugins, protocol.task, protocol.data, protocol.recognizer), plugins.find("tasks")[protocol.task]
    content = Content(
        train=task.dataset("train").fingerprint(),
        val=task.dataset(VAL).fingerprint(),
        recognizer=task.recognizer_fingerprint(),
        task="" if plugin.built_in else source_digest(plugin),
    )
    return protocol.model_copy(update={"content": content})


def cells_of(job: Job, protocol: Protocol) -> list[Cell]:
    """The method's cells and the anchor's, once each; the method's first, because they tend to take longer."""
    methods: dict[str, dict[str, Any]] = {job.method: job.parameters}
    if job.anchor:
        methods.setdefault(protocol.anchor, {})
    return plan(job.plugins, protocol, methods, job.rate_indices(protocol), job.seeds)


def plan(
    plugins: Plugins, protocol: Protocol, methods: dict[str, dict[str, Any]], rates: Sequence[int], seeds: int
) -> list[Cell]:
    """All cells of these methods (name -> given parameters), seed by seed; an untrained method has only seed 0.

    `rates`: numbers of the protocol's rate points. A classical codec has its own rate points.
    """
    cells = [cell for name, given in methods.items() for cell in _cells(plugins, protocol, name, given, rates, seeds)]
    return sorted(cells, key=lambda cell: (cell.seed, cell.rate_index))


def _cells(
    plugins: Plugins, protocol: Protocol, method: str, given: dict[str, Any], rates: Sequence[int], seeds: int
) -> Iterator[Cell]:
    kind, parameters = method_class(plugins, method), tuple(own_parameters(plugins, method, given).items())
    if issubclass(kind, ClassicalMethod):
        for number, value in enumerate(kind.rates):
            yield Cell(protocol, method, parameters, number, 0, own_rate=(kind.rate_parameter, value))
        return
    for seed in range(seeds if issubclass(kind, TrainedMethod) else 1):
        yield from (Cell(protocol, method, parameters, rate, seed) for rate in rates)


def own_parameters(plugins: Plugins, method: str, given: dict[str, Any]) -> dict[str, Any]:
    """The given parameters, checked, without those that equal their default. Raises UserError for a wrong one.

    So `alpha=0.5` names the same cell as no alpha if 0.5 is the default, and a parameter that is added later renames no cell.
    """
    cls: type[Strict] = method_class(plugins, method).Parameters
    checked: Strict = options(cls, given, f"the parameters of method {method}")
    return dict(checked.model_dump(mode="json", exclude_defaults=True))


@dataclass(frozen=True)
class Runner:
    """Everything that computing cells needs, made once by a command. `start_pool`: from the number of cells."""

    plugins: Plugins
    folders: Folders
    device: Device
    start_pool: Callable[[int], Pool]
    console: Console
    listen: Listener
    pack: int | None = None

    def fill(self, cells: Sequence[Cell], work: Work | None = None) -> bool:
        """Compute the cells that are not finished, and show progress. Returns whether all are finished now.

        Raises UserError if the folders cannot be written, or if a batch has fewer images than there are devices.
        """
        work = work or ComputeCell(self.plugins, self.folders, self.device)
        for folder in (self.folders.store.folder, self.folders.runs):
            require_writable(folder)
        absent = [cell for cell in cells if not work.finished(cell)]
        planned, missing = (Counter(cell.protocol.identity for cell in some) for some in (cells, absent))
        for protocol, count in planned.items():
            counts = f"{count} cells, {count - missing[protocol]} already there"
            self.console.print(f"{protocol} on {self.device.accelerator}: {counts}", highlight=False)
        smallest = min(cell.protocol.training.batch_size for cell in cells)
        if smallest < self.device.count:
            raise UserError(f"--devices {self.device.count} would leave devices without images: the batches have {smallest}.")
        if not absent:
            return True
        self.console.print("starting: data is checked, the ceiling is measured, every method gets one batch", highlight=False)
        tracker = Tracker([f"{cell.protocol.name} {cell.name}" if len(planned) > 1 else cell.name for cell in absent])
        self.listen(tracker)
        complete = follow(compute(absent, work, self.start_pool(len(absent)), self.pack), tracker, self.console, self.listen)
        self.folders.store.refresh()  # another machine may have computed some of the cells
        return complete

    def records_of(self, cells: Sequence[Cell]) -> list[Record]:
        """The comparable records of these cells. Prints the records of their protocols that are set aside."""
        files = {self.folders.record(cell) for cell in cells}
        records = self.comparable_records({cell.protocol.identity for cell in cells})
        return [record for record in records if self.folders.store.path_of(record) in files]

    def comparable_records(self, protocols: set[str]) -> list[Record]:
        """The comparable records of protocols. Prints the others with the reason."""
        records, set_aside = read_comparable(self.folders.store, self.plugins)
        for path, reason in set_aside.items():
            if protocols & set(path.parts):
                self.console.print(f"set aside {path}: {reason}", markup=False)
        return [record for record in records if record.protocol.identity in protocols]
