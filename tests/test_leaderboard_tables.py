"""The leaderboard's tables: what is kept, what is made anew, and what a reader gets to see of them."""

import csv
import io
import os
import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from boards import write
from hypothesis import given
from hypothesis import strategies as st

from builders import RATES, SCORES, curve, make_curve, make_protocol, make_record
from icmbench.base import cache
from icmbench.base.files import cache_root, sha256
from icmbench.compare import comparison
from icmbench.compare.difference import compare
from icmbench.compare.resamples import source
from icmbench.extras.curves import external
from icmbench.extras.curves.external import ExternalCurve
from icmbench.leaderboard import derived, figures, listings, live_tables, pages, pairs
from icmbench.leaderboard.derived import NAMES, Tables, build
from icmbench.leaderboard.live_tables import LiveTables
from icmbench.leaderboard.views import Choice, View, protocol_names
from icmbench.plugins.find import INSTALLED
from icmbench.schema.protocol import Protocol, doubled
from icmbench.schema.record import Record
from icmbench.schema.store import Store, rows_path

FIRST, SECOND = make_protocol(), make_protocol(name="small-v1")
HOSTILE = ["<script>alert(1)</script>", "=cmd()", "a|b", "x" * 200, "λ ünï 漢字 🎈"]

pytestmark = pytest.mark.usefixtures("own_cache")


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Results and cache: in the first protocol four methods at three seeds and two others, in the second two methods."""
    folder = tmp_path_factory.mktemp("template")
    write(folder / "results", every_method(FIRST))
    write(folder / "results", [*curve("task_loss", protocol=SECOND), *curve("other", 0.8, protocol=SECOND)])
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("ICMBENCH_CACHE", str(folder / "cache"))
        assert computed(folder / "results") == [SECOND.identity, FIRST.identity]
    return folder


@pytest.fixture
def results(template: Path, tmp_path: Path) -> Path:
    """A copy of the template's results, their tables being kept."""
    shutil.copytree(template, tmp_path, dirs_exist_ok=True)
    return tmp_path / "results"


def seeds(method: str, factors: Sequence[float], **changes: Any) -> list[Record]:
    return [r for seed, factor in enumerate(factors) for r in curve(method, factor, seed=seed, **changes)]


def with_steps(records: Sequence[Record], steps: int = 0) -> list[Record]:
    return [r.model_copy(update={"cost": r.cost.model_copy(update={"steps": steps})}) for r in records]


def every_method(protocol: Protocol) -> list[Record]:
    return [
        *seeds("task_loss", (1, 1.02, 0.99), protocol=protocol), *seeds("clear", (0.5, 0.51, 0.49), protocol=protocol),
        *seeds("noisy", (0.9, 1.1, 0.85), protocol=protocol),
        *seeds("clear", (0.6, 0.6, 0.61), protocol=protocol, parameters={"alpha": 0.5}),
        *make_curve("short", RATES[:2], SCORES[:2], protocol), *with_steps(curve("jpeg", 1.5, protocol=protocol)),
    ]  # fmt: skip


def write_rows(folder: Path, records: Sequence[Record], images: int = 20) -> list[Record]:
    """Write records with rows of their images, so that the images can be resampled."""
    store, written = Store(folder), []
    for record in records:
        noise = np.random.default_rng([record.seed, record.rate_index, len(record.method)])
        rows = {"bits": record.bpp * 1000 * noise.uniform(0.9, 1.1, images), "pixels": np.full(images, 1000)}
        path = rows_path(store.path_of(record))
        path.parent.mkdir(parents=True, exist_ok=True)
        pd.DataFrame(rows | {"AP": record.scores["AP"] + noise.normal(0, 2, images)}).to_parquet(path)
        written.append(record.model_copy(update={"tally": "mean", "rows_sha256": sha256(path), "images": images}))
    write(folder, written)
    return written


