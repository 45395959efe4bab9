"""One cell, from the start codec to the record."""

import json
import multiprocessing
import shutil
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from functools import cached_property, lru_cache, partial
from multiprocessing.queues import Queue
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import pandas as pd
import safetensors
import torch

from icmbench.api.classes import make_task, method_class
from icmbench.api.method import ClassicalMethod, Method, TrainedMethod
from icmbench.api.task import Task
from icmbench.base import seeds
from icmbench.base.errors import UserError
from icmbench.base.files import locked, remove_leftovers, replacing, sha256, write_text, writing
from icmbench.codecs.neural import Codec, NeuralCodec, build_model, load_weights
from icmbench.experiment import bitstreams, cost, environment, outcome
from icmbench.experiment.evaluate import Evaluation, Keep, evaluate, evaluate_uncompressed
from icmbench.experiment.load import load_codec
from icmbench.experiment.train import LOADERS, Batches, Ledger, device_name, forget, train
from icmbench.extras.remote import Remote
from icmbench.plugins.find import Plugins, options
from icmbench.plugins.weights import verified_path
from icmbench.running.pace import START
from icmbench.schema.protocol import Protocol, RatePoint, Strict
from icmbench.schema.record import LAMBDA, Record, Store, method_label, point_label, point_name

if TYPE_CHECKING:  # takes a second to import, and whoever only plans does without
    from lightning_fabric import Fabric

Report = Callable[[str, int, int, dict[str, float]], None]  # phase, done, total, terms to show
HOUR = 3600.0


def silent(phase: str, done: int, total: int, terms: dict[str, float]) -> None:
    """A report that shows nothing."""


class Busy(Exception):
    """Another process computes this cell."""


@dataclass(frozen=True)
class Cell:
    """Protocol x method x rate point x seed; `parameters` are those that differ from the method's defaults.

    `own_rate`: the rate parameter of a classical codec and its value, instead of the protocol's λ. `trained_under`: the other
    protocol whose codec is scored under this one.
    """

    protocol: Protocol
    method: str
    parameters: tuple[tuple[str, Any], ...]
    rate_index: int
    seed: int
    own_rate: tuple[str, float] | None = None
    trained_under: Protocol | None = None

    @property
    def rate(self) -> RatePoint:
        """The protocol's rate point, for a codec that has none of its own."""
        return (self.trained_under or self.protocol).rates[self.rate_index]

    @property
    def rate_point(self) -> dict[str, float]:
        """λ, or a classical codec's rate parameter, with its value."""
        return dict([self.own_rate or (LAMBDA, self.rate.lmbda)])

    @property
    def label(self) -> str:
        """Method with its parameters, and the protocol it was trained under where that is another one."""
        elsewhere = self.trained_under.identity if self.trained_under else ""
        return method_label(self.method, dict(self.parameters), elsewhere)

    @property
    def name(self) -> str:
        """Short name for people."""
        return f"{self.label} {point_label(self.rate_point)} seed={self.seed}"

    def record_path(self, store: Store) -> Path:
        """Where its record lies once it is finished."""
        return store.path(self.protocol, self.label, self.rate_point, self.seed)

    def origin(self) -> "Cell":
        """The cell that trains the codec: itself, or that of the protocol `trained_under`."""
        return replace(self, protocol=self.trained_under, trained_under=None) if self.trained_under else self


@dataclass(frozen=True)
class Place:
    """Where a cell is computed and what it finds there. `cores`: those it may use for coding and for making batches ahead.

    `engine`: worker processes of this machine ("local"), or tasks of the Ray cluster at `address` ("ray"; None: a new one).
    `url`: where the results are kept, of which `results` is a copy here; None: nowhere else.
    `pack`: cells that are computed at once on each device; None: as many as it bears.
    """

    plugins: Plugins
    results: Path
    runs: Path
    accelerator: str = "cpu"
    devices: int = 1
    keep_bitstreams: bool = False
    cores: int = 1
    pack: int | None = None
    engine: Literal["local", "ray"] = "local"
    address: str | None = None
    url: str | None = None

    @property
    def device(self) -> torch.device:
        """The device that evaluates."""
        return torch.device("cuda" if self.accelerator == "cuda" else self.accelerator)


