"""How a result gets onto a leaderboard, and a form that looks at a bundle."""

import hashlib

import streamlit as st

from icmbench.leaderboard import bundles, views
from icmbench.leaderboard.background import obtain
from icmbench.leaderboard.bundles import Report
from icmbench.leaderboard.page import Context, show_sheet

TITLE, ICON = "Submit", ":material/upload:"
LARGEST = 500  # MiB of a bundle: it is in memory while it is looked at


def show(context: Context) -> None:
    """The way from a method's file to a row."""
    st.title("Submit a method")
    for number, (sentence, command) in enumerate(views.submit_steps(context.facts), start=1):
        st.markdown(f"{number}. {sentence}")
        st.code(command, language=None, wrap_lines=True)
    for paragraph in views.STATUSES:
        st.text(paragraph)
    _form(context)


def _form(context: Context) -> None:
    st.subheader("Look at a bundle")
    st.caption(
        "Its shape, its hashes, and whether its values can be true. Nothing of it is run, kept or passed on. Whether its values "
        "are true is what 'icmbench verify' finds out, which also takes larger bundles."
    )
    given = st.file_uploader("Bundle", type=["zip"], key="bundle", max_upload_size=LARGEST)
    if given is None:
        return
    content = given.getvalue()
    key = hashlib.sha256(content).hexdigest()
    found = obtain("bundles", key, lambda: bundles.look(content), "What is in the bundle")
    if found is not None:
        _report(context, found)


def _report(context: Context, found: Report) -> None:
    if found.problem:
        st.error("This bundle would be refused:", icon=":material/report:")
        st.text(found.problem)
        return
    st.success("Nothing is wrong with the bundle as far as that can be seen without decoding its bitstreams.")
    if found.protocol not in views.protocol_names(context.tables):
        st.info("This leaderboard has no records under its protocol yet.")
    for sheet in found.sheets:
        show_sheet(sheet)
