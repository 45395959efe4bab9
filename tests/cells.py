"""Computing cells in tests."""

from pathlib import Path
from typing import Any

from icmbench.experiment.compute import ComputeCell
from icmbench.experiment.content import bind
from icmbench.experiment.folders import Device, Folders
from icmbench.plugins.find import Plugins
from icmbench.schema.protocol import Protocol, override
from icmbench.schema.store import Store

CPU = Device()


def bound(name: str | Path, changes: dict[str, Any] | None = None, plugins: Plugins | None = None) -> Protocol:
    """A protocol by name or file, with changed fields, bound to its data."""
    plugins = plugins or Plugins()
    return bind(override(plugins.protocol(str(name)), changes or {}), plugins)


def folders(folder: Path) -> Folders:
    """`results` and `runs` in a folder."""
    return Folders(Store(folder / "results"), folder / "runs")


def work(folder: Path, plugins: Plugins | None = None, keep_bitstreams: bool = False) -> ComputeCell:
    """The work that makes records in a folder, on the CPU."""
    return ComputeCell(plugins or Plugins(), folders(folder), CPU, keep_bitstreams)
