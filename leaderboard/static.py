"""The static site: the pages of the leaderboard as files. Knows templates and addresses, and no file system.

A page is a function that is given a `Page` and returns what its template of the same name shows. `PAGES` lists those of a
protocol. All text is data: the templates escape it, and addresses are made of `slug`s.
"""

import hashlib
import io
import json
import math
import posixpath
import re
from collections.abc import Callable, Mapping, Sequence
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

from icmbench.leaderboard import figures, views
from icmbench.leaderboard.derived import NAMES, Tables, asdicts
from icmbench.leaderboard.sheet import Format, Sheet
from icmbench.leaderboard.views import Choice
from icmbench.plugins import Plugins

HERE = Path(__file__).parent
FORMATS: dict[Format, str] = {"csv": "CSV", "md": "Markdown", "tex": "LaTeX"}
FIRST_SHOWN = 5  # methods that a figure shows before anybody chose
LONGEST = 60  # characters of a slug before its digest
ABOUT = {
    "protocols": "what was measured under which rules",
    "ranking": "the rows of the ranking, once for every anchor",
    "points": "rate points, over the seeds (seed −1) and at each of them",
    "at_rates": "accuracy at rates of the anchor",
    "gains": "change of rate at equal accuracy along the curves",
    "records": "one line a record",
    "broken": "files that were set aside, with the reason",
}


def site(tables: Tables, plugins: Plugins) -> dict[str, bytes]:
    """All files of the site: path → content. The same tables give the same bytes."""
    made = Site(tables, plugins)
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
    make: "Callable[[Page], Mapping[str, Any]]"
    anchored: bool = True


@dataclass
class Site:
    """The site while it is being made. `files`: path → content."""

    tables: Tables
    plugins: Plugins
    files: dict[str, bytes] = made_anew(default_factory=dict)

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
        if page == "method":
            return f"{folder}/methods/{slug(parameters['method'])}.html"
        if PAGES[page].anchored and parameters["anchor"] != self.anchors[protocol]:
            folder += f"/against/{slug(parameters['anchor'])}"
        return f"{folder}/{'index' if page == 'overview' else page}.html"

    def build(self) -> None:
        """Make all files."""
        self._assets()
        self._data()
        Page(self, "index.html").write("index", "Leaderboard", index)
        if len(self.tables.broken):
            Page(self, "set-aside.html").write("set_aside", "Files set aside", set_aside)
        for protocol in self.protocols:
            self._protocol(protocol)

    def _protocol(self, protocol: str) -> None:
        own = Choice(protocol, self.anchors[protocol])
        for name, kind in PAGES.items():
            for anchor in views.anchor_names(self.tables, protocol) if kind.anchored else [own.anchor]:
                choice = Choice(protocol, anchor)
                Page(self, self.address(name, choice.parameters), choice, name).write(name, kind.title, kind.make)
        for label in views.all_method_names(self.tables, protocol):
            address = self.address("method", own.parameters | {"method": label})
            Page(self, address, own, method=label).write("method", label, method)

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
class Page:
    """A page while it is being made, with the files that lie beside it. `kind`: its name in `PAGES`."""

    site: Site
    address: str
    chosen: Choice | None = None
    kind: str = ""
    method: str = ""

    @property
    def tables(self) -> Tables:
        """What is shown."""
        return self.site.tables

    @property
    def choice(self) -> Choice:
        """What a page of a protocol is about."""
        assert self.chosen is not None, f"{self.address} is about no protocol"
        return self.chosen

    @cached_property
    def facts(self) -> dict[str, Any]:
        """The protocol's line."""
        return views.about(self.tables, self.choice.protocol)

    @cached_property
    def methods(self) -> list[str]:
        """The methods in the order of the ranking."""
        return views.method_names(self.tables, self.choice)

    @cached_property
    def styles(self) -> dict[str, dict[str, Any]]:
        """How each method is drawn, whichever the anchor."""
        return figures.style_of(views.all_method_names(self.tables, self.choice.protocol))

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

    def figure(self, figure: go.Figure, name: str, data: pd.DataFrame, alt: str, log: bool = False) -> Markup:
        """A figure with its data. `log`: the switch of the page for logarithmic rates is about it."""
        link = self._file(f"{slug(name)}-data.csv", views.as_csv(data))
        return self._part("_figure", content=_content(figure), name=slug(name), link=link, alt=alt, log=log)

    def _file(self, name: str, text: str) -> str:
        """Write a file beside the page; returns its address."""
        folder, page = posixpath.split(self.address)
        path = posixpath.join(folder, "files", page.removesuffix(".html"), name)
        assert path not in self.site.files, f"{path} is there twice"
        self.site.files[path] = text.encode()
        return self.to(path)

    def _part(self, template: str, **content: Any) -> Markup:
        return Markup(self.site.templates.get_template(f"{template}.html").render(content))

    def write(self, template: str, title: str, make: "Callable[[Page], Mapping[str, Any]]") -> None:
        """Make the page."""
        text = self._part(template, page=self, title=title, navigation=self._navigation(), anchors=self._anchors(), **make(self))
        self.site.files[self.address] = f"{text}\n".encode()

    def _navigation(self) -> list[tuple[str, str, bool]]:
        """Pages of the protocol: title, address, whether it is this one."""
        if self.chosen is None:
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


