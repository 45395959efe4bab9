"""Computing cells in tests, and commands in this process, without the seconds that a fresh one needs to start."""

import io
import subprocess
from collections.abc import Callable, Sequence
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any

from icmbench.cli.main import main
from icmbench.experiment.compute import ComputeCell
from icmbench.experiment.folders import Device, Folders
from icmbench.plugins.find import Plugins
from icmbench.running.runner import bind
from icmbench.schema.protocol import Protocol, override
from icmbench.schema.store import Store

CPU = Device()
Refused = Callable[[Sequence[str | Path], str], None]  # the fixture `refused`
INLINE = ("--device", "cpu", "--engine", "inline")


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


_run = subprocess.run


def run_here(command: Sequence[str], **options: Any) -> subprocess.CompletedProcess[str]:
    """Stands in for `subprocess.run`: `python -m icmbench …` runs in this process."""
    if list(command[1:3]) != ["-m", "icmbench"]:
        return _run(command, **options)
    out, err = io.StringIO(), io.StringIO()
    with redirect_stdout(out), redirect_stderr(err):
        status = main(list(command[3:]))
    return subprocess.CompletedProcess(list(command), status, out.getvalue(), err.getvalue())
