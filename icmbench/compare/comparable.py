"""Which records may be compared: those measured in the same way. The others are set aside, with the reason."""

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from icmbench.plugins.find import Plugins
from icmbench.schema.record import MEASUREMENT, Record
from icmbench.schema.store import Store
from icmbench.stats.tally import Tally


def read_comparable(store: Store, plugins: Plugins, protocol: str = "*@*") -> tuple[list[Record], dict[Path, str]]:
    """The records of a store (of one protocol: its identity) that may be compared, and the files set aside with the reason.

    `plugins` know the tallies, which find scores that contradict each other.
    """
    records, aside = store.read(protocol)
    tally, sound = cache(plugins.tally), []
    for record in records:
        if problems := disordered(record, tally(record.tally)):
            aside[store.path_of(record)] = "; ".join(problems)
        else:
            sound.append(record)
    kept, incomparable = comparable(sound)
    return kept, aside | {store.path_of(record): reason for record, reason in incomparable}


def disordered(record: Record, tally: type[Tally] | None) -> list[str]:
    """Reasons, by the record's tally, why its scores or its ceiling cannot be true; empty if there are none."""
    groups = {"the score": record.scores, "the ceiling of": record.ceiling}
    return [f"{what} {text}" for what, scores in groups.items() for text in (tally.disordered(scores) if tally else ())]


def comparable(records: Iterable[Record]) -> tuple[list[Record], list[tuple[Record, str]]]:
    """The comparable records, protocol by protocol, and those that were measured differently, with the reason.

    Measurement version, val images, their number and the ceiling must be those of the anchor's records (of all records if the
    anchor has none). If those differ, the most frequent values count, or the latest of equally frequent ones. The source of a
    method must be that of its latest record.
    """
    groups: dict[str, list[Record]] = {}
    for record in records:
        groups.setdefault(record.protocol.identity, []).append(record)
    kept: list[Record] = []
    aside: list[tuple[Record, str]] = []
    for rest in groups.values():
        for check in (_measurement, _val_images, _ceiling, _method_source):
            judged = list(zip(rest, check(rest), strict=True))
            aside += [(record, reason) for record, reason in judged if reason]
            rest[:] = [record for record, reason in judged if not reason]
        kept += rest
    return kept, aside


def _measurement(group: Sequence[Record]) -> list[str]:
    reason = "it was measured by another version of icmbench (measurement {}, now {}); run its cell again"
    return [reason.format(r.measurement, MEASUREMENT) if r.measurement != MEASUREMENT else "" for r in group]


def _val_images(group: Sequence[Record]) -> list[str]:
    usual = _usual(group, lambda record: (record.protocol.bound.val, record.images))
    reason = "it was scored on other val images or annotations than the records it would be compared with; run its cell again"
    return [reason if (record.protocol.bound.val, record.images) != usual else "" for record in group]


def _ceiling(group: Sequence[Record]) -> list[str]:
    """Ceilings may differ by as much as two machines differ on the same images."""
    usual = dict(_usual(group, lambda record: tuple(sorted(record.ceiling.items()))))
    reasons = []
    for record in group:
        name, value = record.metric, record.ceiling[record.metric]
        far = abs(value - usual.get(name, value)) > record.protocol.evaluation.score_tolerance
        reasons.append(f"its ceiling is {name} {value:.2f}, that of the others {usual[name]:.2f}" if far else "")
    return reasons


def _method_source(group: Sequence[Record]) -> list[str]:
    latest: dict[str, Record] = {}
    for record in sorted(group, key=lambda r: r.created):
        latest[record.label] = record
    reason = "it was made with another version of the method's source than the latest record of this method; run its cell again"
    return [reason if record.method_sha256 != latest[record.label].method_sha256 else "" for record in group]


def _usual(group: Sequence[Record], value: Callable[[Record], Any]) -> Any:
    """The most frequent value among the anchor's records, the latest of equally frequent ones; () without records."""
    if not group:
        return ()
    judges = [record for record in group if record.label == record.protocol.anchor] or list(group)
    latest_first = sorted(judges, key=lambda record: record.created, reverse=True)
    return Counter(map(value, latest_first)).most_common(1)[0][0]
