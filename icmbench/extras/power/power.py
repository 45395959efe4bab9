"""`icmbench power` and `icmbench converge`: which differences a protocol resolves, and how much its anchor still improves."""

from dataclasses import asdict
from itertools import combinations

import numpy as np

from icmbench.base.errors import UserError
from icmbench.compare.comparison import Curves, curves
from icmbench.compare.difference import compare
from icmbench.compare.resamples import Source, source
from icmbench.extras.power.statistics import Power, power
from icmbench.running.runner import Runner, plan
from icmbench.schema.protocol import Protocol, doubled
from icmbench.schema.record import Record
from icmbench.stats.confidence import Estimate


def anchor_records(protocols: list[Protocol], seeds: int, runner: Runner) -> list[Record]:
    """The anchor's records under each protocol at seeds 0 to `seeds` - 1. Computes the missing ones.

    Raises UserError if a cell fails or a record cannot be compared.
    """
    cells = [
        cell
        for protocol in protocols
        for cell in plan(runner.plugins, protocol, {protocol.anchor: {}}, range(len(protocol.rates)), seeds)
    ]
    if not runner.fill(cells):
        raise UserError("some cells failed, see above; run the same command again to retry them.")
    records = runner.records_of(cells)
    if len(records) < len(cells):
        raise UserError("some records cannot be compared, see above; delete them to have their cells computed again.")
    return records


def measure_power(protocol: Protocol, seeds: int, runner: Runner) -> Power:
    """A/A comparisons of the anchor over the seeds. Raises UserError if a pair of seeds has no BD-rate."""
    group = curves(anchor_records([protocol], seeds, runner))[0]
    return power_of(group, source(runner.folders.store, runner.plugins))


def power_of(group: Curves, resampled: Source) -> Power:
    """Resolving power from the anchor's records of one protocol."""
    by_seed = group.records[group.protocol.anchor]
    names = sorted(by_seed)
    log_rates = np.zeros((len(names), len(names)))
    clouds: dict[tuple[int, int], np.ndarray] = {}
    images = by_seed[names[0]][0].images
    for (i, first), (j, second) in combinations(enumerate(names), 2):
        pair = compare({0: by_seed[first]}, {0: by_seed[second]}, resampled, group.metric)
        if not pair.log_rates:
            raise UserError(f"no BD-rate between the seeds {first} and {second}: {pair.results[0].reason}.")
        value, cloud = pair.log_rates[0]
        log_rates[i, j], log_rates[j, i] = value, -value
        if cloud is not None:
            clouds[i, j], clouds[j, i] = cloud, -cloud
    table = None
    if len(clouds) == len(names) * (len(names) - 1):
        size = next(iter(clouds.values())).size
        table = np.stack([[clouds.get((i, j), np.zeros(size)) for j in range(len(names))] for i in range(len(names))])
    return power(log_rates, table, images)


def measure_convergence(protocol: Protocol, seeds: int, runner: Runner) -> Estimate:
    """BD-rate of the anchor with twice its step budget against itself. Raises UserError if there is none."""
    anchor, twice = protocol.anchor, doubled(protocol)
    groups = {g.protocol.identity: g for g in curves(anchor_records([protocol, twice], seeds, runner))}
    plain, longer = groups[protocol.identity], groups[twice.identity]
    pair = compare(plain.records[anchor], longer.records[anchor], source(runner.folders.store, runner.plugins), plain.metric)
    if pair.bd_rate is None:
        reasons = "; ".join(dict.fromkeys(result.reason for result in pair.results.values()))
        raise UserError(f"no BD-rate between the budgets: {reasons}.")
    return pair.bd_rate


def describe_power(result: Power, protocol: Protocol) -> str:
    """The report in plain words."""
    pairs = sorted(result.pairs)
    lines = [
        f"{protocol.identity}: {protocol.anchor} against itself, {result.seeds} seeds, {len(pairs)} pairs",
        f"BD-rate between two seeds: {result.spread:.2f} % (root mean square), from {pairs[0]:+.2f} to {pairs[-1]:+.2f} %",
        f"95 % interval of {result.group} unpaired seeds: ± {result.half_width:.2f} %",
    ]
    if result.coverage is None:
        lines.append(f"coverage: needs at least {2 * result.group} seeds")
    else:
        lines.append(f"coverage: {result.coverage:.0%} of {result.comparisons} A/A intervals contain 0 (they share seeds)")
    lines += [
        f"to show {target:g} %: {'more than 1,000' if count is None else count} seeds" for target, count in result.needed.items()
    ]
    return "\n".join(lines)


def as_json(figures: Power | Estimate, protocol: Protocol) -> dict[str, object]:
    """The figures with the protocol's identity and step budget."""
    return {"protocol": protocol.identity, "anchor": protocol.anchor, "steps": protocol.training.steps} | asdict(figures)
