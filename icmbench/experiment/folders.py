"""The folders and devices of a job, in small objects that are made once and never changed. No torch."""

from dataclasses import dataclass
from pathlib import Path

from icmbench.experiment.cell import Cell
from icmbench.schema.record import MEASUREMENT, point_name
from icmbench.schema.store import Store


@dataclass(frozen=True)
class Folders:
    """The store of records, and the folder `runs` of codecs, checkpoints and logs."""

    store: Store
    runs: Path

    def record(self, cell: Cell) -> Path:
        """The path of a cell's record."""
        return self.store.path(cell.protocol, cell.label, cell.rate_point, cell.seed)

    def of(self, cell: Cell) -> Path:
        """The run folder of a cell."""
        return self.runs / cell.protocol.identity / cell.label / f"{point_name(cell.rate_point)},seed={cell.seed}"

    def lock(self, cell: Cell) -> Path:
        """The lock of a cell, held while it is computed."""
        return self.of(cell) / "lock"

    def codec(self, cell: Cell) -> Path:
        """The trained codec, in the run folder of the cell that trains it."""
        return self.of(cell.origin) / "codec.safetensors"

    def checkpoint(self, cell: Cell) -> Path:
        """The latest checkpoint of the training."""
        return self.of(cell) / "checkpoint.safetensors"

    def bitstreams(self, cell: Cell) -> Path:
        """The folder of the bitstreams, if they are kept."""
        return self.of(cell) / "bitstreams"

    def ceiling(self, cell: Cell, device: "Device") -> Path:
        """The scores on uncompressed images, kept for each kind of device, val data and version of the measurement."""
        name = f"ceiling-{device.accelerator}-{cell.protocol.bound.val[:12]}-m{MEASUREMENT}.json"
        return self.runs / cell.protocol.identity / name


@dataclass(frozen=True)
class Device:
    """`cpu` or `cuda`, and how many of them share each training's batches."""

    accelerator: str = "cpu"
    count: int = 1


@dataclass(frozen=True)
class Share:
    """A worker's share of the machine. `cores`: those it may use for coding and for making batches ahead.

    `packed`: cells that are computed at once on the device.
    """

    cores: int = 1
    packed: int = 1
