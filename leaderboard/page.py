"""What all pages of the app share: what they are about, choices in the address, and how tables and figures are shown."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlencode

import streamlit as st

from icmbench.leaderboard import figures, views
from icmbench.leaderboard.figures import Drawn
from icmbench.leaderboard.views import FIRST_SHOWN, View
from icmbench.plugins.find import Plugins
from icmbench.show.sheet import FORMATS, Sheet

BIND: Any = "query-params"
STYLE = Path(__file__).with_name("style.css").read_text()


Option = TypeVar("Option", str, int)


@dataclass
class Context(View):
    """What a page is given. `image`: the format in which the camera of a figure saves it. `runs`: where codecs lie."""

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


def show_figure(drawn: Drawn, image: str) -> None:
    """A figure with its data; its camera saves it as `image` (svg or png)."""
    config = {
        "displaylogo": False,
        "modeBarButtonsToRemove": ["zoomIn2d", "zoomOut2d", "autoScale2d", "lasso2d", "select2d"],  # a phone is narrow
        "toImageButtonOptions": {"format": image, "filename": drawn.name, "scale": 2},
    }
    shown = figures.on_dark(drawn.figure) if st.context.theme.type == "dark" else drawn.figure
    st.plotly_chart(shown, config=config, key=f"figure-{drawn.name}", alt=drawn.alt)
    st.download_button(
        "Data of the figure (CSV)",
        views.as_csv(drawn.data),
        file_name=f"{drawn.name}.csv",
        mime="text/csv",
        key=f"data-{drawn.name}",
        on_click="ignore",
        icon=":material/download:",
        type="tertiary",
    )


def select(label: str, options: Sequence[Option], key: str, about: str | None = None) -> Option:
    """A choice in the address. One that is an option no longer gives way to the first, in the address as well."""
    if key in st.session_state and st.session_state[key] not in options:
        st.session_state[key] = options[0]
    chosen: Option | None = st.selectbox(label, options, key=key, bind=BIND, help=about)
    return options[0] if chosen is None else chosen


def choose_methods(context: Context, key: str = "methods") -> list[str]:
    """Some of the methods, the best and the anchor before anybody chose."""
    anchor = [context.choice.anchor] if context.choice.anchor in context.methods else []
    first = list(dict.fromkeys([*context.methods[:FIRST_SHOWN], *anchor]))
    chosen: Sequence[str] = st.multiselect("Methods", context.methods, default=first, key=key, bind=BIND)
    return [method for method in context.methods if method in chosen]
