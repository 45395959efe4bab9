"""`icmbench sweep`: the effect of parameters of a method and fields of its protocol on the BD-rate, one at a time."""

import types
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, Union, get_args, get_origin

from icmbench.api.classes import method_class
from icmbench.base.errors import UserError, unknown
from icmbench.compare.comparison import rows
from icmbench.compare.resamples import Source, source
from icmbench.experiment.cell import Cell
from icmbench.extras.ablation import axis_figure, report
from icmbench.extras.ablation.report import Entry
from icmbench.running.job import Job
from icmbench.running.runner import Runner, cells_of, own_parameters
from icmbench.schema.protocol import Protocol
from icmbench.schema.record import Record, method_label

PROTOCOL = "protocol"
Bind = Callable[[Protocol], Protocol]  # to the data


@dataclass(frozen=True)
class Setting:
    """One value of an axis: the resulting protocol and method label, and the cells to compute.

    `default`: it is the default of the method or of the protocol.
    """

    axis: str
    value: Any
    protocol: Protocol
    label: str
    cells: tuple[Cell, ...]
    default: bool


def settings(job: Job, over: dict[str, list[Any]], bind: Bind) -> list[Setting]:
    """Every value of every axis, all else as in the job; an axis without values gets the choices of its parameter.

    Raises UserError for unknown names, wrong values, values that give the same experiment, and the anchor against itself.
    """
    found = []
    known = method_class(job.plugins, job.method).Parameters.model_fields
    for name, given in over.items():
        of_protocol = name == PROTOCOL or "." in name
        if not of_protocol and name not in known:
            raise unknown(f"parameter of {job.method}", name, known)
        values = given or ([] if of_protocol else choices(known[name].annotation))
        if not values:
            raise UserError(f"{name} has no fixed choices: write --over {name}=VALUE,VALUE.")
        found += _axis(job, name, values, bind)
    return found


def _axis(job: Job, name: str, values: Sequence[Any], bind: Bind) -> list[Setting]:
    settings: dict[tuple[str, str], Setting] = {}
    default = _without(job, name)
    usual = _experiment(default, bind)
    for value in values:
        varied = _varied(default, name, value)
        protocol, label = _experiment(varied, bind)
        key = protocol.identity, label
        if key in settings:
            raise UserError(f"on the axis {name}, {settings[key].value} and {value} are the same experiment; name one of them.")
        cells = tuple(cells_of(varied, protocol))
        settings[key] = Setting(name, value, protocol, label, cells, key == (usual[0].identity, usual[1]))
    if all(setting.label == setting.protocol.anchor for setting in settings.values()):
        raise UserError(f"along the axis {name}, {job.method} is the anchor itself: there is nothing to compare it with.")
    return list(settings.values())


def _without(job: Job, name: str) -> Job:
    """The job without its setting of the axis `name`."""
    parameters, fields = ({k: v for k, v in given.items() if k != name} for given in (job.parameters, job.fields))
    return replace(job, parameters=parameters, fields=fields, protocol=None if name == PROTOCOL else job.protocol)


def _varied(job: Job, name: str, value: Any) -> Job:
    """The job with one value of the axis `name`: another protocol, a field of the protocol (with a dot), or a parameter."""
    if name == PROTOCOL:
        return replace(job, protocol=str(value))
    if "." in name:
        return replace(job, fields=job.fields | {name: value})
    return replace(job, parameters=job.parameters | {name: value})


def choices(annotation: Any) -> list[Any]:
    """The values of a Literal, a bool, or a union of these with None; none for other types."""
    if annotation in (bool, type(None)):
        return [False, True] if annotation is bool else [None]
    if get_origin(annotation) is Literal:
        return list(get_args(annotation))
    if get_origin(annotation) in (Union, types.UnionType):
        parts = [choices(part) for part in get_args(annotation)]
        return [value for part in parts for value in part] if all(parts) else []
    return []


def _experiment(job: Job, bind: Bind) -> tuple[Protocol, str]:
    """The job's protocol, bound to its data, and the label of its row."""
    protocol, label = job.resolved(), _label(job)  # checks the parameters before data are read
    return bind(protocol), label


def run(job: Job, settings: Sequence[Setting], runner: Runner) -> int:
    """Compute the missing cells, then show the figure and the table. Returns 1 if a cell failed."""
    once = list({runner.folders.record(cell): cell for setting in settings for cell in setting.cells}.values())
    complete = runner.fill(once)
    entries = entries_of(settings, runner.records_of(once), source(runner.folders.store, runner.plugins))
    anchors = " or ".join(sorted({setting.protocol.anchor for setting in settings}))
    figure = axis_figure.plot(entries, title(job, settings), anchors)
    report.publish(entries, figure, "sweep", runner.folders.runs / "sweeps" / folder_name(job, settings), runner)
    return 0 if complete else 1


def entries_of(settings: Sequence[Setting], records: Sequence[Record], resampled: Source) -> list[Entry]:
    """The settings with their rows, as `icmbench table` would make them of these records."""
    table = {(row.protocol, row.method): row for row in rows(records, resampled)}
    entries = [
        Entry({"axis": s.axis, "value": s.value}, table.get((s.protocol.identity, s.label)), "default" if s.default else "")
        for s in settings
    ]
    return report.corrected(entries)


def title(job: Job, settings: Sequence[Setting]) -> str:
    """The title: the method and the protocol without the axes."""
    usual = next((setting.protocol for setting in settings if setting.default), None)
    protocol = f"{usual.name} ({usual.hash})" if usual else job.resolved().name
    return f"{_label(job)} under {protocol}, one axis at a time"


def _label(job: Job) -> str:
    return method_label(job.method, own_parameters(job.plugins, job.method, job.parameters))


def folder_name(job: Job, settings: Sequence[Setting]) -> str:
    """METHOD-TASK-AXES, with the protocol's identity unless it is the task's default."""
    protocol = job.resolved()
    own = job.plugins.resolve(job.task, None) == protocol
    axes = dict.fromkeys(setting.axis for setting in settings)
    bound = protocol.model_copy(update={"content": settings[0].protocol.content})  # the name alone is that of every --set
    return report.folder_name(_label(job), job.task, *axes, *([] if own else [bound.identity]))
