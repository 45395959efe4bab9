"""What one parameter of a method does."""

import streamlit as st

from icmbench.leaderboard import figures, listings, views
from icmbench.leaderboard.page import BIND, Context, show_figure, show_sheet

TITLE, ICON = "Ablations", ":material/tune:"


def show(context: Context) -> None:
    """A parameter axis as one figure and one table."""
    st.title("Ablations")
    found = views.axes(context.tables, context.choice)
    if not found:
        st.info("No method was measured with two settings of a parameter under this protocol. This makes some:")
        st.code(f"icmbench sweep aux_loss {context.facts['task']} --over position --seeds 3", language=None)
        return
    plugin = st.selectbox("Method", list(found), key="plugin", bind=BIND)
    axis = st.selectbox("Parameter", found[plugin], key="axis", bind=BIND)
    lines = views.along(context.tables, context.choice, plugin, axis)
    show_figure(figures.ablation(context, lines, plugin, axis), context.image)
    show_sheet(listings.ablation(lines, axis, context.choice, plugin))
    st.caption("Intervals are not corrected for the number of comparisons.")
