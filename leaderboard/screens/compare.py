"""Two methods beside each other: how far apart they are, in which classes and on which images, and how that looks."""

from typing import Any

import pandas as pd
import streamlit as st

from icmbench.base.errors import UserError
from icmbench.leaderboard import compare_views, side_by_side, views
from icmbench.leaderboard.background import obtain, worker
from icmbench.leaderboard.compare_views import Line, Matched, Pair
from icmbench.leaderboard.page import Context, link, select, show_figure, show_sheet
from icmbench.leaderboard.side_by_side import BITS, FOUND, ORIGINAL, SIDES, TRUTH, Wanted
from icmbench.show.bdrate_table import notes

TITLE, ICON = "Compare", ":material/compare:"


def show(context: Context) -> None:
    """Method B against method A."""
    st.title("Compare")
    methods = compare_views.methods(context.tables, context.choice)
    if len(methods) < 2:
        st.info("A comparison needs two methods with records, and this protocol has one. This makes another:")
        st.code(f"icmbench run aux_loss {context.facts['task']} --protocol {context.facts['name']} --seeds 3", language=None)
        return
    a, b = _choose(methods, context.choice.anchor)
    _difference(context, a, b)
    found = _at_one_rate(context, a, b)
    if found:
        _one_seed(context, found)


def _choose(methods: list[str], anchor: str) -> tuple[str, str]:
    """Two different methods: B is chosen among those that are not A."""
    left, right = st.columns(2)
    with left:
        a = select("Method A", sorted(methods, key=lambda method: method != anchor), "a")
    with right:
        b = select("Method B", [method for method in methods if method != a], "b")
    return a, b


def _difference(context: Context, a: str, b: str) -> None:
    st.subheader("Difference")
    protocol, metric = context.choice.protocol, context.facts["metric"]
    key = (str(context.results), protocol, metric, a, b, *(_content(context, method) for method in (a, b)))
    found = obtain("numbers", key, lambda: compare_views.pair(context.results, protocol, a, b, metric), "The difference")
    if found is not None:
        _in_numbers(found)


def _content(context: Context, method: str) -> int:
    """What stands for a method's records: other ones make another comparison."""
    table = views.records(context.tables, context.choice.protocol, method)
    return int(pd.util.hash_pandas_object(table, index=False).sum())


def _in_numbers(found: Pair) -> None:
    with st.container(horizontal=True):
        for name, (text, about) in compare_views.numbers(found).items():
            st.metric(name, text, help=about)
    for note in notes(found.row):
        st.text(f"• {note}")
    if found.by_seed:
        show_sheet(compare_views.seeds_sheet(found))
    st.caption("Negative BD-rates: B needs fewer bits. In notes A is the anchor.")


def _at_one_rate(context: Context, a: str, b: str) -> Matched:
    """Choose a rate point and show the scores there."""
    st.subheader("Scores at one rate point")
    ours, theirs = (compare_views.rate_points(context.tables, context.choice.protocol, method) for method in (a, b))
    point = select("Rate point of A", list(ours), "position")
    other = compare_views.partner(point, ours, theirs)
    st.text(f"A: {a} at {point}, {ours[point]:.4f} bpp\nB: {b} at {other}, {theirs[other]:.4f} bpp")
    if other != point:
        st.caption("B has no rate point of this name; this is its nearest one in rate.")
    found = compare_views.matched(context.tables, context.choice.protocol, (a, point), (b, other))
    if not found:
        st.info("The two methods have no seed in common at this rate point.")
        return found
    show_sheet(compare_views.scores_sheet(found, context.facts["metric"]))
    _classes(context, found)
    return found


def _classes(context: Context, found: Matched) -> None:
    """Scores of single classes, where records or the rows of their images tell them."""
    metric = context.facts["metric"]
    st.subheader("Class by class")
    whole = obtain(
        "numbers",
        ("classes", *_key(context, *(line for both in found.values() for line in both))),
        lambda: compare_views.with_classes(context.results, found, metric),
        "The scores of single classes",
    )
    if whole is None:
        return
    sheet = compare_views.classes_sheet(whole, metric)
    if sheet is None:
        st.info(compare_views.NO_CLASSES)
        return
    show_sheet(sheet)
    st.caption(compare_views.FEW_OBJECTS)


