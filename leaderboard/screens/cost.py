"""Accuracy against operations or time."""

import pandas as pd
import streamlit as st

from icmbench.leaderboard import figures, views
from icmbench.leaderboard.page import BIND, Context, show_figure

TITLE, ICON = "Cost", ":material/timer:"


def show(context: Context) -> None:
    """BD-rate against a cost, with the Pareto front."""
    st.title("Cost")
    by = st.selectbox("Cost", list(figures.COSTS), key="by", bind=BIND, format_func=figures.COSTS.__getitem__)
    lines = views.cost_lines(context.tables, context.choice)
    shown = [line for line in lines if line.get(by) is not None and (line["bd_rate"] is not None or line["reason"] == "anchor")]
    if not shown:
        st.info("No method has both a BD-rate and this cost.")
        return
    name = f"cost-{context.facts['name']}"
    data = pd.DataFrame(shown)[["method", by, "bd_rate", "bd_rate_low", "bd_rate_high"]]
    alt = f"BD-rate against {figures.COSTS[by]} of {len(shown)} methods; the numbers are in the data of the figure."
    show_figure(figures.cost(shown, context.facts, context.choice.anchor, by), name, data, alt, context.image)
    left = [line["method"] for line in lines if line not in shown]
    if left:
        st.caption(f"Without a BD-rate or without this cost: {len(left)} of {len(lines)} methods.")
    if "seconds" in by:
        st.caption(f"Seconds were measured on: {'; '.join(sorted({line['device'] for line in shown if line['device']}))}.")
