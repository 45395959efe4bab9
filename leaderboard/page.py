"""What all pages of the app share: what they are about, choices in the address, and how parts of a page are shown."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlencode

import streamlit as st

from icmbench.leaderboard import figures
from icmbench.leaderboard.figures import Drawn
from icmbench.leaderboard.lines import as_csv
from icmbench.leaderboard.pages import Details, Facts, Notes, Parameters, Part, Steps, Words
from icmbench.leaderboard.views import View
from icmbench.plugins.find import Plugins
from icmbench.show.markup import for_markdown
from icmbench.show.sheet import FORMATS, Sheet

BIND: Any = "query-params"
STYLE = Path(__file__).with_name("style.css").read_text()
WRITERS: dict[str, Callable[[str], object]] = {
    "title": st.title,
    "heading": st.subheader,
    "text": st.text,
    "note": lambda text: st.caption(for_markdown(text)),
    "info": st.info,
    "code": partial(st.code, language=None),
    "python": partial(st.code, language="python"),
    "prose": partial(st.code, language=None, wrap_lines=True),
    "json": partial(st.json, expanded=2),
}
Option = TypeVar("Option", str, int)


@dataclass
class Context(View):
    """What a page is given. `image`: the format in which the camera of a figure saves it. `runs`: where codecs lie."""

    plugins: Plugins
    results: Path
    image: str
    runs: Path = Path("runs")

    def link(self, page: str, **parameters: str) -> str:
        return address(page, self.choice.parameters | parameters)

    def show(self, parts: Iterable[Part]) -> None:
        """Draw parts of the page, one below the other."""
        for part in parts:
            if isinstance(part, Drawn):
                _figure(part, self.image)
            elif isinstance(part, Details):
                with st.expander(for_markdown(part.title)):
                    self.show(part.parts)
            else:
                _show(part)


def _show(part: Words | Facts | Parameters | Notes | Steps | Sheet) -> None:
    match part:
        case Words(kind, text):
            WRITERS[kind](text)
        case Sheet():
            _sheet(part)
        case Facts(values):
            with st.container(horizontal=True):
                for name, cell in values.items():
                    st.metric(name, cell.text, help=cell.title or None)
        case Parameters(given, defaults):
            lines = [f"{name} = {value}" for name, value in given.items()]
            lines += [f"{name} = {value}    (default)" for name, value in defaults.items()]
            st.code("\n".join(lines), language=None) if lines else st.text("none")
        case Notes(notes):
            for note in notes:
                st.text(f"• {note}")
        case Steps(steps):
            for number, (sentence, command) in enumerate(steps, start=1):
                st.markdown(f"{number}. {sentence}")
                st.code(command, language=None, wrap_lines=True)


def address(page: str, parameters: Mapping[str, str | Sequence[str]]) -> str:
    """Address of a page of the app with its parameters."""
    return f"{'.' if page == 'overview' else page}?{urlencode(parameters, doseq=True)}"


def _download(label: str, content: str, file: str, key: str, about: str | None = None) -> None:
    st.download_button(
        label,
        content,
        file_name=file,
        mime="text/csv" if file.endswith(".csv") else "text/plain",
        key=f"{key}-{file}",
        help=about,
        on_click="ignore",
        icon=":material/download:",
        type="tertiary",
    )


def _sheet(sheet: Sheet) -> None:
    """A table with its downloads."""
    st.html(sheet.html())
    with st.container(horizontal=True, gap="small"):
        for kind, name in FORMATS.items():
            _download(name, sheet.download(kind), f"{sheet.name}.{kind}", "table", f"The table as {name}")


def _figure(drawn: Drawn, image: str) -> None:
    """A figure with its data; its camera saves it as `image` (svg or png)."""
    config = {
        "displaylogo": False,
        "modeBarButtonsToRemove": ["zoomIn2d", "zoomOut2d", "autoScale2d", "lasso2d", "select2d"],  # a phone is narrow
        "toImageButtonOptions": {"format": image, "filename": drawn.name, "scale": 2},
    }
    shown = figures.on_dark(drawn.figure) if st.context.theme.type == "dark" else drawn.figure
    st.plotly_chart(shown, config=config, key=f"figure-{drawn.name}", alt=drawn.alt)
    _download("Data of the figure (CSV)", as_csv(drawn.data), f"{drawn.name}.csv", "data")


def select(label: str, options: Sequence[Option], key: str, about: str | None = None) -> Option:
    """A choice in the address. One that is an option no longer gives way to the first, in the address as well."""
    if key in st.session_state and st.session_state[key] not in options:
        st.session_state[key] = options[0]
    chosen: Option | None = st.selectbox(label, options, key=key, bind=BIND, help=about)
    return options[0] if chosen is None else chosen