def computed(folder: Path, **given: Any) -> list[str]:
    """The protocols whose tables a build makes."""
    heard: list[str] = []
    build(folder, heard.append, **given)
    return heard


def same(one: Tables, other: Tables) -> None:
    for name in NAMES:
        pd.testing.assert_frame_equal(getattr(one, name), getattr(other, name))


def published(name: str = "doe", factor: float = 0.9, **changes: Any) -> ExternalCurve:
    points = [(factor * rate, score) for rate, score in zip(RATES, SCORES, strict=True)]
    fields = {"name": name, "source": "Doe 2024", "metric": "AP", "points": points, "created": "2025-01-01"}
    return ExternalCurve.model_validate(fields | {"protocol": FIRST.identity} | changes)


def own(tables: Tables, protocol: Protocol = FIRST, anchor: str = "task_loss") -> View:
    return View(tables, Choice(protocol.identity, anchor))


def ranked(tables: Tables, protocol: Protocol = FIRST, anchor: str = "task_loss") -> dict[str, dict[str, Any]]:
    return {line["method"]: line for line in own(tables, protocol, anchor).ranking}


# What the tables say


def expect_rows(tables: Tables, rows: Sequence[comparison.Row], anchor: str = "task_loss") -> None:
    views = [View(tables, Choice(identity, anchor)) for identity in dict.fromkeys(row.protocol for row in rows)]
    found = [line for view in views for line in view.ranking]
    assert [(line["protocol"], line["method"], line["rank"]) for line in found] == [(r.protocol, r.method, r.rank) for r in rows]
    for line, row in zip(found, rows, strict=True):
        for name in ("bd_rate", "bd_metric", "anchor_doubled"):
            estimate = getattr(row, name)
            expected = (estimate.value, estimate.low, estimate.high) if estimate else (None, None, None)
            assert [line[name], line[f"{name}_low"], line[f"{name}_high"]] == [
                None if value is None else pytest.approx(value, rel=1e-4, abs=1e-4) for value in expected
            ]
        plain = ("metric", "ceiling", "seeds", "reason", "device", "external")
        assert {name: line[name] for name in plain} == {name: getattr(row, name) for name in plain}
        assert (line["akima"], line["overlap"]) == pytest.approx((row.akima, row.overlap))


def test_the_ranking_is_what_the_comparison_gives_against_each_anchor(results: Path) -> None:
    tables = build(results)
    expect_rows(tables, comparison.rows(Store(results).read()[0]))
    assert own(tables).anchors == ["task_loss", "jpeg"]
    assert own(tables, SECOND).anchors == ["task_loss"]
    (group,) = comparison.curves(every_method(FIRST))
    expect_rows(tables, comparison.group_rows(replace(group, anchor="jpeg")), "jpeg")
    assert ranked(tables, anchor="jpeg")["task_loss"]["bd_rate"] < 0


def test_the_images_count_in_the_intervals(tmp_path: Path) -> None:
    records = write_rows(tmp_path, [*seeds("task_loss", (1, 1, 1)), *seeds("other", (0.8, 0.8, 0.8))])
    rows = comparison.rows(records, source(Store(tmp_path), INSTALLED))
    expect_rows(build(tmp_path), rows)
    assert rows[0].bd_rate is not None
    assert rows[0].bd_rate.covers_images


def test_points_are_given_over_the_seeds_and_at_each(results: Path) -> None:
    points = own(build(results)).points(["noisy"])
    assert points["seed"].value_counts().to_dict() == {-1: 4, 0: 4, 1: 4, 2: 4}
    mean = points[points["seed"] == figures.MEAN]
    assert mean["bpp"].tolist() == pytest.approx([rate * (0.9 + 1.1 + 0.85) / 3 for rate in RATES])
    assert (mean["bpp_low"] < mean["bpp"]).all()
    assert points[points["seed"] == 1]["bpp"].tolist() == pytest.approx([1.1 * rate for rate in RATES])


