"""The static site: the pages of the leaderboard as files. Knows templates and addresses, and writes nothing.

A page is a function that is given a `Page` and returns what its template of the same name shows. `PAGES` lists those of a
protocol. All text is data: the templates escape it, and addresses are made of `slug`s.
"""

import hashlib
import io
import json
import math
import posixpath
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from dataclasses import field as made_anew
from functools import cached_property
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pandas as pd
import plotly.graph_objects as go
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup
from plotly.io import to_json
from plotly.offline import get_plotlyjs

from icmbench.leaderboard import compare_views, static_pages, views
from icmbench.leaderboard.compare_views import Measured
from icmbench.leaderboard.derived import NAMES, Tables, asdicts
from icmbench.leaderboard.figures import Drawn
from icmbench.leaderboard.views import Choice, View
from icmbench.plugins.find import Plugins
from icmbench.show.sheet import FORMATS, Sheet

HERE = Path(__file__).parent
NOWHERE = Choice("", "")  # of pages that are about no protocol
OF_METHODS = {"method": "methods", "pair": "compare"}  # pages that are about one method → their folder
LONGEST = 60  # characters of a slug before its digest


def site(tables: Tables, plugins: Plugins, results: Path) -> dict[str, bytes]:
    """All files of the site: path → content. The same records in `results` and their `tables` give the same bytes."""
    made = Site(tables, plugins, results)
    made.build()
    return made.files


def slug(text: str) -> str:
    """A file name for a text: itself where that is safe everywhere, else its safe part and a digest. Two never meet."""
    safe = re.sub(r"[^a-z0-9=,@._-]+", "-", text.lower()).strip("-._")
    if safe and safe == text and len(safe) <= LONGEST and not re.search(r"(^|-)[0-9a-f]{12}$", safe):
        return safe
    return f"{safe[:LONGEST]}-{hashlib.sha256(text.encode()).hexdigest()[:12]}".lstrip("-")


@dataclass(frozen=True)
class Kind:
    """A kind of page of a protocol. `make` gives its content; `anchored`: there is one for every anchor."""

    title: str
    make: "Make"
    anchored: bool = True


@dataclass
class Site:
    """The site while it is being made. `files`: path → content."""

    tables: Tables
    plugins: Plugins
    results: Path
    files: dict[str, bytes] = made_anew(default_factory=dict)
    _measured: dict[str, Measured] = made_anew(default_factory=dict)

    @cached_property
    def templates(self) -> Environment:
        """The templates, which escape whatever they show."""
        return Environment(
            loader=FileSystemLoader(HERE / "site"),
            autoescape=True,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )

    @cached_property
    def protocols(self) -> list[str]:
        """Identities of the protocols; none without records."""
        return views.protocol_names(self.tables) if len(self.tables.protocols) else []

    @cached_property
    def anchors(self) -> dict[str, str]:
        """Each protocol's own anchor."""
        return {protocol: views.about(self.tables, protocol)["anchor"] for protocol in self.protocols}

    def address(self, page: str, parameters: Mapping[str, str]) -> str:
        """Path of a page with its parameters, as `views.Link` has them."""
        if page == "index":
            return "index.html"
        protocol = parameters["protocol"]
        folder = f"protocols/{slug(protocol)}"
        if page in OF_METHODS:
            return f"{folder}/{OF_METHODS[page]}/{slug(parameters['method'])}.html"
        if PAGES[page].anchored and parameters["anchor"] != self.anchors[protocol]:
            folder += f"/against/{slug(parameters['anchor'])}"
        return f"{folder}/{'index' if page == 'overview' else page}.html"

    def measured(self, protocol: str) -> Measured:
        """The records of a protocol. Pages are made protocol by protocol, so that those of one are in memory."""
        if protocol not in self._measured:
            self._measured = {protocol: Measured.read(self.results, protocol)}
        return self._measured[protocol]

    def compared(self, protocol: str) -> list[str]:
        """The methods that are compared with the protocol's own anchor, in the order of the ranking."""
        own = Choice(protocol, self.anchors[protocol])
        methods = compare_views.methods(self.tables, own)
        return [label for label in methods if label != own.anchor] if own.anchor in methods else []

    def build(self) -> None:
        """Make all files."""
        self._assets()
        self._data()
        Page(self.tables, NOWHERE, self, "index.html").write("index", "Leaderboard", static_pages.index)
        if len(self.tables.broken):
            Page(self.tables, NOWHERE, self, "set-aside.html").write("set_aside", "Files set aside", static_pages.set_aside)
        for protocol in self.protocols:
            self._protocol(protocol)

    def _protocol(self, protocol: str) -> None:
        own = Choice(protocol, self.anchors[protocol])
        for name, kind in PAGES.items():
            for anchor in views.anchor_names(self.tables, protocol) if kind.anchored else [own.anchor]:
                choice = Choice(protocol, anchor)
                Page(self.tables, choice, self, self.address(name, choice.parameters), name).write(name, kind.title, kind.make)
        for label in views.all_method_names(self.tables, protocol):
            self._of_method("method", own, label, label, static_pages.method)
        for label in self.compared(protocol):
            self._of_method("pair", own, label, f"{label} against {own.anchor}", static_pages.pair)

    def _of_method(self, page: str, own: Choice, label: str, title: str, make: "Make") -> None:
        address = self.address(page, own.parameters | {"method": label})
        Page(self.tables, own, self, address, "compare" if page == "pair" else "", label).write(page, title, make)

    def _assets(self) -> None:
        style = "".join(path.read_text() for path in (HERE / "style.css", HERE / "site" / "site.css"))
        self.files["assets/site.css"] = style.encode()
        self.files["assets/site.js"] = (HERE / "site" / "site.js").read_bytes()
        self.files["assets/plotly.min.js"] = get_plotlyjs().encode()

    def _data(self) -> None:
        for name in NAMES:
            table: pd.DataFrame = getattr(self.tables, name)
            stream = io.BytesIO()
            table.to_parquet(stream, index=False)
            self.files[f"data/{name}.parquet"] = stream.getvalue()
            lines = [json.dumps(_finite(line), ensure_ascii=False, allow_nan=False) for line in asdicts(table)]
            self.files[f"data/{name}.json"] = ("[\n" + ",\n".join(lines) + "\n]\n").encode()


