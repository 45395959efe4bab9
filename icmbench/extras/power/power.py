"""`icmbench power` and `icmbench converge`: how finely a protocol resolves, and how far its anchor still moves."""

from dataclasses import asdict
from itertools import combinations

import numpy as np
from rich.console import Console

from icmbench.base.errors import UserError
from icmbench.compare.comparison import Curves, curves
from icmbench.compare.difference import compare
from icmbench.compare.resamples import Source, source
from icmbench.experiment.cell import Place
from icmbench.extras.power.statistics import Power, power
from icmbench.running.plan import plan
from icmbench.running.run import fill, records_of
from icmbench.schema.protocol import Protocol, doubled
from icmbench.schema.record import Record, Store
from icmbench.stats.confidence import Estimate


def anchor_records(protocols: list[Protocol], seeds: int, place: Place, console: Console) -> list[Record]:
    """The anchor's records under each protocol at seeds 0 to `seeds` - 1, computed where they are missing.

    Raises UserError where a cell fails or a record is not sound.
    """
    cells = [
        cell
        for protocol in protocols
        for cell in plan(place.plugins, protocol, {protocol.anchor: {}}, range(len(protocol.rates)), seeds)
    ]
    if not fill(cells, place, console):
        raise UserError("some cells failed, see above; the same command tries them again.")
    records = records_of(cells, Store(place.results), console)
    if len(records) < len(cells):
        raise UserError("some records are not sound, see above; delete them to have their cells computed again.")
    return records


def measure_power(protocol: Protocol, seeds: int, place: Place, console: Console) -> Power:
    """A/A comparisons of the anchor over the seeds. Raises UserError where a pair of seeds has no BD-rate."""
    group = curves(anchor_records([protocol], seeds, place, console))[0]
    return power_of(group, source(Store(place.results), place.plugins))


def power_of(group: Curves, resampled: Source) -> Power:
    """Resolving power from the anchor's records of one protocol."""
    by_seed = group.records[group.protocol.anchor]
    names = sorted(by_seed)
    log_rates = np.zeros((len(names), len(names)))
    clouds: dict[tuple[int, int], np.ndarray] = {}
    images = by_seed[names[0]][0].images
    for (i, one), (j, other) in combinations(enumerate(names), 2):
        pair = compare({0: by_seed[one]}, {0: by_seed[other]}, resampled)
        if not pair.log_rates:
            raise UserError(f"no BD-rate between the seeds {one} and {other}: {pair.results[0].reason}.")
        value, cloud = pair.log_rates[0]
        log_rates[i, j], log_rates[j, i] = value, -value
        if cloud is not None:
            clouds[i, j], clouds[j, i] = cloud, -cloud
    table = None
    if len(clouds) == len(names) * (len(names) - 1):
        size = next(iter(clouds.values())).size
        table = np.stack([[clouds.get((i, j), np.zeros(size)) for j in range(len(names))] for i in range(len(names))])
    return power(log_rates, table, images)


def measure_convergence(protocol: Protocol, seeds: int, place: Place, console: Console) -> Estimate:
    """BD-rate of the anchor with twice its step budget against itself. Raises UserError where there is none."""
    anchor, twice = protocol.anchor, doubled(protocol)
    groups = {g.protocol.identity: g for g in curves(anchor_records([protocol, twice], seeds, place, console))}
    pair = compare(
        groups[protocol.identity].records[anchor],
        groups[twice.identity].records[anchor],
        source(Store(place.results), place.plugins),
    )
    if pair.bd_rate is None:
        reasons = "; ".join(dict.fromkeys(result.reason for result in pair.results.values()))
        raise UserError(f"no BD-rate between the budgets: {reasons}.")
    return pair.bd_rate


def describe_power(found: Power, protocol: Protocol) -> str:
    """The report in plain words."""
    pairs = sorted(found.pairs)
    lines = [
        f"{protocol.identity}: {protocol.anchor} against itself, {found.seeds} seeds, {len(pairs)} pairs",
        f"BD-rate between two seeds: {found.spread:.2f} % (root mean square), from {pairs[0]:+.2f} to {pairs[-1]:+.2f} %",
        f"95 % interval of {found.group} unpaired seeds: ± {found.half_width:.2f} %",
    ]
    if found.coverage is None:
        lines.append(f"coverage: needs at least {2 * found.group} seeds")
    else:
        lines.append(f"coverage: {found.coverage:.0%} of {found.comparisons} A/A intervals contain 0 (they share seeds)")
    lines += [
        f"to show {target:g} %: {'more than 1,000' if count is None else count} seeds" for target, count in found.needed.items()
    ]
    return "\n".join(lines)


def as_json(found: Power | Estimate, protocol: Protocol) -> dict[str, object]:
    """The figures with the protocol's identity and step budget."""
    return {"protocol": protocol.identity, "anchor": protocol.anchor, "steps": protocol.training.steps} | asdict(found)