def test_gains_have_the_bd_rate_as_their_mean(results: Path) -> None:
    tables = build(results)
    gains = own(tables).gains(["clear", "task_loss"])
    assert set(gains["method"]) == {"clear"}
    mean = 100 * np.expm1(np.log1p(gains["percent"] / 100).mean())
    assert mean == pytest.approx(ranked(tables)["clear"]["bd_rate"], abs=0.5)


def test_accuracies_are_compared_at_rates_that_the_anchor_reaches(results: Path) -> None:
    found = own(build(results)).at_rates
    assert min(RATES) < min(found) < max(found) < max(RATES)
    assert list(found) == sorted(found)
    for scores in found.values():
        assert scores["clear"] is None or scores["clear"] > scores["task_loss"]
        assert scores["short"] is None  # of fewer than three points
    assert min(SCORES) < found[min(found)]["task_loss"] < max(SCORES)


def test_the_doubled_budget_is_no_protocol_of_its_own(results: Path) -> None:
    twice = doubled(FIRST)
    longer = with_steps(curve("task_loss", 0.9, protocol=twice), 20)
    before = build(results)
    assert own(before).doubled == ""
    write(results, longer)
    tables = build(results)
    assert protocol_names(tables) == protocol_names(before)
    for name in set(NAMES) - {"broken", "protocols"}:
        assert twice.identity not in set(getattr(tables, name)["protocol"])
    assert all(line["anchor_doubled"] == pytest.approx(-10, abs=1) for line in ranked(tables).values())
    assert {line["anchor_doubled"] for line in ranked(tables, anchor="jpeg").values()} == {None}
    assert "twice its training budget" in own(tables).doubled
    assert "not resolved" in own(tables).doubled  # one seed
    write(results, [r.model_copy(update={"method": "other"}) for r in longer])
    assert twice.identity in protocol_names(build(results))  # somebody ranks methods under it


def test_published_curves_stand_beside_ours(results: Path) -> None:
    for one in (published(), published("roe", anchor="jpeg"), published("clear", 0.7), published("far", protocol=None)):
        external.add(results, one)
    tables = build(results)
    found = ranked(tables)
    assert (found["doe"]["status"], found["doe"]["rank"]) == ("external", None)
    assert found["doe"]["bd_rate"] == pytest.approx(-10, abs=1)
    assert found["clear"]["external"] is False
    assert found["clear (external)"]["bd_rate"] == pytest.approx(-30, abs=1)  # the name of a method is the method's
    assert {"roe", "far"}.isdisjoint(found)
    assert "roe" in ranked(tables, anchor="jpeg")
    assert len(own(tables).points(["roe"])) == len(RATES)
    assert set(own(tables).gains(["doe", "roe"])["method"]) == {"doe"}
    assert {*found, "roe"} == set(own(tables).all_methods)


@pytest.mark.filterwarnings("ignore::RuntimeWarning")  # overflow is the point
def test_figures_that_no_number_can_hold_do_no_harm(results: Path) -> None:
    points = [(1e-300, -1e308), (1e-5, 0.0), (1.0, 1e300), (1e300, 1e308)]
    external.add(results, published("wild", points=points))
    assert ranked(build(results))["wild"]["external"]


def with_ap50(records: Sequence[Record], gain: float) -> list[Record]:
    return [r.model_copy(update={"scores": r.scores | {"AP50": r.scores["AP"] + 10 + gain}}) for r in records]


