"""How a result gets onto a leaderboard."""

import streamlit as st

from icmbench.leaderboard.page import Context

TITLE, ICON = "Submit", ":material/upload:"


def show(context: Context) -> None:
    """The way from a method's file to a row."""
    task, name = context.facts["task"], context.facts["name"]
    st.title("Submit a method")
    st.markdown("1. Write the method as one file and try its contract:")
    st.code(f"icmbench check my_method --plugin my_method.py --task {task}", language=None)
    st.markdown("2. Compute its records under this protocol, with at least three seeds:")
    st.code(f"icmbench run my_method {task} --protocol {name} --plugin my_method.py --seeds 3", language=None)
    st.markdown(
        "3. Add the folder of its records to the results of this leaderboard. A record's path spells what it is, so that adding "
        "is copying. A record that was edited, is out of place or has impossible values is set aside with the reason."
    )
    st.markdown("Rows that come this way are *claimed*: they show what their author computed.")
