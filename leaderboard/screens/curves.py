"""How methods behave along the rate axis."""

import streamlit as st

from icmbench.leaderboard import figures, views
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
    table = views.points(context.tables, context.choice.protocol, chosen)
    name = f"curves-{context.facts['name']}"
    alt = f"{context.facts['metric']} against rate of {', '.join(chosen)}; the numbers are in the data of the figure."
    show_figure(
        figures.curves(table, chosen, context.facts, context.choice.anchor, log, each_seed), name, table, alt, context.image
    )
    st.caption("Bands: 95 % intervals of the accuracy at each rate point, over seeds and images. One seed has none.")

    st.subheader("Change of rate at equal accuracy")
    against = views.gains(context.tables, context.choice, chosen)
    if against.empty:
        st.info(
            f"None of the chosen methods can be compared with {context.choice.anchor} along its curve.", icon=":material/info:"
        )
        return
    drawn = figures.gains(against, chosen, context.facts, context.choice.anchor)
    alt = f"Change of rate of {', '.join(chosen)} against {context.choice.anchor}, accuracy by accuracy."
    show_figure(drawn, f"gains-{context.facts['name']}", against, alt, context.image)
    st.caption(
        "Of the mean curves over the seeds. BD-rate is the mean of this curve (of the logarithm of the ratio of the rates)."
    )
