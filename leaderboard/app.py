"""The Streamlit app: `streamlit run app.py -- RESULTS RUNS`, which `icmbench leaderboard` does.

This file is two things: what is served, with the tables read before anybody comes, and the script of every page.
"""

import sys
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from functools import partial
from html import escape
from pathlib import Path

import streamlit as st

from icmbench.leaderboard import library, listings, views
from icmbench.leaderboard.library import Library
from icmbench.leaderboard.page import BIND, STYLE, Context, link
from icmbench.leaderboard.screens import ablations, compare, cost, curves, method, overview, protocol, submit
from icmbench.leaderboard.views import Choice
from icmbench.plugins.find import Plugins

ICON = str(Path(__file__).with_name("icon.png"))
PAGES = {
    "overview": overview,
    "curves": curves,
    "method": method,
    "compare": compare,
    "ablations": ablations,
    "cost": cost,
    "protocol": protocol,
    "submit": submit,
}


def main(results: Path, runs: Path = Path("runs")) -> None:
    """Draw the page that the address names."""
    st.set_page_config("icmbench leaderboard", ICON, layout="wide")  # an icon by name would be fetched from elsewhere
    st.html(f"<style>{STYLE}</style>")
    found = library.of(results)
    found.look()
    context = choose(found, runs) if len(found.tables.protocols) else None
    pages = [
        st.Page(
            partial(_show, module.show, context, found),
            title=module.TITLE,
            icon=module.ICON,
            url_path=name,
            default=name == "overview",
        )
        for name, module in PAGES.items()
    ]
    page = st.navigation(pages, position="top")
    page.run()
    if context is not None:
        _link(page.url_path or "overview", context.choice)


def choose(found: Library, runs: Path) -> Context:
    """Protocol and anchor, in the side bar of every page and in its address."""
    tables = found.tables
    with st.sidebar:
        protocol = st.selectbox("Protocol", views.protocol_names(tables), key="protocol", bind=BIND)
        anchor = st.selectbox(
            "Anchor", views.anchor_names(tables, protocol), key="anchor", bind=BIND, help="What BD-rates are taken against"
        )
        image = st.segmented_control("Figures are saved as", ["SVG", "PNG"], default="SVG", required=True, key="image", bind=BIND)
    return Context(tables, Choice(protocol, anchor), Plugins(), found.results, (image or "SVG").lower(), runs)


def _link(name: str, choice: Choice) -> None:
    """An address that names protocol and anchor also where they come first, which new records may change."""
    parameters = choice.parameters | {
        key: st.query_params.get_all(key) for key in st.query_params if key not in choice.parameters
    }
    with st.sidebar:
        st.html(f'<a class="icm-link" href="{escape(link(name, parameters))}" target="_self">Link to this view</a>')


def _show(show: Callable[[Context], None], context: Context | None, found: Library) -> None:
    if found.busy:
        st.info("There are new records; their tables are being made. Reload in a moment to see them.")
    if found.problem:
        st.warning(f"The newest records could not be read: {found.problem}")
    if context is None:
        _empty(found.results)
    else:
        show(context)
    _set_aside(found)


def _empty(results: Path) -> None:
    st.title("No records yet")
    st.markdown("This leaderboard shows the records of the folder")
    st.code(str(results), language=None)
    st.markdown("and there are none that can be read. A first run makes some:")
    st.code(f"icmbench run aux_loss detection --results {results}", language=None)


def _set_aside(found: Library) -> None:
    """The files that are no sound record, with the reason."""
    broken = found.tables.broken
    if broken.empty:
        return
    count = len(broken)
    with st.expander(f"{count} file{'s' if count > 1 else ''} set aside", icon=":material/report:"):
        st.html(listings.set_aside(found.tables).html())


def folders() -> list[Path]:
    """Results, and runs where they are given."""
    return [Path(word) for word in sys.argv[1:3] or ["results"]]


@asynccontextmanager
async def ready(app: st.App) -> AsyncGenerator[None]:
    """Read the tables before the first visitor comes."""
    library.of(folders()[0])
    yield


if __name__ == "__main__":
    main(*folders())
else:
    app = st.App(__file__, lifespan=ready)