def _finite(line: Mapping[str, Any]) -> dict[str, Any]:
    """JSON knows no infinity."""
    return {name: None if isinstance(value, float) and not math.isfinite(value) else value for name, value in line.items()}


@dataclass
class Page(View):
    """A page while it is being made, with the files that lie beside it.

    `kind`: the one of `PAGES` that it is or belongs to. `method`: the one that it is about, if it is about one.
    """

    site: Site
    address: str
    kind: str = ""
    method: str = ""

    @property
    def chosen(self) -> bool:
        """Whether it is about a protocol."""
        return self.choice is not NOWHERE

    def to(self, path: str) -> str:
        """The address of a file of the site, as seen from this page."""
        return quote(posixpath.relpath(path, posixpath.dirname(self.address) or "."), safe="/,=@")

    def link(self, page: str, parameters: Mapping[str, str]) -> str:
        """A `views.Link`."""
        return self.to(self.site.address(page, parameters))

    def sheet(self, sheet: Sheet) -> Markup:
        """A table with its downloads."""
        name = slug(sheet.name)
        links = {FORMATS[kind]: self._file(f"{name}.{kind}", sheet.download(kind)) for kind in FORMATS}
        return self._part("_sheet", table=Markup(sheet.html()), links=links, caption=sheet.caption)

    def figure(self, drawn: Drawn, log: bool = False) -> Markup:
        """A figure with its data. `log`: the switch of the page for logarithmic rates is about it."""
        name = slug(drawn.name)
        link = self._file(f"{name}-data.csv", views.as_csv(drawn.data))
        return self._part("_figure", content=_content(drawn.figure), name=name, link=link, alt=drawn.alt, log=log)

    def _file(self, name: str, text: str) -> str:
        """Write a file beside the page; returns its address."""
        folder, page = posixpath.split(self.address)
        path = posixpath.join(folder, "files", page.removesuffix(".html"), name)
        assert path not in self.site.files, f"{path} is there twice"
        self.site.files[path] = text.encode()
        return self.to(path)

    def _part(self, template: str, **content: Any) -> Markup:
        return Markup(self.site.templates.get_template(f"{template}.html").render(content))

    def write(self, template: str, title: str, make: "Make") -> None:
        """Make the page."""
        text = self._part(template, page=self, title=title, navigation=self._navigation(), anchors=self._anchors(), **make(self))
        self.site.files[self.address] = f"{text}\n".encode()

    def _navigation(self) -> list[tuple[str, str, bool]]:
        """Pages of the protocol: title, address, whether it is this one or this one belongs to it."""
        if not self.chosen:
            return []
        return [(kind.title, self.link(name, self.choice.parameters), name == self.kind) for name, kind in PAGES.items()]

    def _anchors(self) -> list[tuple[str, str, bool]]:
        """The same page against other anchors: anchor, address, whether it is this one."""
        if not self.kind or not PAGES[self.kind].anchored:
            return []
        names = views.anchor_names(self.tables, self.choice.protocol)
        links = [self.link(self.kind, self.choice.parameters | {"anchor": name}) for name in names]
        return [(name, link, name == self.choice.anchor) for name, link in zip(names, links, strict=True)]


def _content(figure: go.Figure) -> dict[str, Any]:
    """A figure's traces and layout; its colours are those of the reader's theme."""
    content = json.loads(to_json(figure, engine="json"))
    content["layout"].pop("template", None)
    return {"data": content["data"], "layout": content["layout"]}


Make = Callable[[Page], Mapping[str, Any]]
PAGES = {
    "overview": Kind("Overview", static_pages.overview),
    "curves": Kind("Curves", static_pages.curves),
    "ablations": Kind("Ablations", static_pages.ablations),
    "cost": Kind("Cost", static_pages.cost),
    "compare": Kind("Compare", static_pages.compare, anchored=False),
    "protocol": Kind("Protocol", static_pages.protocol, anchored=False),
    "submit": Kind("Submit", static_pages.submit, anchored=False),
}