def _key(context: Context, *lines: Line) -> tuple[str, ...]:
    """What stands for some records: other ones make another result."""
    return (str(context.results), context.facts["metric"], *(f"{line['path']} {line['created']} {line['bpp']}" for line in lines))


def _one_seed(context: Context, found: Matched) -> None:
    st.subheader("Image by image")
    seed = next(iter(found))
    if len(found) > 1:
        seed = select("Seed", list(found), "seed")
    lines = found[seed]
    table = obtain(
        "numbers",
        ("images", *_key(context, *lines)),
        lambda: compare_views.images(context.results, lines[0]["path"], lines[1]["path"], context.facts["metric"]),
        "The list of images",
    )
    if table is None:
        return
    _winners(context, table, lines, seed)
    st.subheader("Side by side")
    image = select("Image", list(dict.fromkeys(table["image"])), "picture")
    _side_by_side(Wanted(context.results, context.runs, lines[0]["path"], lines[1]["path"], image))


def _winners(context: Context, table: pd.DataFrame, lines: tuple[Line, Line], seed: int) -> None:
    metric = context.facts["metric"]
    given = context.choice.parameters | {
        "a": lines[0]["method"], "b": lines[1]["method"], "position": lines[0]["point"], "seed": str(seed),
    }  # fmt: skip

    def href(image: str) -> str:
        return link("compare", given | {"picture": image})

    show_figure(compare_views.scatter(table, metric, context.choice.protocol), context.image)
    for by in ("score", "bits") if compare_views.scored(table) else ("bits",):
        show_sheet(compare_views.extremes(table, by, metric, href))
    if compare_views.scored(table):
        st.caption(f"{metric} of one image is a coarse number. A name shows the image below.")


def _side_by_side(wanted: Wanted) -> None:
    try:
        there, lacking = wanted.folder.is_dir(), side_by_side.lacking(wanted)
    except UserError as error:
        st.text(str(error))
        return
    if there:
        _gallery(wanted)
    elif lacking:
        st.info("The images cannot be made here yet.")
        for sentence, command in lacking:
            st.text(sentence)
            st.code(command, language=None, wrap_lines=True)
    else:
        _make(wanted)


def _make(wanted: Wanted) -> None:
    place = st.empty()
    known = worker("images").knows(wanted.folder)
    if not known and not place.button("Make the images", icon=":material/image:"):
        st.caption("Both codecs code the image and the recogniser looks at it; that takes about a minute.")
        return
    place.empty()
    if obtain("images", wanted.folder, lambda: side_by_side.make(wanted), "The images"):
        worker("images").forget(wanted.folder)  # from now on they lie on the disk
        st.rerun()


def _gallery(wanted: Wanted) -> None:
    facts = wanted.facts()
    top = "" if facts["top"] is None else f"from none (dark) to {facts['top']:.2g} bits a pixel (bright)"
    if facts["legend"]:
        st.html(compare_views.legend(facts["legend"]))
    original, *decoded = st.columns(3)
    with original:
        _shown(wanted, ORIGINAL, "The original")
        _shown(wanted, f"{ORIGINAL}-{FOUND}", "What the recogniser finds in the original")
        _shown(wanted, TRUTH, "What is annotated")
    for side, column in zip(SIDES, decoded, strict=True):
        with column:
            name = side.upper()
            _shown(wanted, side, f"{name}, decoded: {_measured(facts['sides'][side])}")
            _shown(wanted, f"{side}-{FOUND}", f"What the recogniser finds in {name}")
            _shown(wanted, f"{side}-{BITS}", f"Where the bits of {name} go, {top}")


def _measured(side: dict[str, Any]) -> str:
    text = f"{side['bits']:,} bits, PSNR {side['psnr']:.2f} dB"
    return text if side["same"] else f"{text}. On another machine it was {side['recorded']:,} bits or other pixels"


def _shown(wanted: Wanted, name: str, caption: str) -> None:
    if wanted.file(name).is_file():
        st.image(wanted.file(name), caption=caption, width="stretch", alt=f"{caption}, image {wanted.image}")
    elif name.endswith(BITS):
        st.caption("A classical codec does not say where its bits go.")
