"""The static site: the pages of the leaderboard as files. Knows templates and addresses, and writes nothing.

A page is a function of `static_pages.py` that is given a `Page` and returns its parts, the title first; `PAGES` lists those of a
protocol. All text is data: the templates escape it, and addresses are made of `slug`s.
"""

import hashlib
import io
import json
import math
import posixpath
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import cached_property, partial
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote

import pandas as pd
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup
from plotly.io import to_json
from plotly.offline import get_plotlyjs

from icmbench.leaderboard import pages, static_pages
from icmbench.leaderboard.compare_views import Measured
from icmbench.leaderboard.derived import NAMES, Tables
from icmbench.leaderboard.figures import Drawn
from icmbench.leaderboard.lines import as_csv, asdicts
from icmbench.leaderboard.pages import Words
from icmbench.leaderboard.static_pages import SitePart
from icmbench.leaderboard.views import Choice, View, protocol_names
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


@dataclass
class Site:
    """The site while it is being made. `files`: path → content."""

    tables: Tables
    plugins: Plugins
    results: Path
    files: dict[str, bytes] = field(default_factory=dict)

    @cached_property
    def templates(self) -> Environment:
        """The templates, which escape whatever they show."""
        loader = FileSystemLoader(HERE / "site")
        return Environment(loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)

    @cached_property
    def protocols(self) -> dict[str, View]:
        """Every protocol against its own anchor."""
        return {protocol: View.own(self.tables, protocol) for protocol in protocol_names(self.tables)}

    def address(self, page: str, protocol: str = "", anchor: str = "", method: str = "") -> str:
        """Path of a page."""
        folder = f"protocols/{slug(protocol)}"
        if page in OF_METHODS:
            return f"{folder}/{OF_METHODS[page]}/{slug(method)}.html"
        if PAGES[page].anchored and anchor != self.protocols[protocol].choice.anchor:
            folder += f"/against/{slug(anchor)}"
        return f"{folder}/{'index' if page == 'overview' else page}.html"

    def compared(self, protocol: str) -> list[str]:
        """The methods that are compared with the protocol's own anchor, in the order of the ranking."""
        own = self.protocols[protocol]
        return [label for label in own.recorded if label != own.choice.anchor] if own.choice.anchor in own.recorded else []

    def build(self) -> None:
        """Make all files."""
        style = "".join(path.read_text() for path in (HERE / "style.css", HERE / "site" / "site.css"))
        self.files["assets/site.css"] = style.encode()
        self.files["assets/site.js"] = (HERE / "site" / "site.js").read_bytes()
        self.files["assets/plotly.min.js"] = get_plotlyjs().encode()
        self._data()
        Page(self.tables, NOWHERE, self, "index.html").write("Leaderboard", static_pages.index)
        if len(self.tables.broken):
            Page(self.tables, NOWHERE, self, "set-aside.html").write("Files set aside", static_pages.set_aside)
        for view in self.protocols.values():
            self._protocol(view)

    def _protocol(self, own: View) -> None:
        protocol, anchor = own.choice.protocol, own.choice.anchor
        for name, kind in PAGES.items():
            for choice in [Choice(protocol, other) for other in own.anchors] if kind.anchored else [own.choice]:
                Page(self.tables, choice, self, self.address(name, protocol, choice.anchor), name).write(kind.title, kind.make)
        for label in own.all_methods:
            address = self.address("method", protocol, method=label)
            Page(self.tables, own.choice, self, address, method=label).write(label, static_pages.method)
        pair = partial(static_pages.pair, measured=Measured.read(self.results, protocol))
        for label in self.compared(protocol):
            address = self.address("pair", protocol, method=label)
            Page(self.tables, own.choice, self, address, "compare", label).write(f"{label} against {anchor}", pair)

    def _data(self) -> None:
        for name in NAMES:
            table: pd.DataFrame = getattr(self.tables, name)
            stream = io.BytesIO()
            table.to_parquet(stream, index=False)
            self.files[f"data/{name}.parquet"] = stream.getvalue()
            lines = [{column: _finite(value) for column, value in line.items()} for line in asdicts(table)]
            text = ",\n".join(json.dumps(line, ensure_ascii=False, allow_nan=False) for line in lines)
            self.files[f"data/{name}.json"] = f"[\n{text}\n]\n".encode()