def index(page: Page) -> dict[str, Any]:
    """All protocols with their best methods, or how to make a first record."""
    found = bool(page.site.protocols)
    data = [(name, ABOUT[name], len(getattr(page.tables, name))) for name in NAMES]
    return {"sheet": page.sheet(views.protocols(page.tables, page.link)) if found else None, "data": data}


def set_aside(page: Page) -> dict[str, Any]:
    """The files that count nowhere."""
    return {"sheet": page.sheet(views.set_aside(page.tables))}


def overview(page: Page) -> dict[str, Any]:
    """Who is best, by how much, whether that is certain, and at what cost."""
    return {
        "sheet": page.sheet(views.overview(page.tables, page.choice, page.link)),
        "doubled": views.doubled(page.tables, page.choice),
        "remarks": views.remarks(page.tables, page.choice),
    }


def curves(page: Page) -> dict[str, Any]:
    """Rate-accuracy curves, and the change of rate along them."""
    choice, facts = page.choice, page.facts
    table = views.points(page.tables, choice.protocol, page.methods)
    drawn = figures.curves(table, page.styles, facts, log=False, each_seed=True)
    alt = f"{facts['metric']} against rate of {len(page.methods)} methods; the numbers are in the data of the figure."
    against = views.gains(page.tables, choice, page.methods)
    first = {*page.methods[:FIRST_SHOWN], choice.anchor}
    return {
        "curves": page.figure(drawn, f"curves-{facts['name']}", table, alt, log=True),
        "gains": None if against.empty else _gains(page, against),
        "switches": [(method, figures.plain(method), method in first) for method in page.methods],
    }


def _gains(page: Page, table: pd.DataFrame) -> Markup:
    anchor = page.choice.anchor
    alt = f"Change of rate of {len(page.methods)} methods against {anchor}; the numbers are in the data of the figure."
    drawn = figures.gains(table, page.styles, page.facts, anchor)
    return page.figure(drawn, f"gains-{page.facts['name']}", table, alt)


def ablations(page: Page) -> dict[str, Any]:
    """What each parameter of a method does, as far as it was measured."""
    found = views.axes(page.tables, page.choice)
    return {"axes": [_axis(page, plugin, axis) for plugin, axes in found.items() for axis in axes]}


