"""What exactly was measured."""

import json

import streamlit as st

from icmbench.leaderboard import listings
from icmbench.leaderboard.page import Context, show_sheet

TITLE, ICON = "Protocol", ":material/description:"


def show(context: Context) -> None:
    """The definition, the hash, the ceiling and the data of the protocol."""
    facts = context.facts
    definition = json.loads(facts["definition"])
    st.title(facts["name"])
    st.text(facts["summary"])
    with st.container(horizontal=True):
        st.metric("Task", facts["task"])
        st.metric("Metric", facts["metric"])
        st.metric("Without compression", f"{facts['ceiling']:.1f} %")
        st.metric("Images", facts["images"])
        st.metric("Training steps", definition["training"]["steps"])
    st.subheader("Identity")
    st.code(facts["protocol"], language=None)
    st.caption("The hash covers everything that a trained codec depends on. Cite a BD-rate with it and with the score.")
    st.subheader("Data needed")
    if (files := listings.needed(facts)) is None:
        st.text("None: its images are generated and its weights come with icmbench.")
    else:
        show_sheet(files)
    st.subheader("Uncompressed")
    show_sheet(listings.ceilings(facts))
    st.subheader("Definition")
    st.json(definition, expanded=2)