def test_the_tables_follow_the_chosen_score(results: Path) -> None:
    records = [
        *with_ap50(seeds("task_loss", (1, 1.02, 0.99)), 0), *with_ap50(seeds("noisy", (1.3, 1.31, 1.29)), 9),
        *with_ap50(with_steps(curve("jpeg", 1.5)), 0),
    ]  # fmt: skip
    write(results, records)
    primary, metrics = build(results), {FIRST.identity: "AP50"}
    assert computed(results, metrics=metrics) == [FIRST.identity]
    tables = build(results, metrics=metrics)
    view = own(tables)
    assert own(primary).metrics == ["AP", "AP50"]
    expect_rows(tables, comparison.rows(records, metric="AP50"))  # the other methods have no AP50
    assert (ranked(tables)["noisy"]["bd_rate"] < 0, ranked(primary)["noisy"]["bd_rate"] > 0) == (True, True)
    assert (view.facts["metric"], view.facts["ceiling"]) == ("AP50", 70.0)
    assert view.points(["task_loss"])["score"].min() == min(SCORES) + 10
    assert view.gains(["noisy"])["percent"].max() < 0
    assert view.records(method="clear")["score"].isna().all()
    assert min(score for scores in view.at_rates.values() for score in scores.values() if score) > min(SCORES) + 10
    assert own(tables, SECOND).facts["metric"] == "AP"
    assert (computed(results, metrics=metrics), computed(results)) == ([], [])  # both are kept
    external.add(results, published("roe", metric="AP50"))
    assert "roe" in ranked(build(results, metrics=metrics))
    assert "roe" not in ranked(build(results))


# What is kept


def test_what_did_not_change_is_not_made_again(results: Path) -> None:
    before = ranked(build(results))
    assert computed(results) == []
    write(results, curve("third", 0.7, protocol=SECOND))
    assert computed(results) == [SECOND.identity]
    external.add(results, published())
    assert computed(results) == [FIRST.identity]
    write(results, seeds("clear", (0.7, 0.7, 0.7)))  # measured again
    assert computed(results) == [FIRST.identity]
    assert computed(results) == []
    after = ranked(build(results))
    assert after["clear"]["bd_rate"] != before["clear"]["bd_rate"]
    assert after["noisy"]["bd_rate"] == before["noisy"]["bd_rate"]


@pytest.mark.parametrize("changed", [False, True])
def test_the_doubled_budget_is_part_of_what_a_protocol_shows(tmp_path: Path, changed: bool) -> None:
    training = {"steps": 30, "batch_size": 2, "crop": 64, "lr": 1e-3}
    base = make_protocol(name="tiny-v1+changed", training=training) if changed else FIRST
    twice, steps = doubled(base), base.training.steps
    write(tmp_path, with_steps([*curve("task_loss", protocol=base), *curve("other", 0.8, protocol=base)], steps))
    build(tmp_path)
    write(tmp_path, with_steps(curve("task_loss", 0.9, protocol=twice), 2 * steps))
    assert twice.training.steps == 2 * steps
    assert ranked(build(tmp_path), base)["other"]["anchor_doubled"] == pytest.approx(-10)


def test_a_copy_of_the_folder_compares_nothing_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder, copy = tmp_path / "results", tmp_path / "copy"
    write_rows(folder, [*curve("task_loss"), *curve("other", 0.8)])
    write(folder, [*curve("task_loss", protocol=SECOND), *curve("other", 0.8, protocol=SECOND)])
    before = build(folder)
    shutil.copytree(folder, copy, copy_function=shutil.copyfile)
    for path in copy.rglob("*.*"):
        os.utime(path, (1e9, 1e9))
    monkeypatch.setattr(pairs, "compare", lambda *given: pytest.fail("compared again"))
    assert SECOND.identity not in computed(copy)  # without rows not even the table is made again
    same(build(copy), before)


