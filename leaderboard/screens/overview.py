"""Who is best, by how much, whether that is certain, and at what cost."""

import streamlit as st

from icmbench.leaderboard import listings, views
from icmbench.leaderboard.page import Context, link, show_sheet

TITLE, ICON = "Overview", ":material/leaderboard:"


def show(context: Context) -> None:
    """The ranked table of the protocol."""
    st.title(context.facts["name"])
    st.text(context.facts["summary"])
    st.caption(
        "BD-rate is the mean change of the rate at equal accuracy. Methods that share a rank are not shown to differ from the "
        "best of them. Only rows of one protocol are ranked together."
    )
    show_sheet(listings.overview(context.tables, context.choice, link))
    for method, reason in views.retracted(context.tables, context.choice.protocol):
        st.text(f"Retracted: {method} ({reason})")
    if text := views.doubled(context.tables, context.choice):
        st.text(text)
