"""What the pages of the static site show: each a function that is given a `Page` and returns what its template wants."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from icmbench.base.errors import UserError
from icmbench.leaderboard import compare_views, figures, listings, views
from icmbench.leaderboard.compare_views import Matched
from icmbench.leaderboard.derived import NAMES
from icmbench.leaderboard.views import FIRST_SHOWN
from icmbench.show.bdrate_table import notes

if TYPE_CHECKING:
    from icmbench.leaderboard.static import Page

ABOUT = {
    "protocols": "what was measured under which rules",
    "ranking": "the rows of the ranking, once for every anchor",
    "points": "rate points, over the seeds (seed −1) and at each of them",
    "at_rates": "accuracy at rates of the anchor",
    "gains": "change of rate at equal accuracy along the curves",
    "records": "one line a record",
    "submissions": "who submitted a method, and whether it was verified",
    "broken": "files that were set aside, with the reason",
}


def index(page: "Page") -> dict[str, Any]:
    """All protocols with their best methods, or how to make a first record."""
    found = bool(page.site.protocols)
    data = [(name, ABOUT[name], len(getattr(page.tables, name))) for name in NAMES]
    return {"sheet": page.sheet(listings.protocols(page.tables, page.link)) if found else None, "data": data}


def set_aside(page: "Page") -> dict[str, Any]:
    """The files that count nowhere."""
    return {"sheet": page.sheet(listings.set_aside(page.tables))}


def overview(page: "Page") -> dict[str, Any]:
    """Who is best, by how much, whether that is certain, and at what cost."""
    return {
        "sheet": page.sheet(listings.overview(page.tables, page.choice, page.link)),
        "doubled": views.doubled(page.tables, page.choice),
        "retracted": views.retracted(page.tables, page.choice.protocol),
    }


def curves(page: "Page") -> dict[str, Any]:
    """Rate-accuracy curves, and the change of rate along them."""
    against = figures.gains(page, page.methods)
    first = {*page.methods[:FIRST_SHOWN], page.choice.anchor}
    return {
        "curves": page.figure(figures.curves(page, page.methods), log=True),
        "gains": against and page.figure(against),
        "switches": [(method, figures.plain(method), method in first) for method in page.methods],
    }


def ablations(page: "Page") -> dict[str, Any]:
    """What each parameter of a method does, as far as it was measured."""
    found = views.axes(page.tables, page.choice)
    return {"axes": [_axis(page, plugin, axis) for plugin, axes in found.items() for axis in axes]}


def _axis(page: "Page", plugin: str, axis: str) -> dict[str, Any]:
    lines = views.along(page.tables, page.choice, plugin, axis)
    return {
        "title": f"{plugin}: {axis}",
        "figure": page.figure(figures.ablation(page, lines, plugin, axis)),
        "sheet": page.sheet(listings.ablation(lines, axis, page.choice, plugin)),
    }


def cost(page: "Page") -> dict[str, Any]:
    """BD-rate against every cost, with the Pareto fronts."""
    lines = views.cost_lines(page.tables, page.choice)
    placed = {by: views.placed(lines, by) for by in figures.COSTS}
    return {"costs": [_cost(page, by, shown, len(lines)) for by, shown in placed.items() if shown]}


def _cost(page: "Page", by: str, shown: Sequence[dict[str, Any]], all_of_them: int) -> dict[str, Any]:
    return {
        "title": figures.COSTS[by].capitalize(),
        "figure": page.figure(figures.cost(page, shown, by)),
        "left": all_of_them - len(shown),
        "all": all_of_them,
        "devices": sorted({line["device"] for line in shown if line["device"]}) if "seconds" in by else [],
    }


def protocol(page: "Page") -> dict[str, Any]:
    """The definition, the identity, the ceiling and the data of the protocol."""
    files = listings.needed(page.facts)
    definition = json.loads(page.facts["definition"])
    return {
        "steps": definition["training"]["steps"],
        "ceilings": page.sheet(listings.ceilings(page.facts)),
        "files": None if files is None else page.sheet(files),
        "definition": json.dumps(definition, indent=2, ensure_ascii=False),
    }


def method(page: "Page") -> dict[str, Any]:
    """A method's card: what it is, what it reached, and how to compute it again."""
    label = page.method
    line = views.plugin_of(page.tables, page.choice, label)
    ranked = next((one for one in views.ranking(page.tables, page.choice) if one["method"] == label), None)
    submitted = views.submission(page.tables, page.choice.protocol, label) if line else None
    files = json.loads(submitted["source"]) if submitted else {}
    return {
        "standings": page.sheet(listings.standings(page.tables, page.choice.protocol, label, page.link)),
        "line": line,
        "submitted": submitted
        and page.sheet(listings.submission(submitted, len(views.records(page.tables, page.choice.protocol, label)))),
        "files": files,
        **(_computed(page, line, int(ranked["seeds"]), files) if line and ranked else {}),
    }