def test_a_kept_difference_is_the_fresh_one(tmp_path: Path) -> None:
    records = write_rows(tmp_path, [*seeds("task_loss", (1, 1.1, 0.9)), *seeds("other", (0.8, 0.9, 0.7))])
    (group,) = comparison.curves(records)
    anchor, other, resampled = group.records["task_loss"], group.records["other"], source(Store(tmp_path), INSTALLED)
    fresh = compare(anchor, other, resampled, "AP")
    first, second = (pairs.kept(anchor, other, resampled, "AP") for _ in range(2))
    for found in (first, second):
        assert (found.results, found.images) == (fresh.results, fresh.images)
        assert found.bd_rate is not None
        assert fresh.bd_rate is not None
        assert found.bd_rate.interval == pytest.approx(fresh.bd_rate.interval, rel=1e-5)
        assert found.bd_rate.covers_images
    assert (first.bd_rate, first.bd_metric) == (second.bd_rate, second.bd_metric)  # alike at the first time and later
    (path,) = (cache_root() / "pairs").iterdir()
    for broken in (b"", b"PK", path.read_bytes()[:-100], b"\x93NUMPY"):
        path.write_bytes(broken)
        assert pairs.kept(anchor, other, resampled, "AP").bd_rate == first.bd_rate


def test_a_difference_without_the_rows_of_the_images_does_not_stand_for_one_with_them(tmp_path: Path) -> None:
    records = write_rows(tmp_path / "results", [*seeds("task_loss", (1, 1, 1)), *seeds("other", (0.8, 0.8, 0.8))])
    rows = list(tmp_path.rglob("*@*/*/*.parquet"))
    assert len(rows) == len(records)
    for path in rows:
        path.rename(path.with_suffix(".away"))
    without = ranked(build(tmp_path / "results"))["other"]
    for path in rows:
        path.with_suffix(".away").rename(path)
    assert without["bd_rate_high"] == pytest.approx(without["bd_rate_low"])
    assert ranked(build(tmp_path / "results"))["other"]["bd_rate_high"] > without["bd_rate_high"] + 0.1


@pytest.mark.parametrize("left", [0, 100, None], ids=["emptied", "cut", "gone"])
def test_damaged_tables_are_made_anew(results: Path, left: int | None) -> None:
    before = build(results)
    (path,) = (cache_root() / "leaderboard").glob(f"{FIRST.identity}-*/ranking.parquet")
    content = path.read_bytes()
    path.unlink()
    if left is not None:
        path.write_bytes(content[:left])
    assert computed(results) == [FIRST.identity]
    same(build(results), before)


def test_tables_that_nobody_used_for_a_month_are_cleared_away(results: Path) -> None:
    build(results)
    (old,) = (path for path in (cache_root() / "leaderboard").glob(f"{FIRST.identity}-*") if path.is_dir())
    for method, when in (("third", time.time()), ("fourth", 1e9)):
        os.utime(old, (when, when))
        write(results, curve(method, 0.7))
        build(results)
        assert old.is_dir() == (method == "third")


