"""How fast the leaderboard makes and shows the tables of 9,600 records: 200 methods, four protocols, three seeds.

With --benchmark-only. The pages are measured in a real browser and need chromium.
"""

import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import boards
import numpy as np
import pytest
from playwright.sync_api import Browser, Page
from pytest_benchmark.fixture import BenchmarkFixture

from builders import RATES, SCORES, make_curve, make_protocol
from icmbench.leaderboard import derived
from icmbench.leaderboard.derived import Tables
from icmbench.schema.protocol import Protocol
from icmbench.schema.record import Record
from icmbench.schema.store import Store

METHODS, UNTRAINED, SEEDS = 200, 3, 3
PROTOCOLS = [make_protocol(name=f"many-v{number}") for number in range(1, 5)]


def records(protocol: Protocol) -> Iterator[Record]:
    """Methods that need more or less of the anchor's rate; the last ones were not trained, so that they can be anchors."""
    noise = np.random.default_rng(0)
    for number in range(METHODS):
        name = "task_loss" if number == 0 else f"method_{number:03d}"
        factor = 0.6 + 0.8 * number / METHODS
        for seed in range(SEEDS):
            rates = factor * np.array(RATES) * noise.normal(1, 0.02, len(RATES))
            scores = np.array(SCORES) + noise.normal(0, 0.1, len(SCORES))
            made = make_curve(name, rates.tolist(), scores.tolist(), protocol, seed)
            yield from made if number < METHODS - UNTRAINED else map(untrained, made)


def untrained(record: Record) -> Record:
    return record.model_copy(update={"cost": record.cost.model_copy(update={"steps": 0})})


@dataclass(frozen=True)
class Filled:
    """A results folder with its cache, and the tables of it."""

    results: Path
    tables: Tables
    seconds: float


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Filled]:
    folder = tmp_path_factory.mktemp("leaderboard")
    for protocol in PROTOCOLS:
        boards.write(folder / "results", records(protocol))
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("ICMBENCH_CACHE", str(folder / "cache"))
        start = time.perf_counter()
        tables = derived.build(folder / "results")
        yield Filled(folder / "results", tables, time.perf_counter() - start)


def info() -> dict[str, object]:
    return {"cores": os.cpu_count(), "load": os.getloadavg()[0]}


def test_the_tables_from_nothing(benchmark: BenchmarkFixture, filled: Filled) -> None:
    """Measured once, when the fixture makes them."""
    benchmark.extra_info |= {"seconds": round(filled.seconds, 1)} | info()
    benchmark.pedantic(lambda: None)
    assert len(filled.tables.records) == len(PROTOCOLS) * METHODS * SEEDS * len(RATES)


def test_the_tables_after_another_record(benchmark: BenchmarkFixture, filled: Filled) -> None:
    store, heard = Store(filled.results), []
    first = next(records(PROTOCOLS[0]))
    factors = iter(np.linspace(1.001, 1.01, 10).tolist())

    def change() -> None:
        store.write(first.model_copy(update={"bpp": next(factors) * first.bpp}))

    benchmark.pedantic(lambda: derived.build(filled.results, heard.append), setup=change, rounds=3)
    benchmark.extra_info |= info()
    assert heard == 3 * [PROTOCOLS[0].identity]


def test_looking_whether_anything_changed(benchmark: BenchmarkFixture, filled: Filled) -> None:
    benchmark.pedantic(derived.signature, (filled.results,), rounds=9)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    if boards.CHROMIUM is None:
        pytest.skip("needs chromium")
    with boards.chromium() as running:
        running.new_context().new_page().goto("about:blank")
        yield running


@dataclass(frozen=True)
class Served:
    """A running app."""

    address: str
    process: int

    @property
    def mebibytes(self) -> int:
        """Resident memory of the server."""
        line = next(line for line in Path(f"/proc/{self.process}/status").read_text().splitlines() if line.startswith("VmRSS"))
        return int(line.split()[1]) // 1024


@pytest.fixture(scope="module")
def served(filled: Filled) -> Iterator[Served]:
    with boards.served(filled.results) as (address, process):
        yield Served(address, process)


def visit(browser: Browser, served: Served) -> Page:
    """Open the leaderboard as somebody who was never there, until the table is shown."""
    page = browser.new_context(viewport={"width": 1300, "height": 900}).new_page()
    page.set_default_timeout(60_000)
    page.goto(served.address, wait_until="commit")
    page.wait_for_selector(".icm-table")
    return page


def test_a_visit_until_the_table_is_shown(benchmark: BenchmarkFixture, browser: Browser, served: Served) -> None:
    start = time.perf_counter()
    visit(browser, served)
    first = time.perf_counter() - start
    benchmark.pedantic(visit, (browser, served), rounds=5)
    benchmark.extra_info |= {"seconds of the first visitor": round(first, 2), "MiB": served.mebibytes} | info()


@pytest.mark.parametrize(
    ("label", "options"),
    [("Protocol", [PROTOCOLS[1].identity, PROTOCOLS[0].identity]), ("Anchor", ["method_199", "task_loss"])],
    ids=["protocol", "anchor"],
)
def test_a_switch_until_the_new_table_is_shown(
    benchmark: BenchmarkFixture, browser: Browser, served: Served, label: str, options: list[str]
) -> None:
    page = visit(browser, served)
    turns = iter(options * 9)

    def choose() -> tuple[tuple[str], dict[str, str]]:
        """Open the list, so that only the click and what follows are measured."""
        page.wait_for_timeout(1000)
        page.get_by_role("combobox", name=label).click()
        option = next(turns)
        page.get_by_role("option", name=option, exact=True).wait_for()
        return (option,), {}

    def switch(option: str) -> None:
        page.get_by_role("option", name=option, exact=True).click()
        name = option.split("@", maxsplit=1)[0]
        page.wait_for_selector(f'.icm-table a[href*="{label.lower()}={name}"]')

    benchmark.pedantic(switch, setup=choose, rounds=8)
    benchmark.extra_info |= {"MiB": served.mebibytes} | info()
