"""Accuracy against operations or time."""

import streamlit as st

from icmbench.leaderboard import figures, views
from icmbench.leaderboard.page import BIND, Context, show_figure

TITLE, ICON = "Cost", ":material/timer:"


def show(context: Context) -> None:
    """BD-rate against a cost, with the Pareto front."""
    st.title("Cost")
    by = st.selectbox("Cost", list(figures.COSTS), key="by", bind=BIND, format_func=figures.COSTS.__getitem__)
    lines = views.cost_lines(context.tables, context.choice)
    shown = views.placed(lines, by)
    if not shown:
        st.info("No method has both a BD-rate and this cost.")
        return
    show_figure(figures.cost(context, shown, by), context.image)
    if left := len(lines) - len(shown):
        st.caption(f"Without a BD-rate or without this cost: {left} of {len(lines)} methods.")
    if "seconds" in by:
        st.caption(f"Seconds were measured on: {'; '.join(sorted({line['device'] for line in shown if line['device']}))}.")
