"""What all pages of the app share: the choice of protocol and anchor, and how tables and figures are shown."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pandas as pd
import plotly.graph_objects as go
import streamlit as st

from icmbench.leaderboard import figures, views
from icmbench.leaderboard.derived import Tables
from icmbench.leaderboard.subject import FIRST_SHOWN, Subject
from icmbench.leaderboard.views import Choice
from icmbench.plugins.find import Plugins
from icmbench.show.sheet import FORMATS, Sheet

BIND: Any = "query-params"
STYLE = Path(__file__).with_name("style.css").read_text()


@dataclass(frozen=True)
class Context(Subject):
    """What a page is given. `image`: the format in which the camera of a figure saves it. `runs`: where codecs lie."""

    tables: Tables
    choice: Choice
    plugins: Plugins
    results: Path
    image: str
    runs: Path = Path("runs")


def link(page: str, parameters: Mapping[str, str | Sequence[str]]) -> str:
    """Address of a page of the app with its parameters."""
    return f"{'.' if page == 'overview' else page}?{urlencode(parameters, doseq=True)}"


def show_sheet(sheet: Sheet) -> None:
    """A table with its downloads."""
    st.html(sheet.html())
    with st.container(horizontal=True, gap="small"):
        for kind, name in FORMATS.items():
            st.download_button(
                name,
                sheet.download(kind),
                file_name=f"{sheet.name}.{kind}",
                mime="text/csv" if kind == "csv" else "text/plain",
                key=f"download-{sheet.name}-{kind}",
                help=f"The table as {name}",
                on_click="ignore",
                icon=":material/download:",
                type="tertiary",
            )


def show_figure(figure: go.Figure, name: str, data: pd.DataFrame, alt: str, image: str) -> None:
    """A figure with its data; its camera saves it as `image` (svg or png)."""
    config = {"displaylogo": False, "toImageButtonOptions": {"format": image, "filename": name, "scale": 2}}
    shown = figures.on_dark(figure) if st.context.theme.type == "dark" else figure
    st.plotly_chart(shown, config=config, key=f"figure-{name}", alt=alt)
    st.download_button(
        "Data of the figure (CSV)",
        views.as_csv(data),
        file_name=f"{name}.csv",
        mime="text/csv",
        key=f"data-{name}",
        on_click="ignore",
        icon=":material/download:",
        type="tertiary",
    )


def choose_methods(context: Context, key: str = "methods") -> list[str]:
    """Some of the methods, the best and the anchor before anybody chose."""
    anchor = [context.choice.anchor] if context.choice.anchor in context.methods else []
    first = list(dict.fromkeys([*context.methods[:FIRST_SHOWN], *anchor]))
    chosen: Sequence[str] = st.multiselect("Methods", context.methods, default=first, key=key, bind=BIND)
    return [method for method in context.methods if method in chosen]
