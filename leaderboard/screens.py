"""The pages of the app on which something can be chosen: they draw that themselves, and yield the parts between."""

import hashlib
import json
from collections.abc import Iterator

import streamlit as st

from icmbench.leaderboard import bundles, figures, listings, pages
from icmbench.leaderboard.background import obtain
from icmbench.leaderboard.page import BIND, Context
from icmbench.leaderboard.pages import Facts, Notes, Part, Words, spelt
from icmbench.leaderboard.views import COSTS, FIRST_SHOWN, protocol_names
from icmbench.show.sheet import Cell, whole

LARGEST = 500  # MiB of a bundle: it is in memory while it is looked at


def curves(context: Context) -> Iterator[Part]:
    """How methods behave along the rate axis."""
    anchor = [context.choice.anchor] if context.choice.anchor in context.methods else []
    first = list(dict.fromkeys([*context.methods[:FIRST_SHOWN], *anchor]))
    yield Words("title", "Curves")
    chosen = st.multiselect("Methods", context.methods, default=first, key="methods", bind=BIND)
    with st.container(horizontal=True):
        log = st.toggle("Logarithmic rate", key="log", bind=BIND)
        each_seed = st.toggle("Every seed", key="seeds", bind=BIND)
    if chosen:
        yield from pages.curves(context, [method for method in context.methods if method in chosen], log, each_seed)
    else:
        yield Words("info", "Choose at least one method.")


def method(context: Context) -> Iterator[Part]:
    """A method's card: what it is, what it reached, and how to compute it again."""
    name = st.selectbox("Method", context.methods, key="method", bind=BIND)
    if (line := context.ranked(name)) is None:
        return
    rate, interval, verdict = spelt(line)
    rank, seeds = (whole(line[key] or None).text for key in ("rank", "seeds"))
    found = {f"BD-rate against {context.choice.anchor}": rate, "95 % interval": interval, "Verdict": verdict}
    yield Words("title", "Method card")
    yield Words("text", name)
    yield Facts({what: Cell(text) for what, text in (found | {"Rank": rank, "Seeds": seeds}).items()})
    yield Notes(json.loads(line["notes"]))
    yield from pages.card(context, context.plugins, name)
    if not line["external"]:
        yield figures.curves(context, [name])
        yield Words("heading", "Records")
        yield listings.method_records(context, name)


def ablations(context: Context) -> Iterator[Part]:
    """What one parameter of a method does."""
    yield Words("title", "Ablations")
    if not (found := context.axes):
        yield from pages.no_ablations(context)
        return
    plugin = st.selectbox("Method", list(found), key="plugin", bind=BIND)
    axis = st.selectbox("Parameter", found[plugin], key="axis", bind=BIND)
    yield from pages.ablation(context, plugin, axis)
    yield Words("note", pages.UNCORRECTED)


def cost(context: Context) -> Iterator[Part]:
    """Accuracy against operations or time."""
    yield Words("title", "Cost")
    by = st.selectbox("Cost", list(COSTS), key="by", bind=BIND, format_func=COSTS.__getitem__)
    yield from list(pages.cost(context, by)) or [Words("info", "No method has both a BD-rate and this cost.")]


def submit(context: Context) -> Iterator[Part]:
    """How a result gets onto a leaderboard, and a form that looks at a bundle."""
    yield from pages.submit(context)
    yield Words("heading", "Look at a bundle")
    yield Words(
        "note",
        "Its shape, its hashes, and whether its values can be true. Nothing of it is run, kept or passed on. Whether its values "
        "are true is what 'icmbench verify' finds out, which also takes larger bundles.",
    )
    given = st.file_uploader("Bundle", type=["zip"], key="bundle", max_upload_size=LARGEST)
    if given is None:
        return
    content = given.getvalue()
    key = hashlib.sha256(content).hexdigest()
    found = obtain("bundles", key, lambda: bundles.look(content), "What is in the bundle")
    if found is None:
        return
    if found.problem:
        st.error("This bundle would be refused:", icon=":material/report:")
        yield Words("text", found.problem)
        return
    st.success("Nothing is wrong with the bundle as far as that can be seen without decoding its bitstreams.")
    if found.protocol not in protocol_names(context.tables):
        yield Words("info", "This leaderboard has no records under its protocol yet.")
    yield from found.sheets