def compare(page: "Page") -> dict[str, Any]:
    """Each method against the protocol's anchor, with where the comparison of the two is."""
    methods = page.site.compared(page.choice.protocol)
    return {"sheet": page.sheet(listings.comparisons(page.tables, page.choice, methods, page.link)) if methods else None}


def pair(page: "Page") -> dict[str, Any]:
    """A method (B) against the protocol's anchor (A): in numbers, class by class, and image by image."""
    choice, a, b = page.choice, page.choice.anchor, page.method
    found = page.site.measured(choice.protocol).pair(a, b)
    against = figures.gains(page, [b])
    return {
        "numbers": compare_views.numbers(found),
        "notes": notes(found.row),
        "seeds": page.sheet(compare_views.seeds_sheet(found)) if found.by_seed else None,
        "curves": page.figure(figures.curves(page, [a, b]), log=True),
        "gains": against and page.figure(against),
        "points": [_at_point(page, number, *points) for number, points in enumerate(_partners(page))],
        "images": _image_by_image(page),
        "addresses": {label: page.link("method", choice.parameters | {"method": label}) for label in (a, b)},
        "few_objects": compare_views.FEW_OBJECTS,
        "no_classes": compare_views.NO_CLASSES,
    }


def _partners(page: "Page") -> list[tuple[str, str]]:
    """The rate points of A, each with the one of B that goes with it."""
    protocol = page.choice.protocol
    ours, theirs = (compare_views.rate_points(page.tables, protocol, label) for label in (page.choice.anchor, page.method))
    return [(point, compare_views.partner(point, ours, theirs)) for point in ours]


def _matched(page: "Page", point: str, other: str) -> Matched:
    return compare_views.matched(page.tables, page.choice.protocol, (page.choice.anchor, point), (page.method, other))


def _at_point(page: "Page", number: int, point: str, other: str) -> dict[str, Any]:
    """The scores of both at one rate point; the sheets are empty where they have no seed in common."""
    metric = page.facts["metric"]
    found = compare_views.with_classes(page.site.results, _matched(page, point, other), metric)
    scores = compare_views.scores_sheet(found, metric) if found else None
    classes = compare_views.classes_sheet(found, metric) if found else None
    return {
        "title": f"A at {point}, B at {other}",
        "scores": scores and page.sheet(replace(scores, name=f"scores-{number}")),
        "classes": classes and page.sheet(replace(classes, name=f"classes-{number}")),
        "count": len(classes.lines) if classes else 0,
    }


def _image_by_image(page: "Page") -> dict[str, Any] | None:
    """Winners and losers at the middle rate point and the first seed; None without the rows of the images."""
    points, metric = _partners(page), page.facts["metric"]
    point, other = points[len(points) // 2]
    try:
        seed, lines = next(iter(_matched(page, point, other).items()))
        table = compare_views.images(page.site.results, lines[0]["path"], lines[1]["path"], metric)
    except (StopIteration, UserError):
        return None
    by = ("score", "bits") if compare_views.scored(table) else ("bits",)
    return {
        "where": f"A at {point}, B at {other}, seed {seed}",
        "figure": page.figure(compare_views.scatter(table, metric, page.choice.protocol)),
        "sheets": [page.sheet(compare_views.extremes(table, one, metric, lambda image: "")) for one in by],
        "scored": compare_views.scored(table),
    }


def submit(page: "Page") -> dict[str, Any]:
    """How a result gets here."""
    return {"steps": views.submit_steps(page.facts), "paragraphs": views.STATUSES}


def _computed(page: "Page", line: dict[str, Any], seeds: int, files: Mapping[str, str]) -> dict[str, Any]:
    """What only a method has that was computed here."""
    choice, facts, label = page.choice, page.facts, page.method
    text, source = views.docstring(page.site.plugins, line["plugin"], files)
    return {
        "text": text,
        "source": source,
        "given": json.loads(line["parameters"]),
        "defaults": json.loads(line["defaults"]),
        "command": views.command(line, facts["task"], choice.protocol, seeds),
        "curve": page.figure(figures.curves(page, [label]), log=True),
        "records": page.sheet(listings.method_records(page.tables, choice, label)),
        "compared": page.link("pair", choice.parameters | {"method": label})
        if label in page.site.compared(choice.protocol)
        else "",
    }