def test_what_other_code_has_made_is_made_anew(results: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    build(results)
    kept = {path.name for path in (cache_root() / "pairs").iterdir()}
    monkeypatch.setattr(cache, "_source", lambda: "changed")
    assert computed(results) == [SECOND.identity, FIRST.identity]
    assert len({path.name for path in (cache_root() / "pairs").iterdir()}) == 2 * len(kept)


def test_what_is_kept_does_not_grow_without_end() -> None:
    for age in range(5):
        path = cache_root() / "images" / str(age)
        path.mkdir(parents=True)
        (path / "file").touch()
        os.utime(path, (time.time() - 10 * 86400 * age,) * 2)
    (cache_root() / "other").mkdir()
    cache.place("images", "4")  # used now
    cache.clear_away("images", 3)
    assert sorted(path.name for path in (cache_root() / "images").iterdir()) == ["0", "1", "4"]
    assert (cache_root() / "other").is_dir()


# What counts nowhere


def test_what_is_no_sound_record_or_was_measured_otherwise_is_set_aside_and_counts_nowhere(results: Path) -> None:
    sound = build(results)
    broken, edited, place = sorted((results / FIRST.identity / "noisy").glob("*.json"))[:3]
    broken.write_text("{")
    edited.write_text(edited.read_text().replace('"bpp": ', '"bpp": 1'))
    moved = place.rename(place.with_name("lambda=9,seed=0.json"))
    (results / "external").mkdir()
    (results / "external" / "<b>.json").write_text("[]")
    other = [Store(results).write(r.model_copy(update={"images": 3})) for r in curve("third", 0.7)]
    tables = build(results)
    reasons = {
        broken: "Expecting property name",
        edited: "changed after it was written",
        moved: "not where the record of this cell belongs",
        results / "external" / "<b>.json": "",
    }
    expected = reasons | dict.fromkeys(other, "scored on other val images")
    found = {results / path: reason for path, reason in zip(tables.broken["path"], tables.broken["reason"], strict=True)}
    assert set(found) == set(expected)
    assert {path for path, reason in expected.items() if reason not in found[path]} == set()
    assert len(tables.records) == len(sound.records) - 3
    expect_rows(tables, comparison.rows([r for r in Store(results).read()[0] if r.method != "third"]))
    html = listings.set_aside(tables).html().replace("<wbr>", "")
    assert "Expecting property name" in html
    assert "<b>.json" not in html


def test_a_protocol_of_which_nothing_is_sound_is_no_protocol(results: Path) -> None:
    for path in (results / SECOND.identity).rglob("*.json"):
        path.write_text("[]")
    assert protocol_names(build(results)) == [FIRST.identity]


@pytest.mark.parametrize("folder", [".", "nothing"])
def test_without_records_the_tables_are_empty(tmp_path: Path, folder: str) -> None:
    tables = LiveTables(tmp_path / folder).tables
    assert {name: len(getattr(tables, name)) for name in NAMES} == dict.fromkeys(NAMES, 0)
    assert protocol_names(tables) == []


# What a reader sees


class Linked(View):
    """A view of a place where pages have addresses."""

    def link(self, page: str, **parameters: str) -> str:
        return f"{page}?{parameters['method']}"


def test_the_overview_says_who_is_best_and_how_sure_that_is(results: Path) -> None:
    external.add(results, published())
    tables = build(results)
    sheet = listings.overview(Linked(tables, Choice(FIRST.identity, "task_loss")))
    header, *lines = csv.reader(io.StringIO(sheet.download("csv")))
    found = {line[1]: dict(zip(header, line, strict=True)) for line in lines}
    assert {name: line["verdict"] for name, line in found.items()} == {
        "clear": "fewer bits", "clear,alpha=0.5": "fewer bits", "noisy": "not resolved", "task_loss": "", "jpeg": "more bits",
        "short": "no BD-rate", "doe": "no interval",
    }  # fmt: skip
    assert list(found) == ["clear", "clear,alpha=0.5", "noisy", "task_loss", "jpeg", "short", "doe"]
    assert (found["clear"]["rank"], found["clear"]["seeds"], found["clear"]["status"]) == ("1", "3", "claimed")
    assert float(found["clear"]["BD-rate"]) == ranked(tables)["clear"]["bd_rate"]  # unrounded
    assert (found["doe"]["decode s"], found["doe"]["rank"], found["doe"]["status"]) == ("", "", "external")
    assert float(found["clear"]["decode kMAC/px"]) == 0.1
    rate = max(own(tables).at_rates)
    assert float(found["task_loss"][f"AP @ {rate:g} bpp"]) == own(tables).at_rates[rate]["task_loss"]
    assert 'href="method?jpeg"' in sheet.html()


def test_costs_are_medians_over_the_records_and_stay_unknown_where_nobody_counted(results: Path) -> None:
    cost = make_record().cost
    for seed, seconds in ((1, 99.0), (2, 5.0)):
        slow = cost.model_copy(update={"train_seconds": seconds})
        write(results, curve("other", 0.8, protocol=SECOND, seed=seed, cost=slow))
    uncounted = cost.model_copy(update={"encoder": cost.encoder.model_copy(update={"macs_per_pixel": None}), "steps": 0})
    write(results, curve("png", 2.0, protocol=SECOND, cost=uncounted))
    lines = {line["method"]: line for line in own(build(results), SECOND).cost_lines}
    assert lines["other"]["train_seconds"] == 5.0
    assert len(own(build(results), SECOND).records(method="task_loss")) == len(RATES)  # and not those of the first protocol
    assert (lines["png"]["encoder_macs"], lines["other"]["encoder_macs"]) == (None, 100.0)


def test_an_axis_needs_two_settings(results: Path) -> None:
    assert own(build(results)).axes == {}
    write(results, seeds("clear", (0.7, 0.7, 0.7), parameters={"alpha": 2.0}))
    view = own(build(results))
    assert view.axes == {"clear": ["alpha"]}
    assert [line["value"] for line in view.along("clear", "alpha")] == [0.5, 2.0]


def test_the_command_of_a_method_is_one_command() -> None:
    words = pages.command("a b; ls", "detection", FIRST.identity, {"x": "$(ls)"}, "--seeds", "1")
    assert words == "icmbench run 'a b; ls' detection --protocol tiny-v1 --set 'x=$(ls)' --seeds 1"


def test_names_stay_text_in_figures_and_in_names_of_files(tmp_path: Path) -> None:
    write(tmp_path, [r for number, name in enumerate(["task_loss", *HOSTILE]) for r in curve(name, 1 - 0.1 * number)])
    view = own(build(tmp_path))
    labels = [make_record(method=name).label for name in reversed(HOSTILE)]
    assert view.methods == [*labels, "task_loss"]
    assert not any("<script" in str(trace.name) for trace in figures.curves(view, labels).figure.data)
    names = [listings.method_records(view, label).name for label in labels]
    assert not set("/\\<>|\n") & set("".join(names))


@given(st.lists(st.tuples(st.floats(0, 10), st.floats(-50, 50))))
def test_the_front_holds_what_nothing_beats(points: list[tuple[float, float]]) -> None:
    front = figures.pareto(points)
    assert front == sorted(front)
    assert set(front) <= set(points)
    for x, y in points:
        assert any(a <= x and b <= y for a, b in front)
    for a, b in front:
        assert not any(x <= a and y <= b and (x, y) != (a, b) for x, y in points)


# A running app


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live_tables, "PATIENCE", 0.0)


