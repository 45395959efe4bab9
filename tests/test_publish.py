"""The static site: whole, harmless, the same bytes each time, and never in place of anything else."""

import json
import posixpath
import re
import shutil
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote

import boards
import pandas as pd
import pytest

from builders import RATES, SCORES, curve, make_protocol
from icmbench.base.errors import UserError
from icmbench.cli.main import main
from icmbench.extras.curves import external
from icmbench.extras.curves.external import ExternalCurve
from icmbench.leaderboard.derived import NAMES
from icmbench.leaderboard.publish import MARKER, differences, files, publish
from icmbench.leaderboard.static import slug

PROTOCOL = make_protocol(summary="<img src=x onerror=alert(1)> & {{ 7 * 7 }}")
HOSTILE = ["<script>alert(1)</script>", "../../x", "l" * 150, "X", "x", "</script><b>", "{{ 7 * 7 }}", "index"]
HOME = f"protocols/{PROTOCOL.identity}"


@pytest.fixture(scope="module", autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("ICMBENCH_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An anchor, methods with names that would do harm, a published curve, and a file that is no record."""
    folder = tmp_path_factory.mktemp("results")
    methods = enumerate(["task_loss", *HOSTILE])
    path = boards.write(folder, [r for number, name in methods for r in curve(name, 1 + 0.05 * number, protocol=PROTOCOL)])
    (path.parent / "<b>,seed=0.json").write_text("{")
    points = tuple(zip(RATES, SCORES, strict=True))
    fields = {"source": "Doe <i>2024</i>", "metric": "AP", "created": "2025-01-01T00:00:00+00:00"}
    external.add(folder, ExternalCurve(name="doe <i>", points=points, protocol=PROTOCOL.identity, **fields))
    return folder


@pytest.fixture(scope="module")
def made(results: Path) -> dict[str, bytes]:
    return files(results)


class Reader(HTMLParser):
    """What a browser would find on a page: tags, addresses, text outside of scripts, ids."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.addresses: list[str] = []
        self.text = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert not any(name.startswith("on") for name, _ in attrs)
        self.tags.append(tag)
        self.addresses += [value or "" for name, value in attrs if name in ("href", "src")]

    def handle_data(self, data: str) -> None:
        if self.tags[-1:] != ["script"]:
            self.text += data


def pages(made: dict[str, bytes]) -> dict[str, Reader]:
    return {path: Reader(content.decode()) for path, content in made.items() if path.endswith(".html")}


def test_every_address_leads_to_a_file_of_the_site(made: dict[str, bytes]) -> None:
    for path, page in pages(made).items():
        for address in page.addresses:
            if address.startswith(("#", "data:,")):
                continue
            assert not re.match(r"[a-z]+:|//", address), address
            assert posixpath.normpath(posixpath.join(posixpath.dirname(path), unquote(address))) in made, (path, address)


def test_text_of_records_stays_text(made: dict[str, bytes]) -> None:
    found = pages(made)
    for page in found.values():
        assert not {"img", "b", "i"} & set(page.tags)
    overview = found[f"{HOME}/index.html"]
    assert "<img src=x onerror=alert(1)> & {{ 7 * 7 }}" in overview.text
    assert "<script>alert(1)<%2Fscript>" in overview.text
    assert "doe <i>" in overview.text
    assert "49" not in found[f"{HOME}/methods/{slug('{{ 7 * 7 }}')}.html"].text[:200]
    assert "<b>,seed=0.json" in found["set-aside.html"].text
    for content in re.findall(r'<script type="application/json">(.*?)</script>', made[f"{HOME}/curves.html"].decode(), re.DOTALL):
        assert "<" not in content
        assert json.loads(content)["data"]


def test_every_page_is_one_that_everybody_can_read(made: dict[str, bytes]) -> None:
    for path, page in pages(made).items():
        for text in ('<html lang="en">', 'name="viewport"', 'class="icm-skip" href="#content"'):
            assert text in made[path].decode()
        assert next(tag for tag in page.tags if re.fullmatch(r"h[1-6]", tag)) == "h1"
        assert page.tags.count("h1") == 1


def test_every_method_has_a_card_and_every_table_its_files(made: dict[str, bytes]) -> None:
    cards = [path for path in made if path.startswith(f"{HOME}/methods/") and path.endswith(".html")]
    assert len(cards) == len(HOSTILE) + 2  # with the anchor and the published curve
    ranking = f"{HOME}/files/index/ranking-{PROTOCOL.name}"
    assert made[f"{ranking}.csv"].startswith(b"rank,method")
    assert made[f"{ranking}.md"].startswith(b"| rank | method")
    assert made[f"{ranking}.tex"].startswith(rb"\begin{tabular}")
    assert made[f"{HOME}/files/curves/curves-{PROTOCOL.name}-data.csv"].startswith(b"protocol,method,seed")


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Results with the rows of their images."""
    return boards.fill(tmp_path_factory.mktemp("filled"))


def test_each_method_is_compared_with_the_anchor(filled: Path) -> None:
    found, home = pages(files(filled)), f"protocols/{boards.MAIN.identity}"
    compared = {path: page for path, page in found.items() if path.startswith(f"{home}/compare/")}
    assert len(compared) == 3
    assert any("compare/aux_loss" in address for address in found[f"{home}/compare.html"].addresses)
    for page in compared.values():
        assert "BD-rate of B against A" in page.text
        assert "person" in page.text
        assert "AP of each class" in page.text
        assert "Images on which B gains and loses most against A, by bits" in page.text
        assert "images side by side as the two codecs show them, are in the app only" in page.text
        assert page.tags.count("figure") == 3


def test_without_rows_or_without_another_method_the_comparison_says_so(made: dict[str, bytes], tmp_path: Path) -> None:
    page = pages(made)[f"{HOME}/compare/x.html"]
    assert "The rows of the images are not all there" in page.text
    assert str(tmp_path.parent) not in page.text
    assert "tell single classes apart" in page.text
    boards.write(tmp_path, curve("task_loss"))
    (alone,) = (found for path, found in pages(files(tmp_path)).items() if path.endswith("/compare.html"))
    assert "A comparison needs the anchor task_loss and another method" in alone.text


def test_the_way_to_a_row_is_told_with_its_commands(made: dict[str, bytes]) -> None:
    text = pages(made)[f"{HOME}/submit.html"].text
    run = f"run my_method detection --protocol {PROTOCOL.name}"
    assert all(f"icmbench {command}" in text for command in ("check my_method", run, "submit my_method", "verify my_method"))


def test_the_tables_are_there_as_data(made: dict[str, bytes], tmp_path: Path) -> None:
    for name in NAMES:
        lines = json.loads(made[f"data/{name}.json"], parse_constant=pytest.fail)
        (tmp_path / "table").write_bytes(made[f"data/{name}.parquet"])
        assert len(pd.read_parquet(tmp_path / "table")) == len(lines)
    assert len(lines) == 1  # set aside


def test_file_names_are_safe_and_never_meet() -> None:
    texts = [*HOSTILE, "", "..", ".git", "é", "È", "a/b", "a-b", "a b", "l" * 61, "l" * 300, "aux_loss,alpha=0.5", "COM1"]
    texts += [slug(text) for text in texts if slug(text) != text]  # names that were made to meet those
    slugs = [slug(text) for text in texts]
    assert len(set(slugs)) == len(texts)
    assert all(re.fullmatch(r"[a-z0-9,=@][a-z0-9=,@._-]{0,79}", name) for name in slugs)
    assert slug("aux_loss,alpha=0.5") == "aux_loss,alpha=0.5"


def test_the_same_records_give_the_same_bytes(
    results: Path, made: dict[str, bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ICMBENCH_CACHE", str(tmp_path / "other"))
    shutil.copytree(results, tmp_path / "copy")
    assert files(tmp_path / "copy") == made


def test_a_folder_without_records_gets_a_helpful_page(tmp_path: Path) -> None:
    (tmp_path / "results").mkdir()
    found = pages(files(tmp_path / "results"))
    assert list(found) == ["index.html"]
    assert "icmbench run aux_loss detection" in found["index.html"].text
    with pytest.raises(UserError, match="there is no results folder"):
        files(tmp_path / "other")


def test_check_finds_what_is_out_of_date(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    results, out = tmp_path / "results", tmp_path / "below" / "site"
    boards.write(results, curve("task_loss"))
    words = ["publish", str(out), "--results", str(results)]
    assert main([*words, "--check"]) == 2
    assert main(words) == 0
    assert re.search(r"index.html: \d+ pages", capsys.readouterr().out)
    assert main([*words, "--check"]) == 0
    (out / "index.html").write_text("other")
    (out / "assets" / "site.js").unlink()
    (out / "new.txt").touch()
    assert main([*words, "--check"]) == 1
    assert capsys.readouterr().out.endswith("missing: assets/site.js\ndiffers: index.html\nextra: new.txt\n")
    assert main(words) == 2  # what others put there is kept
    (out / "new.txt").unlink()
    assert main(words) == 0
    assert differences(results, out) == []
    assert [path.name for path in out.parent.iterdir()] == ["site"]  # nothing is left beside it


def test_nothing_else_is_overwritten(results: Path, tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.tex").write_text("all of it")
    with pytest.raises(UserError, match="not made by"):
        publish(results, tmp_path / "mine")
    assert [path.name for path in (tmp_path / "mine").iterdir()] == ["thesis.tex"]
    with pytest.raises(UserError, match="not a folder"):
        publish(results, tmp_path / "mine" / "thesis.tex")


def test_a_site_that_cannot_be_written_leaves_the_old_one(results: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "empty").mkdir()
    publish(tmp_path / "empty", tmp_path / "site")
    before = (tmp_path / "site" / MARKER).read_text()

    def full(path: Path, content: bytes) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(UserError, match="No space left"):
        publish(results, tmp_path / "site")
    assert (tmp_path / "site" / MARKER).read_text() == before


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.skipif(boards.CHROMIUM is None, reason="needs chromium")
def test_a_browser_draws_every_page_and_asks_nobody(
    results: Path, filled: Path, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    shots: Path | None = request.config.getoption("--screenshots")
    sites = {"hostile": results, "filled": filled}
    for name, folder in sites.items():
        publish(folder, tmp_path / name)
    with boards.chromium() as browser:
        context = browser.new_context(viewport={"width": 390, "height": 844}, color_scheme="dark", accept_downloads=True)
        page = context.new_page()
        asked: list[str] = []
        problems: list[str] = []
        page.on("request", lambda one: asked.append(one.url))
        page.on("pageerror", lambda error: problems.append(str(error)))
        page.on("console", lambda message: problems.append(message.text))
        page.on("dialog", lambda dialog: problems.append("a record's text was run"))
        for name in sites:
            found = sorted((tmp_path / name).rglob("*.html"))
            other = {slug(method) for method in HOSTILE[1:]}  # one name is shown on pages of every kind
            for number, path in enumerate(path for path in found if path.stem not in other):
                page.goto(path.as_uri())
                assert page.locator(".icm-figure").count() == page.locator(".js-plotly-plot .main-svg .cartesianlayer").count()
                assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")  # only the tables scroll sideways
                if shots is not None:
                    page.screenshot(path=shots / f"site-{name}-{number}.png", full_page=True)
        page.goto((tmp_path / "hostile" / HOME / "curves.html").as_uri())
        shown = "document.querySelector('.icm-plot')._fullData.filter(trace => trace.visible === true).length"
        few = page.evaluate(shown)
        page.get_by_label("Every seed").check()
        assert page.evaluate(shown) == 2 * few
        page.get_by_label("Logarithmic rate").check()
        types = "[...document.querySelectorAll('.icm-plot')].map(plot => plot._fullLayout.xaxis.type)"
        assert page.evaluate(types) == ["log", "linear"]
        for form, beginning in (("SVG", b"<svg"), ("PNG", b"\x89PNG")):
            with page.expect_download() as download:
                page.get_by_role("button", name=f"Save the figure as {form}").first.click()
            assert download.value.path().read_bytes().startswith(beginning)
        page.keyboard.press("Tab")
        assert page.evaluate("document.activeElement !== document.body")
    assert problems == []
    assert [url for url in asked if not url.startswith(("file:", "data:", "blob:"))] == []