def _finite(value: Any) -> Any:
    """JSON knows no infinity."""
    return None if isinstance(value, float) and not math.isfinite(value) else value


@dataclass
class Page(View):
    """A page while it is being made, with the files that lie beside it.

    `kind`: the one of `PAGES` that it is or belongs to. `method`: the one that it is about, if it is about one.
    """

    site: Site
    address: str
    kind: str = ""
    method: str = ""
    has_figures: bool = False

    @property
    def chosen(self) -> bool:
        """Whether it is about a protocol."""
        return self.choice is not NOWHERE

    def to(self, path: str) -> str:
        """The address of a file of the site, as seen from this page."""
        return quote(posixpath.relpath(path, posixpath.dirname(self.address) or "."), safe="/,=@")

    def link(self, page: str, **parameters: str) -> str:
        return self.to(self.site.address(page, **self.choice.parameters | parameters))

    def write(self, title: str, make: "Make") -> None:
        """Make the page."""
        heading, *parts = make(self)
        assert isinstance(heading, Words)
        text = self._filled("layout", title=title, heading=heading.text, content=self.drawn(parts))
        self.site.files[self.address] = f"{text}\n".encode()

    def drawn(self, parts: Iterable[SitePart]) -> Markup:
        """Parts of the page, one below the other."""
        return Markup("").join(map(self._drawn, parts))

    def _drawn(self, part: SitePart) -> Markup:
        if isinstance(part, Sheet):
            name = slug(part.name)
            links = {FORMATS[kind]: self._file(f"{name}.{kind}", part.download(kind)) for kind in FORMATS}
            return self._filled("sheet", table=Markup(part.html()), links=links, caption=part.caption)
        if isinstance(part, Drawn):
            self.has_figures = True
            name = slug(part.name)
            content = json.loads(to_json(part.figure, engine="json"))
            content["layout"].pop("template", None)  # its colours are those of the reader's theme
            link = self._file(f"{name}-data.csv", as_csv(part.data))
            return self._filled("figure", content=content, name=name, link=link, alt=part.alt, log=part.rates)
        return self._filled("parts", part=part, type=type(part).__name__)

    def _filled(self, template: str, **content: Any) -> Markup:
        return Markup(self.site.templates.get_template(f"{template}.html").render(page=self, **content))

    def _file(self, name: str, text: str) -> str:
        """Write a file beside the page; returns its address."""
        folder, page = posixpath.split(self.address)
        path = posixpath.join(folder, "files", page.removesuffix(".html"), name)
        assert path not in self.site.files, f"{path} is there twice"
        self.site.files[path] = text.encode()
        return self.to(path)

    @property
    def navigation(self) -> list[tuple[str, str, bool]]:
        """Pages of the protocol: title, address, whether it is this one or this one belongs to it."""
        return [(kind.title, self.link(name), name == self.kind) for name, kind in PAGES.items()]

    @property
    def other_anchors(self) -> list[tuple[str, str, bool]]:
        """The same page against every anchor: anchor, address, whether it is this one; empty where there is no other."""
        if not self.kind or not PAGES[self.kind].anchored or len(self.anchors) < 2:
            return []
        return [(name, self.link(self.kind, anchor=name), name == self.choice.anchor) for name in self.anchors]


Make = Callable[[Page], Iterable[SitePart]]


class Kind(NamedTuple):
    """A kind of page of a protocol. `anchored`: there is one for every anchor."""

    title: str
    make: Make
    anchored: bool = True


PAGES = {
    "overview": Kind("Overview", pages.overview),
    "curves": Kind("Curves", static_pages.curves),
    "ablations": Kind("Ablations", static_pages.ablations),
    "cost": Kind("Cost", static_pages.cost),
    "compare": Kind("Compare", static_pages.compare, anchored=False),
    "protocol": Kind("Protocol", pages.protocol, anchored=False),
    "submit": Kind("Submit", pages.submit, anchored=False),
}