def until(live: LiveTables, seen: Callable[[], bool]) -> None:
    for _ in range(200):
        live.look()
        if seen():
            return
        time.sleep(0.02)
    raise AssertionError("the tables were not made")


@pytest.mark.usefixtures("impatient")
def test_new_records_are_shown_without_anybody_waiting(results: Path) -> None:
    shown = LiveTables(results)
    before = len(shown.tables.records)
    write(results, curve("third", 0.7, protocol=SECOND))
    start = time.monotonic()
    shown.look()
    assert time.monotonic() - start < 0.1
    until(shown, lambda: len(shown.tables.records) == before + len(RATES))
    assert (shown.problem, live_tables.of(results)) == ("", live_tables.of(results))


@pytest.mark.usefixtures("impatient")
def test_records_that_come_while_the_first_tables_are_made_are_not_missed(results: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def slow(folder: Path) -> Tables:
        made = build(folder)
        if "third" not in set(made.ranking["method"]):
            write(results, curve("third", 0.7, protocol=SECOND))
        return made

    monkeypatch.setattr(derived, "build", slow)
    shown = LiveTables(results)
    before = len(shown.tables.records)
    until(shown, lambda: len(shown.tables.records) == before + len(RATES))


@pytest.mark.usefixtures("impatient")
def test_tables_that_cannot_be_made_leave_the_old_ones_and_say_why(results: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def failing(folder: Path) -> Tables:
        raise OSError("no space left")

    shown = LiveTables(results)
    before = shown.tables
    monkeypatch.setattr(derived, "build", failing)
    write(results, curve("third", 0.7, protocol=SECOND))
    until(shown, lambda: bool(shown.problem))
    assert shown.problem == "no space left"
    assert shown.tables is before
