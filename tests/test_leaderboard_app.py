"""The leaderboard in a real browser, on the committed records. With --screenshots DIR it leaves its pictures there."""

import re
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import urlencode

import pytest
from playwright.sync_api import Browser, Page, expect, sync_playwright
from test_leaderboard_submissions import PROTOCOL, accept, bundle

from builders import curve, make_protocol
from icmbench.schema.store import Store

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
COMMITTED = Path(__file__).parents[1] / "results"
CAMVID, COCO = "camvid-deeplabv3plus-v1@807cad56a0e0", "coco128-nanodet-v1@3c2da140c4c2"
SOON = 30_000  # milliseconds; the machine may be busy

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(300),
    pytest.mark.skipif(CHROMIUM is None, reason="needs chromium"),
]
expect.set_options(timeout=SOON)
Served = Callable[[Path], str]


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield running
        running.close()


@pytest.fixture(scope="module")
def served() -> Iterator[Served]:
    """Start the command on a folder; returns its address."""
    processes: dict[Path, tuple[subprocess.Popen[bytes], str]] = {}

    def serve(folder: Path) -> str:
        if folder not in processes:
            port = _free_port()
            words = [sys.executable, "-m", "icmbench", "leaderboard", "--results", str(folder), "--port", str(port)]
            processes[folder] = subprocess.Popen(words), f"http://localhost:{port}"
            _wait(processes[folder][1])
        return processes[folder][1]

    yield serve
    for process, _ in processes.values():
        process.terminate()
        process.wait(30)


def _free_port() -> int:
    with socket.socket() as found:
        found.bind(("localhost", 0))
        return int(found.getsockname()[1])


def _wait(address: str) -> None:
    for _ in range(300):
        try:
            urllib.request.urlopen(f"{address}/_stcore/health", timeout=5)
            return
        except OSError:
            time.sleep(0.2)
    raise AssertionError(f"nothing answers at {address}")


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
        page.wait_for_timeout(500)
        if folder is not None:
            page.screenshot(path=folder / f"{name}.png")

    return keep


def go(page: Page, address: str, name: str = "", **parameters: str) -> None:
    """Open a page and wait until it has been drawn without an error."""
    page.goto(f"{address}/{name}?{urlencode(parameters)}")
    page.wait_for_selector('[data-testid="stApp"][data-test-script-state="notRunning"]', timeout=SOON)
    expect(page.get_by_test_id("stException")).to_have_count(0)


def test_the_overview_says_who_is_best_and_how_sure_that_is(served: Served, page: Page, seen: Callable[[str], None]) -> None:
    go(page, served(COMMITTED), protocol=COCO)
    table = page.get_by_role("table", name=re.compile("AP on 128 images"))
    expect(table).to_be_visible()
    row = table.get_by_role("row").filter(has_text="aux_loss").first
    expect(row).to_contain_text("%")
    expect(row).to_contain_text("claimed")
    expect(table.get_by_role("row").filter(has=page.get_by_role("rowheader", name="task_loss", exact=True))).to_contain_text(
        "anchor"
    )
    seen("overview")


def test_every_page_is_drawn_from_its_address(served: Served, page: Page, seen: Callable[[str], None]) -> None:
    address = served(COMMITTED)
    shown = {
        "curves": "Change of rate at equal accuracy",
        "method": "To compute it again",
        "compare": "Compare",
        "ablations": "Ablations",
        "cost": "Cost",
        "protocol": COCO,
        "submit": "icmbench check my_method",
    }
    for name, text in shown.items():
        go(page, address, name, protocol=COCO)
        expect(page.get_by_test_id("stMain").get_by_text(text).first).to_be_visible()
        expect(page).to_have_url(re.compile(f"protocol={COCO.replace('@', '%40')}"))
        seen(name)


def test_an_address_restores_a_view(served: Served, page: Page) -> None:
    go(page, served(COMMITTED), "curves", protocol=CAMVID, log="true", methods="task_loss")
    expect(page.get_by_text("camvid-deeplabv3plus-v1@807cad56a0e0").first).to_be_visible()
    expect(page.get_by_role("switch", name="Logarithmic rate").or_(page.get_by_label("Logarithmic rate"))).to_be_checked()
    expect(page.get_by_test_id("stMultiSelect")).not_to_contain_text("aux_loss")


def test_links_and_choices_lead_on_and_stay_in_the_address(served: Served, page: Page) -> None:
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    address = served(COMMITTED)
    go(page, address, protocol=COCO)
    page.get_by_role("link", name="task_loss", exact=True).click()
    expect(page.get_by_text("Method card")).to_be_visible()
    expect(page).to_have_url(re.compile("protocol=coco128.*method=task_loss"))
    page.get_by_role("link", name="Link to this view").click()
    expect(page).to_have_url(re.compile("anchor=task_loss"))  # the page around it looks the same: only the address tells
    expect(page.get_by_text("Method card")).to_be_visible()
    assert all(url.startswith((address, "data:", "blob:")) for url in asked if "://" in url and not url.startswith("ws"))