def _axis(page: Page, plugin: str, axis: str) -> dict[str, Any]:
    choice = page.choice
    lines = views.along(page.tables, choice, plugin, axis)
    data = pd.DataFrame(lines)[["value", "default", "bd_rate", "bd_rate_low", "bd_rate_high", "seeds"]]
    alt = f"BD-rate of {plugin} against {choice.anchor} along {axis}; the numbers are in the table below."
    drawn = figures.ablation(lines, axis, page.facts, choice.anchor)
    return {
        "title": f"{plugin}: {axis}",
        "figure": page.figure(drawn, f"ablation-{plugin}-{axis}", data, alt),
        "sheet": page.sheet(views.ablation(lines, axis, choice, plugin)),
    }


def cost(page: Page) -> dict[str, Any]:
    """BD-rate against every cost, with the Pareto fronts."""
    lines = views.cost_lines(page.tables, page.choice)
    placed = {by: [line for line in lines if _placed(line, by)] for by in figures.COSTS}
    return {"costs": [_cost(page, by, shown, len(lines)) for by, shown in placed.items() if shown]}


def _placed(line: Mapping[str, Any], by: str) -> bool:
    return line.get(by) is not None and (line["bd_rate"] is not None or line["reason"] == "anchor")


def _cost(page: Page, by: str, shown: Sequence[dict[str, Any]], all_of_them: int) -> dict[str, Any]:
    data = pd.DataFrame(shown)[["method", by, "bd_rate", "bd_rate_low", "bd_rate_high"]]
    alt = f"BD-rate against {figures.COSTS[by]} of {len(shown)} methods; the numbers are in the data of the figure."
    drawn = figures.cost(shown, page.styles, page.facts, by)
    return {
        "title": figures.COSTS[by].capitalize(),
        "figure": page.figure(drawn, f"cost-{page.facts['name']}-{by}", data, alt),
        "left": all_of_them - len(shown),
        "all": all_of_them,
        "devices": sorted({line["device"] for line in shown if line["device"]}) if "seconds" in by else [],
    }


def protocol(page: Page) -> dict[str, Any]:
    """The definition, the identity, the ceiling and the data of the protocol."""
    files = views.needed(page.facts)
    definition = json.loads(page.facts["definition"])
    return {
        "steps": definition["training"]["steps"],
        "ceilings": page.sheet(views.ceilings(page.facts)),
        "files": None if files is None else page.sheet(files),
        "definition": json.dumps(definition, indent=2, ensure_ascii=False),
    }


def method(page: Page) -> dict[str, Any]:
    """A method's card: what it is, what it reached, and how to compute it again."""
    label = page.method
    line = views.plugin_of(page.tables, page.choice, label)
    ranked = next((one for one in views.ranking(page.tables, page.choice) if one["method"] == label), None)
    return {
        "standings": page.sheet(views.standings(page.tables, page.choice.protocol, label, page.link)),
        "notes": json.loads(ranked["notes"]) if ranked else [],
        "line": line,
        **(_computed(page, line, int(ranked["seeds"])) if line and ranked else {}),
    }


def _computed(page: Page, line: dict[str, Any], seeds: int) -> dict[str, Any]:
    """What only a method has that was computed here."""
    choice, facts, label = page.choice, page.facts, page.method
    text, source = views.docstring(page.site.plugins, line["plugin"])
    table = views.points(page.tables, choice.protocol, [label])
    drawn = figures.curves(table, {label: page.styles[label]}, facts, log=False, each_seed=True)
    return {
        "text": text,
        "source": source,
        "given": json.loads(line["parameters"]),
        "defaults": json.loads(line["defaults"]),
        "command": views.command(line, facts["task"], choice.protocol, seeds, choice.anchor),
        "curve": page.figure(drawn, f"curve-{label}", table, f"{facts['metric']} against rate of {label}", log=True),
        "records": page.sheet(views.method_records(page.tables, choice, label)),
    }


PAGES = {
    "overview": Kind("Overview", overview),
    "curves": Kind("Curves", curves),
    "ablations": Kind("Ablations", ablations),
    "cost": Kind("Cost", cost),
    "protocol": Kind("Protocol", protocol, anchored=False),
}
