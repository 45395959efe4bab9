"""The leaderboard in a real browser. With --screenshots DIR it leaves its pictures there."""

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import urlencode

import boards
import pytest
from playwright.sync_api import Browser, Page, expect
from test_leaderboard_submissions import IMAGES, PROTOCOL, accept, bundle

from builders import curve, make_record

MAIN = boards.MAIN.identity
EVIL = "<script>alert(1)</script>"
SOON = 30_000  # milliseconds; the machine may be busy

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(300),
    pytest.mark.skipif(boards.CHROMIUM is None, reason="needs chromium"),
]
expect.set_options(timeout=SOON)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with boards.chromium() as running:
        yield running


@pytest.fixture(scope="module")
def handed_in(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle."""
    return bundle(tmp_path_factory.mktemp("bundle") / "mine.zip")


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory, handed_in: Path) -> Iterator[str]:
    """The leaderboard of `boards.MAIN`, and of a protocol with a submission, a method of an evil name and a broken record."""
    folder = boards.fill(tmp_path_factory.mktemp("results"))
    for method in ("task_loss", "one", "two", "three", EVIL):  # more than MAIN has: it comes first, MAIN is chosen
        path = boards.write(folder, curve(method, protocol=PROTOCOL, images=IMAGES))
    (path.parent / "lambda=9,seed=0.json").write_text("{")
    accept(folder, handed_in)
    with boards.served(folder) as (address, _):
        yield address


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    context = browser.new_context(viewport={"width": 1300, "height": 900}, accept_downloads=True)
    context.set_default_timeout(SOON)
    yield context.new_page()
    context.close()


@pytest.fixture
def seen(page: Page, request: pytest.FixtureRequest) -> Callable[[str], None]:
    """Keep a screenshot of the whole page, where that is wanted."""
    folder: Path | None = request.config.getoption("--screenshots")

    def keep(name: str) -> None:
        if folder is not None:
            page.wait_for_timeout(500)
            page.screenshot(path=folder / f"{name}.png")

    return keep


def go(page: Page, address: str, name: str = "", **parameters: str) -> None:
    """Open a page and wait until it has been drawn without an error."""
    page.goto(f"{address}/{name}?{urlencode(parameters)}")
    page.wait_for_selector('[data-testid="stApp"][data-test-script-state="notRunning"]', timeout=SOON)
    expect(page.get_by_test_id("stException")).to_have_count(0)


def test_every_page_is_drawn_from_its_address(address: str, page: Page, seen: Callable[[str], None]) -> None:
    shown = {
        "": "Only rows of one protocol are ranked together",
        "curves": "Change of rate at equal accuracy",
        "method": "To compute it again",
        "compare": "AP of each class",
        "ablations": "Intervals are not corrected",
        "cost": "Seconds were measured on",
        "protocol": MAIN,
        "submit": "icmbench check my_method",
    }
    for name, text in shown.items():
        go(page, address, name, protocol=MAIN)
        expect(page.get_by_test_id("stMain").get_by_text(text).first).to_be_visible()
        expect(page).to_have_url(re.compile(f"protocol={MAIN.replace('@', '%40')}"))
        seen(name or "overview")
    go(page, address, "curves", protocol=MAIN, log="true", methods="task_loss")
    expect(page.get_by_label("Logarithmic rate")).to_be_checked()
    expect(page.get_by_test_id("stMultiSelect")).not_to_contain_text("aux_loss")


def test_another_score_changes_every_page_and_stays_in_the_address(address: str, page: Page, seen: Callable[[str], None]) -> None:
    go(page, address, protocol=MAIN)
    first = page.get_by_role("rowheader").first
    expect(first).to_contain_text("aux_loss")
    page.get_by_role("combobox", name="Score").click()
    page.get_by_role("option", name="AP50", exact=True).click()
    expect(page.get_by_role("table", name=re.compile("AP50 on 70 images"))).to_be_visible()
    expect(first).to_contain_text("task_loss")
    expect(page).to_have_url(re.compile("metric=AP50"))
    seen("overview-ap50")
    page.get_by_role("link", name="aux_loss,alpha=1.0").click()
    expect(page.get_by_text("Method card")).to_be_visible()
    expect(page.get_by_test_id("stMetricValue").first).to_contain_text("+")
    expect(page).to_have_url(re.compile("metric=AP50"))
    go(page, address, "compare", protocol=MAIN, metric="AP50")
    expect(page.get_by_role("table", name=re.compile("^Images on which B gains.*by AP50"))).to_be_visible()
    expect(page.get_by_text("more bits").first).to_be_visible()
    go(page, address, protocol=PROTOCOL.identity, metric="AP50")  # which its records do not have
    expect(page.get_by_role("table", name=re.compile("AP on 3 images"))).to_be_visible()


def test_links_and_choices_lead_on_and_stay_in_the_address(address: str, page: Page) -> None:
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    go(page, address, protocol=MAIN)
    page.get_by_role("link", name="task_loss", exact=True).click()
    expect(page.get_by_text("Method card")).to_be_visible()
    expect(page).to_have_url(re.compile("protocol=main.*method=task_loss"))
    page.get_by_role("link", name="Link to this view").click()
    expect(page).to_have_url(re.compile("anchor=task_loss"))  # the page around it looks the same: only the address tells
    expect(page.get_by_text("Method card")).to_be_visible()
    assert all(url.startswith((address, "data:", "blob:")) for url in asked if "://" in url and not url.startswith("ws"))


def test_tables_and_figures_can_be_taken_away(address: str, page: Page) -> None:
    go(page, address, protocol=MAIN)
    for name, beginning in (("CSV", "rank,method"), ("Markdown", "| rank | method"), ("LaTeX", r"\begin{tabular}")):
        with page.expect_download() as download:
            page.get_by_role("button", name=name).first.click()
        assert download.value.path().read_text().startswith(beginning)
    go(page, address, "curves", protocol=MAIN, image="PNG")
    with page.expect_download() as download:
        page.get_by_role("button", name="Data of the figure (CSV)").first.click()
    assert download.value.path().read_text().startswith("protocol,method,seed")
    page.locator(".js-plotly-plot").first.hover()
    with page.expect_download() as download:
        page.locator('[data-title^="Download plot"]').first.click()
    assert download.value.path().read_bytes().startswith(b"\x89PNG")


def test_a_phone_and_the_dark_theme(address: str, browser: Browser, request: pytest.FixtureRequest) -> None:
    context = browser.new_context(viewport={"width": 390, "height": 844}, color_scheme="dark", has_touch=True)
    page, folder = context.new_page(), request.config.getoption("--screenshots")
    for name in ("", "curves", "compare", "method"):
        go(page, address, name, protocol=MAIN)
        expect(page.locator(".js-plotly-plot" if name == "curves" else ".icm-table").first).to_be_visible()
        assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")  # only the table scrolls sideways
        if folder is not None:
            page.wait_for_timeout(1000)
            page.screenshot(path=folder / f"phone-{name or 'overview'}.png")
    colour = page.evaluate("getComputedStyle(document.querySelector('[data-testid=stApp]')).backgroundColor")
    assert sum(map(int, re.findall(r"\d+", colour)[:3])) < 200
    context.close()


def test_the_table_is_reached_by_keyboard(address: str, page: Page) -> None:
    go(page, address, protocol=MAIN)
    link = page.get_by_role("link", name="task_loss", exact=True)
    expect(link).to_be_visible()
    for _ in range(60):
        page.keyboard.press("Tab")
        if link.evaluate("node => node === document.activeElement"):
            break
    expect(link).to_be_focused()


def test_broken_records_and_hostile_names_do_no_harm(address: str, page: Page) -> None:
    label = make_record(method=EVIL).label
    page.on("dialog", lambda dialog: pytest.fail("a record's text was run"))
    go(page, address, protocol=PROTOCOL.identity)
    expect(page.get_by_role("table").get_by_text(label)).to_be_visible()
    page.get_by_text("1 file set aside").click()
    expect(page.get_by_text("lambda=9,seed=0.json")).to_be_visible()
    for other in ("curves", "method", "cost"):
        go(page, address, other, protocol=PROTOCOL.identity, method=label)


def test_a_bundle_is_looked_at(address: str, handed_in: Path, page: Page, seen: Callable[[str], None], tmp_path: Path) -> None:
    go(page, address, "submit")
    page.locator("input[type=file]").set_input_files(handed_in)
    expect(page.get_by_text("Nothing is wrong with the bundle")).to_be_visible()
    expect(page.get_by_role("table", name="What it claims")).to_be_visible()
    seen("submit-sound")
    (tmp_path / "broken.zip").write_bytes(handed_in.read_bytes()[:-200])
    go(page, address, "submit")
    page.locator("input[type=file]").set_input_files(tmp_path / "broken.zip")
    expect(page.get_by_text("This bundle would be refused")).to_be_visible()
    expect(page.get_by_text("bundle.zip is not a zip archive")).to_be_visible()
    go(page, address, protocol=PROTOCOL.identity)
    expect(page.get_by_role("row").filter(has_text="mine")).to_contain_text("verified")
    go(page, address, "method", protocol=PROTOCOL.identity, method="mine")
    expect(page.get_by_role("table", name="Submission of mine")).to_contain_text("Ada <b>")
    page.get_by_text("plugin/mine.py, as submitted").click()
    expect(page.get_by_text("<script>alert(1)").first).to_be_visible()
    seen("method-submitted")
