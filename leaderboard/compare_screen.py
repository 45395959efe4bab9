"""Two methods beside each other: how far apart they are, in which classes and on which images, and how that looks."""

from collections.abc import Iterator
from typing import Any

import pandas as pd
import streamlit as st

from icmbench.base.errors import UserError
from icmbench.leaderboard import compare_views, figures, side_by_side
from icmbench.leaderboard.background import obtain, worker
from icmbench.leaderboard.compare_views import Matched, Measured
from icmbench.leaderboard.page import Context, select
from icmbench.leaderboard.pages import Part, Words
from icmbench.leaderboard.side_by_side import BITS, FOUND, ORIGINAL, SIDES, TRUTH, Wanted


def compare(context: Context) -> Iterator[Part]:
    """Method B against method A."""
    protocol, metric, methods = context.choice.protocol, context.facts["metric"], context.recorded
    yield Words("title", "Compare")
    if len(methods) < 2:
        yield Words("info", "A comparison needs two methods with records, and this protocol has one. This makes another:")
        yield Words("code", f"icmbench run aux_loss {context.facts['task']} --protocol {context.facts['name']} --seeds 3")
        return
    left, right = st.columns(2)
    with left:
        a = select("Method A", sorted(methods, key=lambda method: method != context.choice.anchor), "a")
    with right:
        b = select("Method B", [method for method in methods if method != a], "b")
    key = (str(context.results), protocol, metric, a, b, *(_content(context, method) for method in (a, b)))
    yield Words("heading", "Difference")
    pair = obtain("numbers", key, lambda: Measured.read(context.results, protocol, metric).pair(a, b), "The difference")
    if pair is not None:
        yield from compare_views.difference(pair)
    yield Words("heading", "Scores at one rate point")
    ours, theirs = (compare_views.rate_points(context, method) for method in (a, b))
    point = select("Rate point of A", list(ours), "position")
    other = compare_views.partner(point, ours, theirs)
    yield Words("text", f"A: {a} at {point}, {ours[point]:.4f} bpp\nB: {b} at {other}, {theirs[other]:.4f} bpp")
    if other != point:
        yield Words("note", "B has no rate point of this name; this is its nearest one in rate.")
    if found := compare_views.matched(context, (a, point), (b, other)):
        yield from _at_one_rate(context, found, (*key, point))
    else:
        yield Words("info", compare_views.NO_SEED)


def _content(context: Context, method: str) -> int:
    """What stands for a method's records: other ones make another comparison."""
    return int(pd.util.hash_pandas_object(context.records(method=method), index=False).sum())


def _at_one_rate(context: Context, found: Matched, key: tuple[object, ...]) -> Iterator[Part]:
    """The scores at one rate point, class by class, and image by image. `key`: of what is compared."""
    results, metric = context.results, context.facts["metric"]
    yield compare_views.scores_sheet(found, metric)
    yield Words("heading", "Class by class")
    text = "The scores of single classes"
    whole = obtain("numbers", ("classes", *key), lambda: compare_views.with_classes(results, found, metric), text)
    if whole is not None:
        yield from compare_views.by_class(whole, metric)
    yield Words("heading", "Image by image")
    seed = select("Seed", list(found), "seed") if len(found) > 1 else next(iter(found))
    a, b = found[seed]
    paths = a["path"], b["path"]
    text = "The list of images"
    table = obtain("numbers", ("images", *key, seed), lambda: compare_views.images(results, *paths, metric), text)
    if table is None:
        return
    given = {"a": a["method"], "b": b["method"], "position": a["point"], "seed": str(seed)}
    yield figures.images(table, metric, context.choice.protocol)
    yield from compare_views.by_image(table, metric, lambda image: context.link("compare", **given, picture=image))
    yield Words("heading", "Side by side")
    image = select("Image", list(dict.fromkeys(table["image"])), "picture")
    _side_by_side(Wanted(results, context.runs, *paths, image))


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
        st.html(side_by_side.legend(facts["legend"]))
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
