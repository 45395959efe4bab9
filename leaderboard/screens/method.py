"""A method's card: what it is, what it reached, and how to compute it again."""

import json

import streamlit as st

from icmbench.leaderboard import figures, listings, views
from icmbench.leaderboard.page import BIND, Context, show_figure, show_sheet
from icmbench.show.sheet import NOTHING

TITLE, ICON = "Method", ":material/badge:"


def show(context: Context) -> None:
    """What is known of one method under the protocol."""
    method = st.selectbox("Method", context.methods, key="method", bind=BIND)
    ranked = next(line for line in views.ranking(context.tables, context.choice) if line["method"] == method)
    st.title("Method card")
    st.text(method)
    line = views.plugin_of(context.tables, context.choice, method)
    verdict = listings.verdict(ranked).text
    with st.container(horizontal=True):
        value = (
            "anchor" if ranked["reason"] == "anchor" else "none" if ranked["bd_rate"] is None else f"{ranked['bd_rate']:+.1f} %"
        )
        st.metric(f"BD-rate against {context.choice.anchor}", value)
        low, high = ranked["bd_rate_low"], ranked["bd_rate_high"]
        st.metric("95 % interval", NOTHING if low is None else f"{low:+.1f} … {high:+.1f} %")
        st.metric("Verdict", verdict)
        st.metric("Rank", NOTHING if ranked["rank"] is None else f"{ranked['rank']:.0f}")
        st.metric("Seeds", f"{ranked['seeds'] or NOTHING}")
    for note in json.loads(ranked["notes"]):
        st.text(f"• {note}")
    if line is None:
        st.info("A curve that was published elsewhere: there are no records of it here.")
        return
    _identity(context, line, ranked)
    show_figure(figures.curves(context, [method]), context.image)
    st.subheader("Records")
    show_sheet(listings.method_records(context.tables, context.choice, method))


def _identity(context: Context, line: dict[str, object], ranked: dict[str, object]) -> None:
    submitted = views.submission(context.tables, context.choice.protocol, str(line["method"]))
    files = json.loads(submitted["source"]) if submitted else {}
    text, source = views.docstring(context.plugins, str(line["plugin"]), files)
    st.subheader("What it is")
    if text:
        st.code(text, language=None, wrap_lines=True)
        st.caption(f"Source: {source}")
    else:
        st.info("Its plugin is not here, or does not describe itself.")
    if submitted:
        records = views.records(context.tables, context.choice.protocol, str(line["method"]))
        _submission(submitted, files, len(records))
    st.subheader("Parameters")
    given, defaults = json.loads(str(line["parameters"])), json.loads(str(line["defaults"]))
    if given or defaults:
        st.code("\n".join(f"{k} = {v}" for k, v in given.items()) + "\n" * bool(given and defaults)
                + "\n".join(f"{k} = {v}    (default)" for k, v in defaults.items()), language=None)  # fmt: skip
    else:
        st.text("none")
    st.subheader("To compute it again")
    seeds = int(str(ranked["seeds"]))
    st.code(views.command(line, context.facts["task"], context.choice.protocol, seeds), language=None)
    st.caption(
        f"Source SHA-256 {line['method_sha256']}. Trained on {line['train_device']}, scored on {line['device']}, "
        f"icmbench {line['icmbench']}, commit {line['commit']}."
    )


def _submission(submitted: dict[str, object], files: dict[str, str], records: int) -> None:
    """Who submitted it, whether it was verified, and its source."""
    st.subheader("Submission")
    show_sheet(listings.submission(submitted, records))
    for path, source in files.items():
        with st.expander("Source, as submitted"):
            st.text(path)
            st.code(source, language="python")
