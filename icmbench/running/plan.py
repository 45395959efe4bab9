"""The cells of a comparison."""

from collections.abc import Iterator, Sequence
from typing import Any

from icmbench.api.classes import method_class
from icmbench.api.method import ClassicalMethod, TrainedMethod
from icmbench.experiment.cell import Cell
from icmbench.plugins.find import Plugins, options
from icmbench.schema.protocol import Protocol, Strict

Pairs = tuple[tuple[str, Any], ...]


def own_parameters(plugins: Plugins, method: str, given: dict[str, Any]) -> dict[str, Any]:
    """The given parameters, checked, without those that equal their default. Raises UserError for a wrong one.

    So `alpha=0.5` names the same cell as no alpha if 0.5 is the default, and a parameter that is added later renames no cell.
    """
    cls: type[Strict] = method_class(plugins, method).Parameters
    checked: Strict = options(cls, given, f"the parameters of method {method}")
    return dict(checked.model_dump(mode="json", exclude_defaults=True))


def plan(
    plugins: Plugins, protocol: Protocol, methods: dict[str, dict[str, Any]], rates: Sequence[int], seeds: int
) -> list[Cell]:
    """All cells of these methods (name -> given parameters), seed by seed; an untrained method has only seed 0.

    `rates`: numbers of the protocol's rate points. A classical codec has its own rate points.
    """
    cells = [
        cell
        for name, given in methods.items()
        for cell in _cells(plugins, protocol, name, tuple(own_parameters(plugins, name, given).items()), rates, seeds)
    ]
    return sorted(cells, key=lambda cell: (cell.seed, cell.rate_index))


def _cells(
    plugins: Plugins, protocol: Protocol, method: str, parameters: Pairs, rates: Sequence[int], seeds: int
) -> Iterator[Cell]:
    kind = method_class(plugins, method)
    if issubclass(kind, ClassicalMethod):
        for number, value in enumerate(kind.rates):
            yield Cell(protocol, method, parameters, number, 0, own_rate=(kind.rate_parameter, value))
        return
    for seed in range(seeds if issubclass(kind, TrainedMethod) else 1):
        yield from (Cell(protocol, method, parameters, rate, seed) for rate in rates)
