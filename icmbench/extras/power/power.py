"""`icmbench power` and `icmbench converge`: which differences a protocol resolves, and how much its anchor still improves."""

import math
from dataclasses import asdict
from itertools import combinations

import numpy as np

from icmbench.base.errors import UserError
from icmbench.compare.comparison import Curves, against_anchor, curves
from icmbench.compare.difference import compare, elsewhere, trained
from icmbench.compare.resamples import Source, source
from icmbench.compare.verdict import lacking
from icmbench.extras.power.statistics import Paired, Power, power
from icmbench.running.runner import Runner, plan
from icmbench.schema.protocol import Protocol, doubled
from icmbench.schema.record import Record
from icmbench.stats.confidence import Estimate, shared_variance


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
    """A/A comparisons of the anchor over the seeds, and every trained method of the results folder against the anchor.

    Raises UserError if a pair of seeds has no BD-rate.
    """
    anchors, folders = anchor_records([protocol], seeds, runner), runner.folders
    others = runner.comparable_records({protocol.identity})
    records = [*anchors, *(record for record in others if record.label != protocol.anchor)]
    return power_of(curves(records, protocol.evaluation.metric)[0], source(folders.store, runner.plugins))


def power_of(group: Curves, resampled: Source) -> Power:
    """Resolving power from the records of one protocol, its anchor's among them."""
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
    return power(log_rates, table, images, paired_of(group, resampled))


def paired_of(group: Curves, resampled: Source) -> dict[str, Paired]:
    """Every complete comparison of a method that was trained here with the anchor, at two seeds or more, by its label."""
    found, anchor = {}, group.records[group.protocol.anchor]
    for label, by_seed in group.records.items():
        difference = against_anchor(group, label, resampled)
        whole = trained(by_seed) and not elsewhere(by_seed) and not lacking(anchor, by_seed, difference)
        if whole and len(difference.log_rates) > 1:
            values, clouds = zip(*difference.log_rates.values(), strict=True)
            shared = shared_variance(clouds, difference.images)
            images = None if shared is None else 100 * math.sqrt(shared)
            found[label] = Paired(len(values), 100 * float(np.std(values, ddof=1)), images)
    return found


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
        f"{protocol.identity}: {protocol.anchor} against itself (A/A), {result.seeds} seeds, {len(pairs)} pairs",
        f"A/A BD-rate between two seeds: {result.same:.2f} % (root mean square), from {pairs[0]:+.2f} to {pairs[-1]:+.2f} %",
    ]
    if result.coverage is None:
        lines.append(f"coverage: needs at least {2 * result.group} seeds")
    else:
        lines.append(f"coverage: {result.coverage:.0%} of {result.comparisons} A/A intervals contain 0 (they share seeds)")
    for label, one in result.paired.items():
        images = "" if one.images is None else f", ± {one.images:.2f} % by the choice of the images"
        lines.append(f"{label} against {protocol.anchor}, paired: ± {one.spread:.2f} % between {one.seeds} seeds{images}")
    if result.paired:
        lines.append(f"pooled over these: ± {result.spread:.2f} % ({result.freedom} degrees of freedom), used below")
    else:
        lines.append("no method has records at two seeds, so the rest is based on A/A: a real comparison may vary more or less")
    lines += [f"{count} seeds show {value:.1f} % in 80 % of the experiments" for count, value in result.smallest.items()]
    lines += [
        f"to show {target:g} %: {'more than 1,000' if count is None else count} seeds" for target, count in result.needed.items()
    ]
    return "\n".join(lines)


def as_json(figures: Power | Estimate, protocol: Protocol) -> dict[str, object]:
    """The figures with the protocol's identity and step budget."""
    return {"protocol": protocol.identity, "anchor": protocol.anchor, "steps": protocol.training.steps} | asdict(figures)
