"""The Streamlit app: `streamlit run app.py -- RESULTS RUNS`, which `icmbench leaderboard` does.

This file is two things: what is served, with the tables read before anybody comes, and the script of every page.
"""

import sys
from collections.abc import AsyncGenerator, Callable, Iterable
from contextlib import asynccontextmanager
from functools import partial
from html import escape
from pathlib import Path

import streamlit as st

from icmbench.leaderboard import compare_screen, derived, listings, live_tables, pages, screens
from icmbench.leaderboard.background import obtain
from icmbench.leaderboard.derived import Tables
from icmbench.leaderboard.live_tables import LiveTables
from icmbench.leaderboard.page import BIND, STYLE, Context, address, select
from icmbench.leaderboard.pages import Part
from icmbench.leaderboard.views import Choice, View, protocol_names
from icmbench.plugins.find import Plugins

ICON = str(Path(__file__).with_name("icon.png"))
PAGES: dict[str, tuple[Callable[[Context], Iterable[Part]], str]] = {  # with their icons
    "overview": (pages.overview, "leaderboard"),
    "curves": (screens.curves, "show_chart"),
    "method": (screens.method, "badge"),
    "compare": (compare_screen.compare, "compare"),
    "ablations": (screens.ablations, "tune"),
    "cost": (screens.cost, "timer"),
    "protocol": (pages.protocol, "description"),
    "submit": (screens.submit, "upload"),
}


def main(results: Path, runs: Path = Path("runs")) -> None:
    """Draw the page that the address names."""
    st.set_page_config("icmbench leaderboard", ICON, layout="wide")  # an icon by name would be fetched from elsewhere
    st.html(f"<style>{STYLE}</style>")
    live = live_tables.of(results)
    live.look()
    context = choose(live, runs) if len(live.tables.protocols) else None
    shown = [
        st.Page(
            partial(_show, make, context, live),
            title=name.capitalize(),
            icon=f":material/{icon}:",
            url_path=name,
            default=name == "overview",
        )
        for name, (make, icon) in PAGES.items()
    ]
    page = st.navigation(shown, position="top")
    page.run()
    if context is not None:
        _link(page.url_path or "overview", context.choice)


def choose(live: LiveTables, runs: Path) -> Context | None:
    """Protocol, score and anchor, in the side bar and the address of every page; None until the tables of the score are made."""
    with st.sidebar:
        protocol = select("Protocol", protocol_names(live.tables), "protocol")
        primary = View.own(live.tables, protocol)
        metric = select("Score", primary.metrics, "metric", "What methods are compared by")
    tables: Tables | None = live.tables
    if metric != primary.facts["metric"]:
        key = (live.results, live.signature, protocol, metric)
        tables = obtain(
            "tables", key, lambda: derived.build(live.results, metrics={protocol: metric}), f"The comparison by {metric}"
        )
    with st.sidebar:
        anchors = View.own(tables or live.tables, protocol).anchors
        anchor = select("Anchor", anchors, "anchor", "What BD-rates are taken against")
        image = st.segmented_control("Figures are saved as", ["SVG", "PNG"], default="SVG", required=True, key="image", bind=BIND)
    if tables is None:
        return None
    return Context(tables, Choice(protocol, anchor, metric), Plugins(), live.results, (image or "SVG").lower(), runs)


def _link(name: str, choice: Choice) -> None:
    """An address that names the whole choice also where its parts come first, which new records may change."""
    parameters = choice.parameters | {
        key: st.query_params.get_all(key) for key in st.query_params if key not in choice.parameters
    }
    with st.sidebar:
        st.html(f'<a class="icm-link" href="{escape(address(name, parameters))}" target="_self">Link to this view</a>')


def _show(make: Callable[[Context], Iterable[Part]], context: Context | None, live: LiveTables) -> None:
    if live.busy:
        st.info("There are new records; their tables are being made. Reload in a moment to see them.")
    if live.problem:
        st.warning(f"The newest records could not be read: {live.problem}")
    if context is not None:
        context.show(make(context))
    elif live.tables.protocols.empty:
        st.title("No records yet")
        st.markdown("This leaderboard shows the records of the folder")
        st.code(str(live.results), language=None)
        st.markdown("and there are none that can be read. A first run makes some:")
        st.code(f"icmbench run aux_loss detection --results {live.results}", language=None)
    if count := len(live.tables.broken):
        with st.expander(f"{count} file{'s' if count > 1 else ''} set aside", icon=":material/report:"):
            st.html(listings.set_aside(live.tables).html())


def folders() -> list[Path]:
    """Results, and runs where they are given."""
    return [Path(word) for word in sys.argv[1:3] or ["results"]]


@asynccontextmanager
async def read_first(app: st.App) -> AsyncGenerator[None]:
    """Read the tables before the first visitor comes."""
    live_tables.of(folders()[0])
    yield


if __name__ == "__main__":
    main(*folders())
else:
    app = st.App(__file__, lifespan=read_first)