@lru_cache(maxsize=2)
def load_task(protocol_json: str, plugins: Plugins, device: str) -> Task:
    """The protocol's task on a device, kept for the cells that follow (its recogniser is frozen)."""
    protocol = Protocol.model_validate_json(protocol_json)
    task = make_task(plugins, protocol.task, protocol.data, protocol.recognizer)
    task.freeze()
    task.to(torch.device(device))
    return task


class CellRun:
    """The steps of one cell. What each step made lies in the run folder, so that an interrupted cell goes on."""

    def __init__(self, cell: Cell, place: Place, report: Report = silent) -> None:
        self.cell, self.place, self.report = cell, place, report
        self.protocol = cell.protocol
        self.folder = place.runs / self.protocol.identity / cell.label / f"{point_name(cell.rate_point)},seed={cell.seed}"
        self.origin = CellRun(cell.origin(), place, report) if cell.trained_under else self
        self.codec_path = self.origin.folder / "codec.safetensors"
        self.checkpoint = self.folder / "checkpoint.safetensors"
        self.bitstreams = self.folder / "bitstreams"

    @cached_property
    def task(self) -> Task:
        """The protocol's task."""
        return load_task(self.protocol.model_dump_json(by_alias=True), self.place.plugins, str(self.place.device))

    @property
    def identity(self) -> str:
        """What a checkpoint must have been made for."""
        return json.dumps([self.protocol.identity, self.cell.label, self.cell.rate_index, self.cell.seed, self.source])

    @cached_property
    def source(self) -> str:
        """SHA-256 of the method's source file."""
        path = self.place.plugins.find("methods")[self.cell.method].path
        return sha256(path) if path else ""

    def seed(self, *axes: object) -> int:
        """A seed of the axes that all methods share at this rate point and seed index."""
        return seeds.derive(self.protocol.hash, self.cell.rate_index, self.cell.seed, *axes)

    @property
    def kind(self) -> type[Method]:
        """The method's class."""
        return method_class(self.place.plugins, self.cell.method)

    @cached_property
    def parameters(self) -> Strict:
        """The method's parameters, defaults filled in."""
        given = dict(self.cell.parameters)
        found: Strict = options(self.kind.Parameters, given, f"the parameters of method {self.cell.method}")
        return found

    def method(self) -> Method:
        """The method at the start of its training, its own parts initialised from a stream of their own.

        Raises UserError where the method cannot do with the protocol's codec or recogniser.
        """
        if issubclass(self.kind, ClassicalMethod):
            assert self.cell.own_rate is not None
            return self.kind(self.parameters, self.cell.own_rate[1])
        task = self.task  # loaded before the stream starts: building it draws random numbers
        model = build_model(self.protocol.codec)
        load_weights(model, verified_path(self.cell.rate.start))
        seeds.seed_torch(self.seed("method", self.cell.method))
        return self.kind(self.parameters, model, task, self.cell.rate.lmbda)

    def train(self) -> None:
        """Train to the end of the budget and save the codec alone, unless that was done before."""
        if self.origin is not self:
            with locked(self.origin.folder / "lock"):
                self.origin.train()
            return
        if issubclass(self.kind, ClassicalMethod) or self._trained():
            return
        if not issubclass(self.kind, TrainedMethod):
            self._save(self.method(), Ledger(device=device_name(torch.device("cpu"))))
            return
        fabric = self._fabric()
        if self.place.devices > 1:
            with _relayed(self.report) as reports:
                fabric.launch(partial(_train_share, cell=self.cell, place=self.place, reports=reports))
        else:
            self.train_on(fabric)

    def _fabric(self) -> "Fabric":
        from lightning_fabric import Fabric
        from lightning_fabric.strategies import DDPStrategy

        return Fabric(
            accelerator=self.place.accelerator,
            devices=self.place.devices,
            precision=self.protocol.training.precision,
            strategy=DDPStrategy(start_method="spawn", find_unused_parameters=True) if self.place.devices > 1 else "auto",
        )

    def train_on(self, fabric: "Fabric") -> None:
        """Train on the devices of `fabric`; the first of them saves the codec."""
        self.task.to(fabric.device)
        method = self.method()
        assert isinstance(method, TrainedMethod)
        batches = self.batches(fabric.global_rank, fabric.world_size)
        ledger = train(method, batches, fabric, self.checkpoint, self.identity, self._log(fabric))
        if (self.place.pack or 1) > 1:
            ledger.joules = None  # a device's meter does not tell whose they are
        if fabric.is_global_zero:
            self._save(method, ledger)

    def batches(self, rank: int = 0, world: int = 1) -> Batches:
        """The cell's training batches, or this rank's share of them."""
        dataset, workers = self.task.dataset("train"), min(LOADERS, self.place.cores // world)
        return Batches(self.task.batch, dataset, self.protocol.training, self.seed("batches"), rank, world, workers)

    def _log(self, fabric: "Fabric") -> Callable[[int, dict[str, float]], None]:
        if not fabric.is_global_zero:
            return lambda step, terms: None
        from torch.utils.tensorboard import SummaryWriter

        folder = self.folder / "tensorboard"
        with writing(folder):
            writer = SummaryWriter(str(folder))

        def log(step: int, terms: dict[str, float]) -> None:
            with writing(folder):
                for name, value in terms.items():
                    writer.add_scalar(name, value, step)
                writer.flush()
            self.report("train", step + 1, self.protocol.training.steps, terms)

        return log

    def _save(self, method: Method, ledger: Ledger) -> None:
        assert not isinstance(method, ClassicalMethod)
        codec = NeuralCodec(method.codec, self.protocol.codec)
        codec.refit()
        in_codec = {id(p) for p in method.codec.parameters()}
        parameters = method.parameters() if isinstance(method, TrainedMethod) else ()
        only = sum(p.numel() for p in parameters if id(p) not in in_codec)
        metadata = {"identity": self.identity, "ledger": json.dumps(asdict(ledger)), "training_only": str(only)}
        metadata |= {"method": self.cell.method, "parameters": self.parameters.model_dump_json()}
        shutil.rmtree(self.bitstreams, ignore_errors=True)  # another codec's
        with replacing(self.codec_path) as temporary:
            codec.save(temporary, metadata)

    def _trained(self) -> dict[str, str]:
        """Metadata of the trained codec of this identity; empty where there is none."""
        try:
            with safetensors.safe_open(self.codec_path, "pt") as file:
                metadata = file.metadata() or {}
        except (OSError, safetensors.SafetensorError):
            return {}
        return metadata if metadata.get("identity") == self.origin.identity else {}

    def codec(self) -> Codec:
        """The classical codec, or the trained one as saved: the only thing that evaluation gets."""
        if issubclass(self.kind, ClassicalMethod):
            method = self.method()
            assert isinstance(method, ClassicalMethod)
            return method
        return load_codec(self.codec_path, self.place.plugins, self.place.device, self.origin.protocol.codec)

    def ceiling(self) -> dict[str, float]:
        """Scores on uncompressed pictures; measured once per protocol, device and runs folder."""
        path = self.place.runs / self.protocol.identity / f"ceiling-{self.place.device.type}.json"
        with locked(path.with_suffix(".lock")):
            if not path.exists():
                scores = evaluate_uncompressed(self.task, partial(self._evaluated, "ceiling"))
                write_text(path, json.dumps(scores))
        content: dict[str, float] = json.loads(path.read_text())
        return content

    @property
    def finished(self) -> bool:
        """Whether there is a record; one that another version of a loose plugin file made does not count."""
        path = self.cell.record_path(Store(self.place.results))
        loose = self.place.plugins.find("methods")[self.cell.method].path in self.place.plugins.files
        return path.exists() and (not loose or self.source in path.read_text())

    def run(self, wait: bool = True) -> bool:
        """Train, evaluate, write the record and its rows; False where a record is there by the time that it would begin.

        Raises UserError for what the user can mend, and, without `wait`, Busy for a cell that another process computes.
        """
        with locked(self.folder / "lock", wait) as mine:
            if not mine:
                raise Busy
            if self.finished:
                return False
            self.report(START, 0, 0, {})
            self._tidy()
            self.compute()
            return True

    def _tidy(self) -> None:
        """Remove what killed processes left half-written."""
        record = self.cell.record_path(Store(self.place.results))
        if self.origin is self:
            for path in (self.checkpoint, self.codec_path):
                remove_leftovers(path)
        for path in (record, record.with_suffix(".parquet")):
            remove_leftovers(path, age=HOUR)  # a run with another runs folder, and so another lock, may be writing

    def keep_bitstreams(self) -> None:
        """Make the bitstreams of a finished cell with its trained codec, unless they are there; the record stays as it is.

        Raises UserError where the codec or the record's rows are gone, or the codec's bytes are not the record's.
        """
        rows = self.cell.record_path(Store(self.place.results)).with_suffix(".parquet")
        with locked(self.folder / "lock"):
            if self.bitstreams.exists():
                return
            codec_there = issubclass(self.kind, ClassicalMethod) or bool(self._trained())
            for needed, there in ((self.codec_path, codec_there), (rows, rows.exists())):
                if not there:
                    raise UserError(f"{self.cell.name} has a record, but its bitstreams cannot be made: {needed} is gone.")
            with bitstreams.keeping(self.bitstreams) as keep:
                self._code_again(pd.read_parquet(rows)["bits"], keep)

    def _code_again(self, recorded: Iterable[int], keep: Keep) -> None:
        codec, dataset = self.codec(), self.task.dataset("val")
        for index, bits in enumerate(recorded):
            sample = dataset[index]
            data = codec.encode(sample.image)
            if 8 * len(data) != bits:
                now = f"{sample.name} is coded to {8 * len(data)} bits here, its record says {bits}"
                raise UserError(f"the bitstreams of {self.cell.name} cannot be made: {now}.")
            keep(sample.name, data)

    def compute(self) -> None:
        """Train, evaluate, write the record and its rows."""
        self.train()
        ceiling, codec = self.ceiling(), self.codec()
        cost.reset_peak_memory(self.place.device)
        with bitstreams.keeping(self.bitstreams if self.place.keep_bitstreams else None) as keep:
            progress = partial(self._evaluated, "evaluate")
            result = evaluate(codec, self.task, progress, keep, self.place.cores)
        store = Store(self.place.results)
        rows = self.cell.record_path(store).with_suffix(".parquet")
        with replacing(rows) as temporary:
            pd.DataFrame(result.rows).to_parquet(temporary)
        record = self._record(result, ceiling, codec, sha256(rows))
        try:
            store.write(record)
        except ValueError as error:
            raise UserError(f"the result of {self.cell.name} is impossible and was not recorded: {error}.") from error
        if self.place.url:
            Remote(self.place.url).push()
        forget(self.checkpoint)

    def _evaluated(self, phase: str, done: int, total: int) -> None:
        self.report(phase, done, total, {})

    def _record(self, result: Evaluation, ceiling: dict[str, float], codec: Codec, rows_sha256: str) -> Record:
        """The record of the evaluation that has just ended."""
        trained = self._trained() if isinstance(codec, NeuralCodec) else {}
        given, start = dict(self.cell.parameters), self.cell.rate.start if isinstance(codec, NeuralCodec) else None
        return Record(
            protocol=self.protocol,
            protocol_hash=self.protocol.hash,
            method=self.cell.method,
            parameters=given,
            defaults={k: v for k, v in self.parameters.model_dump(mode="json").items() if k not in given},
            method_sha256=self.source,
            rate_index=self.cell.rate_index,
            rate_point=self.cell.rate_point,
            start_sha256=sha256(verified_path(start)) if start else "",
            trained_under=self.cell.trained_under.identity if self.cell.trained_under else "",
            seed=self.cell.seed,
            cost=outcome.costs(result, codec, self.task, trained, self.place.devices, self.place.pack or 1),
            environment=environment.describe(device_name(self.place.device)),
            created=datetime.now(UTC).isoformat(timespec="seconds"),
            ceiling=ceiling,
            rows_sha256=rows_sha256,
            **outcome.measured(result, self.protocol.evaluation.rate_tolerance, trained),
        )


@contextmanager
def _relayed(report: Report) -> Iterator["Queue[Any]"]:
    """A queue to hand to the processes of a training; what they put there is reported here."""
    reports: Queue[Any] = multiprocessing.get_context("spawn").Queue()

    def relay() -> None:
        while said := reports.get():
            report(*said)

    thread = threading.Thread(target=relay, daemon=True)
    thread.start()
    try:
        yield reports
    finally:
        reports.put(None)
        thread.join(timeout=5)  # a process that was killed may have left the queue locked


def _train_share(fabric: "Fabric", cell: Cell, place: Place, reports: "Queue[Any]") -> None:
    """One process of a training on several devices."""
    CellRun(cell, place, lambda *said: reports.put(said)).train_on(fabric)
