"""The pages of the static site: each a function that is given a `Page` and returns its parts, the title first."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from icmbench.base.errors import UserError
from icmbench.leaderboard import compare_views, figures, listings, pages
from icmbench.leaderboard.compare_views import Measured
from icmbench.leaderboard.derived import ABOUT
from icmbench.leaderboard.pages import Details, Facts, Part, Words
from icmbench.leaderboard.views import COSTS, FIRST_SHOWN
from icmbench.show.sheet import Cell, Sheet

if TYPE_CHECKING:
    from icmbench.leaderboard.static import Page

APP_ONLY = "images side by side as {} codecs show them, are in the app only (icmbench leaderboard): they need the codecs."


@dataclass(frozen=True)
class Switches:
    """Switches that change the figures below them: for logarithmic rates, for every seed (`seeds`: on at first), for methods.

    `methods`: name, name in the figures, whether it is shown at first.
    """

    seeds: bool = False
    methods: Sequence[tuple[str, str, bool]] = ()


@dataclass(frozen=True)
class Data:
    """The tables as files: name, what it is, number of lines, address by format."""

    tables: Sequence[tuple[str, str, int, Mapping[str, str]]]


SitePart = Part | Switches | Data


def index(page: "Page") -> Iterator[SitePart]:
    """All protocols with their best methods, or how to make a first record."""
    if not page.site.protocols:
        yield Words("title", "No records yet")
        text = "This leaderboard shows the records of a results folder, and there were none that can be read when it was made."
        yield Words("text", f"{text} A first run makes some:")
        yield Words("code", "icmbench run aux_loss detection")
        yield Words("text", "Then make the site again:")
        yield Words("code", "icmbench publish OUT")
        return
    yield Words("title", "Leaderboard")
    yield Words(
        "text",
        "Codecs for machines: bits against the accuracy of a recogniser. BD-rate is the mean change of the rate at equal "
        "accuracy; a negative one means bits saved. Methods that share a rank are not shown to differ from the best of them.",
    )
    yield listings.protocols(page)
    yield Words("heading", "Data")
    yield Words("text", "Everything that these pages show, as tables:")
    files = {name: {form: page.to(f"data/{name}.{form.lower()}") for form in ("Parquet", "JSON")} for name in ABOUT}
    yield Data([(name, ABOUT[name], len(getattr(page.tables, name)), links) for name, links in files.items()])


def set_aside(page: "Page") -> Iterator[SitePart]:
    """The files that count nowhere."""
    yield Words("title", "Files set aside")
    yield listings.set_aside(page.tables)


def curves(page: "Page") -> Iterator[SitePart]:
    """Rate-accuracy curves, and the change of rate along them."""
    first = {*page.methods[:FIRST_SHOWN], page.choice.anchor}
    yield Words("title", "Curves")
    yield Switches(methods=[(method, figures.plain(method), method in first) for method in page.methods])
    yield Words("heading", "Rate and accuracy")
    yield from pages.curves(page, page.methods)


def ablations(page: "Page") -> Iterator[SitePart]:
    """What each parameter of a method does, as far as it was measured."""
    yield Words("title", "Ablations")
    yield Words("note", pages.UNCORRECTED)
    axes = [(plugin, axis) for plugin, names in page.axes.items() for axis in names]
    for plugin, axis in axes:
        yield Words("heading", f"{plugin}: {axis}")
        yield from pages.ablation(page, plugin, axis)
    if not axes:
        yield from pages.no_ablations(page)


def cost(page: "Page") -> Iterator[SitePart]:
    """BD-rate against every cost, with the Pareto fronts."""
    yield Words("title", "Cost")
    found = {by: list(pages.cost(page, by)) for by in COSTS}
    for by, parts in found.items():
        if parts:
            yield Words("heading", COSTS[by].capitalize())
            yield from parts
    if not any(found.values()):
        yield Words("info", "No method has both a BD-rate and a known cost.")


def method(page: "Page") -> Iterator[SitePart]:
    """A method's card: what it is, what it reached, and how to compute it again."""
    label, anchor = page.method, page.choice.anchor
    yield Words("title", label)
    yield listings.standings(page, label)
    yield from pages.card(page, page.site.plugins, label)
    if label not in page.recorded:
        return
    yield Words("heading", "Curve")
    yield Switches(seeds=True)
    yield figures.curves(page, [label])
    if label in page.site.compared(page.choice.protocol):
        yield Words("text", f"Compared with {anchor}", page.link("pair", method=label))
    yield Words("heading", "Records")
    yield listings.method_records(page, label)


