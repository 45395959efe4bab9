"""`icmbench transfer`: codecs trained under one protocol, scored under the others."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import chain
from typing import Any

from icmbench.api.classes import method_class
from icmbench.api.method import TrainedMethod
from icmbench.base.errors import UserError
from icmbench.compare.comparison import rows
from icmbench.compare.resamples import Source, source
from icmbench.experiment.cell import Cell
from icmbench.extras.ablation import matrix_figure, report
from icmbench.extras.ablation.report import Entry
from icmbench.plugins.find import Plugins
from icmbench.running.runner import Runner, own_parameters, plan
from icmbench.schema.protocol import Protocol, override
from icmbench.schema.record import Record, method_label

TRAINED_UNDER, SCORED_WITH = "trained under", "scored with"


@dataclass(frozen=True)
class Matrix:
    """A method's codecs of every protocol under every protocol. `cells`: all cells to compute, also the anchors'."""

    label: str
    protocols: tuple[Protocol, ...]
    cells: tuple[Cell, ...]

    def row_label(self, trained_under: Protocol, scored_with: Protocol) -> str:
        """The label of the first protocol's codecs in the second protocol's table."""
        return self.label if trained_under is scored_with else method_label(self.label, {}, trained_under.identity)


def protocols(plugins: Plugins, names: Sequence[str], fields: dict[str, Any]) -> list[Protocol]:
    """The protocols of these names, with changed fields. Raises UserError for unknown or repeated ones and for fewer than two."""
    protocols = [override(plugins.protocol(name), fields) for name in names]
    [(name, times)] = Counter(protocol.name for protocol in protocols).most_common(1)
    if times > 1:
        raise UserError(f"the protocol {name} is named twice; name each one once.")
    if len(protocols) < 2:
        raise UserError("transfer needs at least two protocols: --protocols NAME NAME.")
    return protocols


def matrix(plugins: Plugins, protocols: Sequence[Protocol], method: str | None, parameters: dict[str, Any], seeds: int) -> Matrix:
    """The matrix to compute; the default method is the protocols' anchor.

    Raises UserError for a method that is not trained, for wrong parameters, and for protocols with different anchors if
    no method is named.
    """
    anchors = sorted({protocol.anchor for protocol in protocols})
    if method is None and len(anchors) > 1:
        raise UserError(f"the protocols have different anchors ({', '.join(anchors)}): name the method to transfer.")
    method = method or anchors[0]
    if not issubclass(method_class(plugins, method), TrainedMethod):
        raise UserError(f"the method {method} is not trained, so it has no codecs to transfer; name a trained method.")
    own = own_parameters(plugins, method, parameters)
    at_home = {
        protocol.identity: plan(plugins, protocol, {protocol.anchor: {}} | {method: own}, range(len(protocol.rates)), seeds)
        for protocol in protocols
    }
    label = method_label(method, own)
    elsewhere = [
        replace(cell, protocol=there, trained_under=home)
        for home in protocols
        for there in protocols
        for cell in at_home[home.identity]
        if there is not home and cell.label == label
    ]
    return Matrix(label, tuple(protocols), (*chain.from_iterable(at_home.values()), *elsewhere))


def run(matrix: Matrix, runner: Runner) -> int:
    """Compute the missing cells, then show the figure and the table. Returns 1 if a cell failed."""
    complete = runner.fill(matrix.cells)
    entries = entries_of(matrix, runner.records_of(matrix.cells), source(runner.folders.store, runner.plugins))
    name = report.folder_name(matrix.label, *(protocol.identity for protocol in matrix.protocols))
    folder = runner.folders.runs / "transfer" / name
    title = f"{matrix.label}: BD-rate against the anchor of the protocol that scores"
    report.publish(entries, matrix_figure.plot(entries, title), "transfer", folder, runner)
    return 0 if complete else 1


def entries_of(matrix: Matrix, records: Sequence[Record], resampled: Source) -> list[Entry]:
    """Every pair of protocols with its row, as `icmbench table` would make it of these records, by scoring protocol."""
    table = {(row.protocol, row.method): row for row in rows(records, resampled)}
    entries = [
        Entry(
            {SCORED_WITH: there.identity, TRAINED_UNDER: home.identity},
            table.get((there.identity, matrix.row_label(home, there))),
            "own" if home is there else "",
        )
        for there in matrix.protocols
        for home in matrix.protocols
    ]
    return report.corrected(entries)
