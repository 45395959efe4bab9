"""Which rows of a table are judged and ranked, and what many comparisons at once do to that."""

from collections.abc import Sequence
from dataclasses import replace
from itertools import combinations

from icmbench.compare.difference import Difference, Seeds, trained
from icmbench.compare.row import Row
from icmbench.stats.confidence import LEVEL, holm


def lacking(anchor: Seeds, test: Seeds, difference: Difference) -> tuple[str, ...]:
    """What a comparison with the anchor lacks: rate points of either, and seeds ("6 of 7 points", "2 of 3 seeds")."""
    compared = {seed: curve for seed, curve in anchor.items() if seed in difference.results or not trained(anchor)}
    missing = [hole for hole in (_hole(test), _hole(compared, " of the anchor")) if hole]
    count, of = len(difference.log_rates), len(test) if trained(test) else len(difference.results)
    if 0 < count < of:
        missing.append(f"{count} of {of} seeds")
    return tuple(missing)


def _hole(curves: Seeds, whose: str = "") -> str:
    """How many of its rate points the curve has that lacks most; "" if all are whole."""
    counts = [(len({record.rate_index for record in curve}), curve[0].curve_points) for curve in curves.values()]
    have, full = min(counts, key=lambda count: count[0] - count[1], default=(0, 0))
    return f"{have} of {full} points{whose}" if have < full else ""


def corrected(rows: Sequence[Row]) -> list[Row]:
    """The rows with their p-values corrected as one family by Holm's method. A row that lacks something takes no part."""
    judged = {k: row.bd_rate.p for k, row in enumerate(rows) if row.bd_rate and row.bd_rate.p is not None and not row.lacking}
    p = dict(zip(judged, holm(list(judged.values())), strict=True))
    return [replace(row, p=p.get(k), comparisons=len(judged) if k in p else 0) for k, row in enumerate(rows)]


def ranking(differences: dict[str, Difference], anchor: str, resolved: set[str]) -> dict[str, int]:
    """Rank bands, best first: a method belongs to a band if it is not shown to be worse than the best of that band.

    `differences`: of the methods from the anchor, which is ranked among them. `resolved`: those that are shown to differ from
    it. The best of a band is chosen after the fact, so the p-values of the other pairs are corrected for all of them.
    """
    values = {label: difference.bd_rate.value for label, difference in differences.items() if difference.bd_rate is not None}
    if not values:
        return {}
    values |= {anchor: 0.0}
    names = sorted(values, key=lambda name: values[name])
    gaps = {pair: differences[pair[0]].minus(differences[pair[1]]) for pair in combinations(names, 2) if anchor not in pair}
    p = {pair: gap.p for pair, gap in gaps.items() if gap and gap.p is not None}
    shown = {pair for pair, value in zip(p, holm(list(p.values())), strict=True) if value < 1 - LEVEL}
    shown |= {pair for label in resolved for pair in ((label, anchor), (anchor, label))}
    ranks: dict[str, int] = {}
    leader = ""
    for position, label in enumerate(names):
        if not leader or (leader, label) in shown:
            leader = label
            rank = position + 1
        ranks[label] = rank
    return ranks