def compare(page: "Page") -> Iterator[SitePart]:
    """Each method against the protocol's anchor, with where the comparison of the two is."""
    anchor, methods = page.choice.anchor, page.site.compared(page.choice.protocol)
    yield Words("title", "Compare")
    if not methods:
        yield Words("text", f"A comparison needs the anchor {anchor} and another method, both with records. This makes them:")
        yield Words("code", f"icmbench run aux_loss {page.facts['task']} --protocol {page.facts['name']} --seeds 3")
        return
    where = "A method's name leads to the comparison: seed by seed, class by class, image by image."
    yield Words("text", f"Each method against {anchor}, the anchor of the protocol, paired by seed and image. {where}")
    yield listings.comparisons(page, methods)
    yield Words("note", f"Any other two methods, and {APP_ONLY.format('two')}")


def pair(page: "Page", measured: Measured) -> Iterator[SitePart]:
    """A method (B) against the protocol's anchor (A): in numbers, class by class, and image by image.

    `measured`: the protocol's records.
    """
    a, b = page.choice.anchor, page.method
    yield Words("title", "Compare")
    names = {"A": a, "B": b}
    yield Facts({side: Cell(label, href=page.link("method", method=label)) for side, label in names.items()})
    yield Words("heading", "Difference")
    yield from compare_views.difference(measured.pair(a, b))
    yield Words("heading", "Curves")
    yield Switches()
    yield figures.curves(page, [a, b])
    if (gains := figures.gains(page, [b])) is not None:
        yield gains
    yield Words("heading", "Scores at each rate point")
    ours, theirs = (compare_views.rate_points(page, label) for label in (a, b))
    points = [(point, compare_views.partner(point, ours, theirs)) for point in ours]
    for number, (point, other) in enumerate(points):
        yield from _at_point(page, number, point, other)
    yield Words("heading", "Image by image")
    yield from _image_by_image(page, *points[len(points) // 2])
    yield Words("note", f"Other rate points and seeds, and {APP_ONLY.format('the two')}")


def _at_point(page: "Page", number: int, point: str, other: str) -> Iterator[SitePart]:
    """The scores of both methods at one rate point, number `number`."""
    metric = page.facts["metric"]
    yield Words("subheading", f"A at {point}, B at {other}")
    found = compare_views.matched(page, (page.choice.anchor, point), (page.method, other))
    if not found:
        yield Words("text", compare_views.NO_SEED)
        return
    found = compare_views.with_classes(page.site.results, found, metric)
    yield replace(compare_views.scores_sheet(found, metric), name=f"scores-{number}")
    first, *rest = compare_views.by_class(found, metric)
    if isinstance(first, Sheet):
        first = Details(f"Class by class ({len(first.lines)})", [replace(first, name=f"classes-{number}"), *rest])
    yield first


def _image_by_image(page: "Page", point: str, other: str) -> Iterator[SitePart]:
    """Winners and losers at one rate point and the first seed."""
    metric = page.facts["metric"]
    try:
        found = compare_views.matched(page, (page.choice.anchor, point), (page.method, other))
        seed, (a, b) = next(iter(found.items()))
        table = compare_views.images(page.site.results, a["path"], b["path"], metric)
    except (StopIteration, UserError):
        yield Words("text", "The rows of the images are not all there, so that images cannot be compared one by one.")
        return
    yield Words("text", f"A at {point}, B at {other}, seed {seed}")
    yield figures.images(table, metric, page.choice.protocol)
    yield from compare_views.by_image(table, metric)
