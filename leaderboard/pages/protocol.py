"""What exactly was measured."""

import json

import streamlit as st

from icmbench.leaderboard.page import Context, show_sheet
from icmbench.leaderboard.sheet import Cell, Column, Sheet

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
    st.caption("The hash covers everything that bears on results. Cite a BD-rate with it.")
    st.subheader("Data needed")
    _data(definition)
    st.subheader("Uncompressed")
    scores = json.loads(facts["ceilings"])
    lines = [[Cell(name), Cell(f"{value:.2f}", value)] for name, value in scores.items()]
    show_sheet(
        Sheet(
            f"ceiling-{facts['name']}",
            "Scores without compression, in percent",
            [Column("score", names=True), Column("%", True)],
            lines,
        )
    )
    st.subheader("Definition")
    st.json(definition, expanded=2)


def _data(definition: dict[str, object]) -> None:
    files = definition["files"]
    if not isinstance(files, list) or not files:
        st.text("None: its pictures are generated and its weights come with icmbench.")
        return
    columns = [Column("path below ICMBENCH_DATA", names=True), Column("bytes", True), Column("digest"), Column("where to get it")]
    lines = [
        [Cell(one["path"]), Cell(str(one["bytes"] or "—"), one["bytes"]), Cell(one["digest"] or "—"), Cell(one["source"])]
        for one in files
    ]
    show_sheet(Sheet("data", "Files that must lie on the machine", columns, lines))
