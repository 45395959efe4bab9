"""How methods behave along the rate axis."""

import streamlit as st

from icmbench.leaderboard import figures
from icmbench.leaderboard.page import BIND, Context, choose_methods, show_figure

TITLE, ICON = "Curves", ":material/show_chart:"


def show(context: Context) -> None:
    """Rate-accuracy curves, and the change of rate along them."""
    st.title("Curves")
    chosen = choose_methods(context)
    with st.container(horizontal=True):
        log = st.toggle("Logarithmic rate", key="log", bind=BIND)
        each_seed = st.toggle("Every seed", key="seeds", bind=BIND)
    if not chosen:
        st.info("Choose at least one method.")
        return
    show_figure(figures.curves(context, chosen, log, each_seed), context.image)
    st.caption("Bands: 95 % intervals of the accuracy at each rate point, over seeds and images. One seed has none.")

    st.subheader("Change of rate at equal accuracy")
    if (drawn := figures.gains(context, chosen)) is None:
        anchor = context.choice.anchor
        st.info(f"None of the chosen methods can be compared with {anchor} along its curve.", icon=":material/info:")
        return
    show_figure(drawn, context.image)
    st.caption(
        "Of the mean curves over the seeds. BD-rate is the mean of this curve (of the logarithm of the ratio of the rates)."
    )