def test_tables_and_figures_can_be_taken_away(served: Served, page: Page) -> None:
    go(page, served(COMMITTED), protocol=COCO)
    for name, beginning in (("CSV", "rank,method"), ("Markdown", "| rank | method"), ("LaTeX", r"\begin{tabular}")):
        with page.expect_download() as download:
            page.get_by_role("button", name=name).first.click()
        assert download.value.path().read_text().startswith(beginning)
    go(page, served(COMMITTED), "curves", protocol=COCO, image="PNG")
    with page.expect_download() as download:
        page.get_by_role("button", name="Data of the figure (CSV)").first.click()
    assert download.value.path().read_text().startswith("protocol,method,seed")
    page.locator(".js-plotly-plot").first.hover()
    with page.expect_download() as download:
        page.locator('[data-title^="Download plot"]').first.click()
    assert download.value.path().read_bytes().startswith(b"\x89PNG")


def test_a_phone_and_the_dark_theme(served: Served, browser: Browser, request: pytest.FixtureRequest) -> None:
    context = browser.new_context(viewport={"width": 390, "height": 844}, color_scheme="dark", has_touch=True)
    page = context.new_page()
    go(page, served(COMMITTED), protocol=COCO)
    expect(page.get_by_role("table").first).to_be_visible()
    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")  # only the table scrolls sideways
    colour = page.evaluate("getComputedStyle(document.querySelector('[data-testid=stApp]')).backgroundColor")
    assert sum(map(int, re.findall(r"\d+", colour)[:3])) < 200
    if (folder := request.config.getoption("--screenshots")) is not None:
        page.screenshot(path=folder / "phone.png")
    context.close()


def test_the_table_is_reached_by_keyboard(served: Served, page: Page) -> None:
    go(page, served(COMMITTED), protocol=COCO)
    link = page.get_by_role("link", name="task_loss", exact=True)
    expect(link).to_be_visible()
    for _ in range(60):
        page.keyboard.press("Tab")
        if link.evaluate("node => node === document.activeElement"):
            break
    expect(link).to_be_focused()


def test_an_empty_folder_gets_a_helpful_page(served: Served, page: Page, tmp_path_factory: pytest.TempPathFactory) -> None:
    go(page, served(tmp_path_factory.mktemp("empty")))
    expect(page.get_by_text("No records yet")).to_be_visible()
    expect(page.get_by_text("icmbench run aux_loss detection")).to_be_visible()


def test_broken_records_and_hostile_names_do_no_harm(
    served: Served, page: Page, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("hostile")
    store, protocol = Store(folder), make_protocol()
    name = "<script>alert(1)</script>"
    for record in [*curve("task_loss", protocol=protocol), *curve(name, 0.9, protocol=protocol)]:
        path = store.write(record)
    label = record.label
    (path.parent / "lambda=9,seed=0.json").write_text("{")
    page.on("dialog", lambda dialog: pytest.fail("a record's text was run"))
    go(page, served(folder))
    expect(page.get_by_role("table").get_by_text(label)).to_be_visible()
    page.get_by_text("1 file set aside").click()
    expect(page.get_by_text("lambda=9,seed=0.json")).to_be_visible()
    for other in ("curves", "method", "cost"):
        go(page, served(folder), other, method=label)
    expect(page.get_by_test_id("stException")).to_have_count(0)


def test_a_bundle_is_looked_at(
    served: Served, page: Page, seen: Callable[[str], None], tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("submitted")
    for record in curve("task_loss", protocol=PROTOCOL):
        Store(folder).write(record)
    path = bundle(tmp_path / "mine.zip")
    accept(folder, path)
    go(page, served(folder), "submit")
    page.locator("input[type=file]").set_input_files(path)
    expect(page.get_by_text("Nothing is wrong with the bundle")).to_be_visible()
    expect(page.get_by_role("table", name="What it claims")).to_be_visible()
    seen("submit-sound")
    (tmp_path / "broken.zip").write_bytes(path.read_bytes()[:-200])
    go(page, served(folder), "submit")
    page.locator("input[type=file]").set_input_files(tmp_path / "broken.zip")
    expect(page.get_by_text("This bundle would be refused")).to_be_visible()
    expect(page.get_by_text("bundle.zip is not a zip archive")).to_be_visible()
    seen("submit-refused")
    go(page, served(folder))
    expect(page.get_by_role("row").filter(has_text="mine")).to_contain_text("verified")
    go(page, served(folder), "method", method="mine")
    expect(page.get_by_role("table", name="Submission of mine")).to_contain_text("Ada <b>")
    page.get_by_text("Source, as submitted").click()
    expect(page.get_by_text("<script>alert(1)").first).to_be_visible()
    seen("method-submitted")


def test_classes_are_compared(served: Served, page: Page, seen: Callable[[str], None]) -> None:
    for protocol, name in ((COCO, "person"), (CAMVID, "road")):
        go(page, served(COMMITTED), "compare", protocol=protocol)
        table = page.get_by_role("table", name=re.compile("of each class"))
        expect(table.get_by_role("rowheader", name=name, exact=True)).to_be_visible()
        seen(f"compare-{name}")


def test_records_that_come_later_show(served: Served, page: Page, tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp("growing")
    for record in curve("task_loss"):
        Store(folder).write(record)
    go(page, served(folder))
    expect(page.get_by_role("rowheader", name="task_loss")).to_be_visible()
    for record in curve("newcomer", 0.5):
        Store(folder).write(record)
    for _ in range(20):
        page.wait_for_timeout(1000)
        go(page, served(folder))
        if page.get_by_role("rowheader", name="newcomer").count():
            return
    raise AssertionError("the new rows never came")
