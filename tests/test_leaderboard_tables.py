"""The leaderboard's tables: what is kept, what is made anew, and what a reader gets to see of them."""

import csv
import io
import json
import os
import shutil
import time
from collections.abc import Sequence
from dataclasses import replace
from html import unescape
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
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
from icmbench.leaderboard import derived, figures, listings, live_tables, pairs, views
from icmbench.leaderboard.derived import NAMES, Tables, asdicts, build
from icmbench.leaderboard.live_tables import LiveTables
from icmbench.leaderboard.views import Choice, View
from icmbench.plugins.find import INSTALLED
from icmbench.schema.protocol import Protocol, doubled
from icmbench.schema.record import Record, seal
from icmbench.schema.store import Store, rows_path
from icmbench.show.sheet import Cell, Column, Sheet

FIRST, SECOND = make_protocol(), make_protocol(name="small-v1")
OWN = Choice(FIRST.identity, "task_loss")
HOSTILE = ["<script>alert(1)</script>", "=cmd()", "a|b", "x" * 200, "λ ünï 漢字 🎈", "\"quoted\" & 'more'", "[1](u) *b* _i_"]


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ICMBENCH_CACHE", str(tmp_path / "cache"))


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


def seeds(method: str, factors: Sequence[float], protocol: Protocol, **changes: Any) -> list[Record]:
    return [r for seed, factor in enumerate(factors) for r in curve(method, factor, protocol=protocol, seed=seed, **changes)]


def untrained(records: Sequence[Record]) -> list[Record]:
    return [r.model_copy(update={"cost": r.cost.model_copy(update={"steps": 0})}) for r in records]


def every_method(protocol: Protocol) -> list[Record]:
    return [
        *seeds("task_loss", (1, 1.02, 0.99), protocol), *seeds("clear", (0.5, 0.51, 0.49), protocol),
        *seeds("noisy", (0.9, 1.1, 0.85), protocol), *seeds("clear", (0.6, 0.6, 0.61), protocol, parameters={"alpha": 0.5}),
        *make_curve("short", RATES[:2], SCORES[:2], protocol), *untrained(curve("jpeg", 1.5, protocol=protocol)),
    ]  # fmt: skip


def write(folder: Path, records: Sequence[Record]) -> None:
    for record in records:
        Store(folder).write(record)


def write_rows(folder: Path, records: Sequence[Record], images: int = 20) -> list[Record]:
    """Write records with rows of their pictures, so that the pictures can be resampled."""
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


def computed(folder: Path) -> list[str]:
    """The protocols whose tables a build makes."""
    heard: list[str] = []
    build(folder, heard.append)
    return heard


def same(one: Tables, other: Tables) -> None:
    for name in NAMES:
        pd.testing.assert_frame_equal(getattr(one, name), getattr(other, name))


def published(name: str = "doe", factor: float = 0.9, **changes: Any) -> ExternalCurve:
    points = [(factor * rate, score) for rate, score in zip(RATES, SCORES, strict=True)]
    fields = {"name": name, "source": "Doe 2024", "metric": "AP", "points": points, "created": "2025-01-01"}
    return ExternalCurve.model_validate(fields | {"protocol": FIRST.identity} | changes)


def ranked(tables: Tables, choice: Choice = OWN) -> dict[str, dict[str, Any]]:
    return {line["method"]: line for line in views.ranking(tables, choice)}


# What the tables say


def expect_rows(tables: Tables, rows: Sequence[comparison.Row], anchor: str = "task_loss") -> None:
    found = [
        line for identity in dict.fromkeys(r.protocol for r in rows) for line in views.ranking(tables, Choice(identity, anchor))
    ]
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


def test_the_ranking_is_what_the_comparison_gives(results: Path) -> None:
    records, _ = Store(results).read()
    expect_rows(build(results), comparison.rows(records))


def test_the_ranking_against_another_anchor_is_that_of_a_protocol_with_this_anchor(results: Path) -> None:
    tables = build(results)
    assert views.anchor_names(tables, FIRST.identity) == ["task_loss", "jpeg"]
    assert views.anchor_names(tables, SECOND.identity) == ["task_loss"]
    (group,) = comparison.curves(every_method(FIRST))
    other = comparison.group_rows(replace(group, anchor="jpeg"))
    expect_rows(tables, other, "jpeg")
    assert ranked(tables, Choice(FIRST.identity, "jpeg"))["task_loss"]["bd_rate"] < 0


def test_the_images_count_in_the_intervals(tmp_path: Path) -> None:
    folder = tmp_path / "results"
    records = write_rows(folder, [*seeds("task_loss", (1, 1, 1), FIRST), *seeds("other", (0.8, 0.8, 0.8), FIRST)])
    rows = comparison.rows(records, source(Store(folder), INSTALLED))
    expect_rows(build(folder), rows)
    assert rows[0].bd_rate is not None
    assert rows[0].bd_rate.covers_images


def test_points_are_given_over_the_seeds_and_at_each(results: Path) -> None:
    points = views.points(build(results), FIRST.identity, ["noisy"])
    assert points["seed"].value_counts().to_dict() == {-1: 4, 0: 4, 1: 4, 2: 4}
    mean = points[points["seed"] == figures.MEAN]
    assert mean["bpp"].tolist() == pytest.approx([rate * (0.9 + 1.1 + 0.85) / 3 for rate in RATES])
    assert (mean["bpp_low"] < mean["bpp"]).all()
    assert points[points["seed"] == 1]["bpp"].tolist() == pytest.approx([1.1 * rate for rate in RATES])


def test_gains_have_the_bd_rate_as_their_mean(results: Path) -> None:
    tables = build(results)
    gains = views.gains(tables, OWN, ["clear", "task_loss"])
    assert set(gains["method"]) == {"clear"}
    mean = 100 * np.expm1(np.log1p(gains["percent"] / 100).mean())
    assert mean == pytest.approx(ranked(tables)["clear"]["bd_rate"], abs=0.5)


def test_accuracies_are_compared_at_rates_that_the_anchor_reaches(results: Path) -> None:
    tables = build(results)
    table = tables.at_rates[tables.at_rates["protocol"] == FIRST.identity]
    assert ((table["bpp"] > min(RATES)) & (table["bpp"] < max(RATES))).all()
    of = {(line["method"], line["bpp"]): line["score"] for line in asdicts(table)}
    for rate in table["bpp"].unique():
        assert of["clear", rate] is None or of["clear", rate] > of["task_loss", rate]
        assert of["short", rate] is None  # of fewer than three points
    assert min(SCORES) < of["task_loss", table["bpp"].min()] < max(SCORES)


def test_the_doubled_budget_is_no_protocol_of_its_own(results: Path) -> None:
    twice = doubled(FIRST)
    longer = [
        r.model_copy(update={"cost": r.cost.model_copy(update={"steps": 20})}) for r in curve("task_loss", 0.9, protocol=twice)
    ]
    before = build(results)
    assert views.doubled(before, OWN) == ""
    write(results, longer)
    tables = build(results)
    assert views.protocol_names(tables) == views.protocol_names(before)
    for name in set(NAMES) - {"broken", "protocols"}:
        assert twice.identity not in set(getattr(tables, name)["protocol"])
    for line in ranked(tables).values():
        assert line["anchor_doubled"] == pytest.approx(-10, abs=1)
    assert {line["anchor_doubled"] for line in ranked(tables, Choice(FIRST.identity, "jpeg")).values()} == {None}
    assert "twice its training budget" in views.doubled(tables, OWN)
    assert "not resolved" in views.doubled(tables, OWN)  # one seed
    write(results, [r.model_copy(update={"method": "other"}) for r in longer])
    assert twice.identity in views.protocol_names(build(results))  # somebody ranks methods under it


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
    assert "roe" in ranked(tables, Choice(FIRST.identity, "jpeg"))
    assert len(views.points(tables, FIRST.identity, ["roe"])) == len(RATES)
    assert set(views.gains(tables, OWN, ["doe", "roe"])["method"]) == {"doe"}
    assert {*found, "roe"} == set(views.all_method_names(tables, FIRST.identity))


@pytest.mark.filterwarnings("ignore::RuntimeWarning")  # overflow is the point
def test_figures_that_no_number_can_hold_do_no_harm(results: Path) -> None:
    points = [(1e-300, -1e308), (1e-5, 0.0), (1.0, 1e300), (1e300, 1e308)]
    external.add(results, published("wild", points=points))
    assert ranked(build(results))["wild"]["external"]


# Another score


def with_ap50(records: Sequence[Record], gain: float) -> list[Record]:
    return [r.model_copy(update={"scores": r.scores | {"AP50": r.scores["AP"] + 10 + gain}}) for r in records]


def test_the_tables_follow_the_chosen_score(results: Path) -> None:
    records = [
        *with_ap50(seeds("task_loss", (1, 1.02, 0.99), FIRST), 0), *with_ap50(seeds("noisy", (1.3, 1.31, 1.29), FIRST), 9),
        *with_ap50(untrained(curve("jpeg", 1.5, protocol=FIRST)), 0),
    ]  # fmt: skip
    write(results, records)
    primary, heard = build(results), []
    tables = build(results, heard.append, {FIRST.identity: "AP50"})
    assert heard == [FIRST.identity]
    assert views.metric_names(primary, FIRST.identity) == ["AP", "AP50"]
    expect_rows(tables, comparison.rows(records, metric="AP50"))  # the other methods have no AP50
    assert (ranked(tables)["noisy"]["bd_rate"] < 0, ranked(primary)["noisy"]["bd_rate"] > 0) == (True, True)
    facts = views.about(tables, FIRST.identity)
    assert (facts["metric"], facts["ceiling"]) == ("AP50", 70.0)
    assert views.points(tables, FIRST.identity, ["task_loss"])["score"].min() == min(SCORES) + 10
    assert views.gains(tables, OWN, ["noisy"])["percent"].max() < 0
    assert views.records(tables, FIRST.identity, "clear")["score"].isna().all()
    assert tables.at_rates[tables.at_rates["protocol"] == FIRST.identity]["score"].min() > min(SCORES) + 10
    assert views.about(tables, SECOND.identity)["metric"] == "AP"
    build(results, heard.append, {FIRST.identity: "AP50"})
    build(results, heard.append)
    assert heard == [FIRST.identity]  # both are kept
    external.add(results, published("roe", metric="AP50"))
    assert "roe" in ranked(build(results, metrics={FIRST.identity: "AP50"}))
    assert "roe" not in ranked(build(results))


# What is kept


def test_what_did_not_change_is_not_made_again(results: Path) -> None:
    assert computed(results) == []
    write(results, curve("third", 0.7, protocol=SECOND))
    assert computed(results) == [SECOND.identity]
    external.add(results, published())
    assert computed(results) == [FIRST.identity]
    assert computed(results) == []


def test_a_method_that_is_measured_again_changes_its_protocol(results: Path) -> None:
    before = ranked(build(results))
    write(results, seeds("clear", (0.7, 0.7, 0.7), FIRST))
    assert computed(results) == [FIRST.identity]
    after = ranked(build(results))
    assert after["clear"]["bd_rate"] != before["clear"]["bd_rate"]
    assert after["noisy"]["bd_rate"] == before["noisy"]["bd_rate"]


@pytest.mark.parametrize("changed", [False, True])
def test_the_doubled_budget_is_part_of_what_a_protocol_shows(tmp_path: Path, changed: bool) -> None:
    protocol = make_protocol(name="tiny-v1+changed", training={"steps": 30, "batch_size": 2, "crop": 64, "lr": 1e-3})
    base = protocol if changed else FIRST
    steps = base.training.steps
    folder, twice = tmp_path / "results", doubled(base)

    def of(method: str, factor: float, rules: Protocol) -> list[Record]:
        made = curve(method, factor, protocol=rules)
        return [r.model_copy(update={"cost": r.cost.model_copy(update={"steps": rules.training.steps})}) for r in made]

    write(folder, [*of("task_loss", 1, base), *of("other", 0.8, base)])
    build(folder)
    write(folder, of("task_loss", 0.9, twice))
    assert twice.training.steps == 2 * steps
    assert ranked(build(folder), Choice(base.identity, "task_loss"))["other"]["anchor_doubled"] == pytest.approx(-10)


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
    records = write_rows(tmp_path, [*seeds("task_loss", (1, 1.1, 0.9), FIRST), *seeds("other", (0.8, 0.9, 0.7), FIRST)])
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
    records = write_rows(tmp_path, [*seeds("task_loss", (1, 1, 1), FIRST), *seeds("other", (0.8, 0.8, 0.8), FIRST)])
    rows = {path: path.read_bytes() for path in tmp_path.rglob("*@*/*/*.parquet")}
    assert len(rows) == len(records)
    for path in rows:
        path.unlink()
    without = ranked(build(tmp_path))["other"]
    for path, content in rows.items():
        path.write_bytes(content)
    assert without["bd_rate_high"] == pytest.approx(without["bd_rate_low"])
    assert ranked(build(tmp_path))["other"]["bd_rate_high"] > without["bd_rate_high"] + 0.1


@pytest.mark.parametrize("damage", ["emptied", "cut", "gone"])
def test_damaged_tables_are_made_anew(results: Path, damage: str) -> None:
    before = build(results)
    (path,) = (cache_root() / "leaderboard").glob(f"{FIRST.identity}-*/ranking.parquet")
    if damage == "gone":
        path.unlink()
    else:
        path.write_bytes(path.read_bytes()[: 100 if damage == "cut" else 0])
    assert computed(results) == [FIRST.identity]
    same(build(results), before)


def test_tables_that_nobody_used_for_a_month_are_cleared_away(results: Path) -> None:
    build(results)
    kept = cache_root() / "leaderboard"
    (old,) = (path for path in kept.glob(f"{FIRST.identity}-*") if path.is_dir())
    os.utime(old, (1e9, 1e9))
    build(results)  # uses it, so it stays
    write(results, curve("third", 0.7, protocol=FIRST))
    build(results)
    assert old.is_dir()
    os.utime(old, (1e9, 1e9))
    write(results, curve("fourth", 0.7, protocol=FIRST))
    build(results)
    assert not old.exists()


def test_what_other_code_has_made_is_made_anew(results: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    build(results)
    kept = {path.name for path in (cache_root() / "pairs").iterdir()}
    monkeypatch.setattr(cache, "_source", lambda: "changed")
    assert computed(results) == [SECOND.identity, FIRST.identity]
    assert len({path.name for path in (cache_root() / "pairs").iterdir()}) == 2 * len(kept)


def test_what_is_kept_does_not_grow_without_end() -> None:
    for age in range(5):
        path = cache_root() / "pictures" / str(age)
        path.mkdir(parents=True)
        (path / "file").touch()
        os.utime(path, (time.time() - 10 * 86400 * age,) * 2)
    (cache_root() / "other").mkdir()
    cache.place("pictures", "4")  # used now
    cache.clear_away("pictures", 3)
    assert sorted(path.name for path in (cache_root() / "pictures").iterdir()) == ["0", "1", "4"]
    assert (cache_root() / "other").is_dir()


# What counts nowhere


def broken_ones(folder: Path) -> dict[str, str]:
    """Break a record in every way; path → part of the reason."""
    sound = {path.name: path for path in (folder / FIRST.identity / "noisy").glob("*.json")}
    bad, edited, place, values, old = (sound[f"lambda={x:g},seed={seed}.json"] for x, seed in
                                       ((0.1, 0), (0.3, 0), (1, 0), (3, 0), (0.1, 1)))  # fmt: skip
    bad.write_text("{")
    edited.write_text(edited.read_text().replace('"bpp": ', '"bpp": 1'))
    moved = place.rename(place.with_name("lambda=9,seed=0.json"))
    record = make_record(FIRST, method="noisy", rate_index=3, rate_point={"lambda": 3.0})
    fields = json.loads(record.model_dump_json(by_alias=True)) | {"psnr": -1.0}
    values.write_text(json.dumps(fields | {"content_sha256": seal(fields)}))
    old.write_text(json.dumps({"schema_version": 1}))
    reasons = {bad: "Expecting property name", edited: "changed after it was written", values: "psnr is -1.0",
               moved: "not where the record of this cell belongs", old: "schema_version: "}  # fmt: skip
    return {str(path.relative_to(folder)): reason for path, reason in reasons.items()}


def test_what_is_no_sound_record_is_set_aside_with_the_reason_and_counts_nowhere(results: Path) -> None:
    sound = build(results)
    expected = broken_ones(results)
    (results / "external").mkdir()
    (results / "external" / "<b>.json").write_text("[]")
    tables = build(results)
    found = dict(zip(tables.broken["path"], tables.broken["reason"], strict=True))
    assert set(found) == {*expected, "external/<b>.json"}
    for path, reason in expected.items():
        assert reason in found[path]
    assert len(tables.records) == len(sound.records) - len(expected)
    records, _ = Store(results).read()
    expect_rows(tables, comparison.rows(records))
    html = listings.set_aside(tables).html().replace("<wbr>", "")
    assert "schema_version: " in html
    assert "<b>.json" not in html


def test_what_was_measured_unlike_the_others_is_set_aside_with_the_reason(results: Path) -> None:
    other = [record.model_copy(update={"images": 3}) for record in curve("third", 0.7, protocol=FIRST)]
    write(results, other)
    tables = build(results)
    assert "third" not in ranked(tables)
    found = dict(zip(tables.broken["path"], tables.broken["reason"], strict=True))
    assert set(found) == {str(Store(results).path_of(record).relative_to(results)) for record in other}
    assert all("scored on other val images" in reason for reason in found.values())


def test_a_protocol_of_which_nothing_is_sound_is_no_protocol(results: Path) -> None:
    for path in (results / SECOND.identity).rglob("*.json"):
        path.write_text("[]")
    tables = build(results)
    assert views.protocol_names(tables) == [FIRST.identity]
    assert len(tables.broken) == 2 * len(RATES)


@pytest.mark.parametrize("there", [False, True])
def test_without_records_the_tables_are_empty(tmp_path: Path, there: bool) -> None:
    folder = tmp_path / "nothing"
    if there:
        folder.mkdir()
    tables = build(folder)
    assert {name: len(getattr(tables, name)) for name in NAMES} == dict.fromkeys(NAMES, 0)
    assert views.protocol_names(tables) == []
    assert LiveTables(folder).tables.records.empty


# What a reader sees


def test_the_overview_says_who_is_best_and_how_sure_that_is(results: Path) -> None:
    external.add(results, published())
    sheet = listings.overview(build(results), OWN, lambda page, given: f"{page}?{given['method']}")
    header, *lines = csv.reader(io.StringIO(sheet.download("csv")))
    found = {line[1]: dict(zip(header, line, strict=True)) for line in lines}
    assert list(found) == ["clear", "clear,alpha=0.5", "noisy", "task_loss", "jpeg", "short", "doe"]
    assert {name: line["verdict"] for name, line in found.items()} == {
        "clear": "fewer bits", "clear,alpha=0.5": "fewer bits", "noisy": "not resolved", "task_loss": "", "jpeg": "more bits",
        "short": "no BD-rate", "doe": "no interval",
    }  # fmt: skip
    assert (found["clear"]["rank"], found["clear"]["seeds"], found["clear"]["status"]) == ("1", "3", "claimed")
    assert float(found["clear"]["BD-rate"]) == ranked(build(results))["clear"]["bd_rate"]  # unrounded
    assert (found["doe"]["decode s"], found["doe"]["rank"], found["doe"]["status"]) == ("", "", "external")
    assert float(found["clear"]["decode kMAC/px"]) == 0.1
    assert 'href="method?jpeg"' in sheet.html()


def test_costs_are_medians_over_the_records(results: Path) -> None:
    slow = make_record(SECOND, method="other").cost
    write(results, curve("other", 0.8, protocol=SECOND, seed=1, cost=slow.model_copy(update={"train_seconds": 9.0})))
    write(results, curve("other", 0.8, protocol=SECOND, seed=2, cost=slow.model_copy(update={"train_seconds": 5.0})))
    lines = {line["method"]: line for line in views.cost_lines(build(results), Choice(SECOND.identity, "task_loss"))}
    assert lines["other"]["train_seconds"] == 5.0


def test_operations_that_were_not_counted_stay_unknown(results: Path) -> None:
    cost = make_record().cost
    uncounted = cost.model_copy(update={"encoder": cost.encoder.model_copy(update={"macs_per_pixel": None}), "steps": 0})
    write(results, curve("png", 2.0, protocol=SECOND, cost=uncounted))
    lines = {line["method"]: line for line in views.cost_lines(build(results), Choice(SECOND.identity, "task_loss"))}
    assert (lines["png"]["encoder_macs"], lines["other"]["encoder_macs"]) == (None, 100.0)


def test_an_axis_needs_two_settings(results: Path) -> None:
    write(results, seeds("clear", (0.7, 0.7, 0.7), FIRST, parameters={"alpha": 2.0}))
    tables = build(results)
    assert views.axes(tables, OWN) == {"clear": ["alpha"]}
    assert [line["value"] for line in views.along(tables, OWN, "clear", "alpha")] == [0.5, 2.0]


def test_the_command_of_a_method_is_one_command(results: Path) -> None:
    write(results, curve("a b; ls", 0.7, protocol=FIRST, parameters={"x": "$(ls)"}))
    tables = build(results)
    line = views.plugin_of(tables, OWN, "a b; ls,x=$(ls)")
    assert line is not None
    words = views.command(line, "detection", FIRST.identity, 0)
    assert words == "icmbench run 'a b; ls' detection --protocol tiny-v1 --set 'x=$(ls)' --seeds 1"


def test_names_stay_text_wherever_they_are_shown(tmp_path: Path) -> None:
    write(tmp_path, [r for number, name in enumerate(["task_loss", *HOSTILE]) for r in curve(name, 1 - 0.1 * number)])
    tables = build(tmp_path)
    labels = [make_record(method=name).label for name in reversed(HOSTILE)]
    sheet = listings.overview(tables, OWN)
    html = sheet.html()
    assert "<script" not in html
    assert all(label in unescape(html.replace("<wbr>", "")) for label in labels)
    _, *lines = csv.reader(io.StringIO(sheet.download("csv"), newline=""))
    assert [line[1] for line in lines] == [*(f"'{name}" if name.startswith("=") else name for name in labels), "task_loss"]
    markdown = [line for line in sheet.download("md").splitlines() if line.startswith("|")]
    assert len(markdown) == 2 + len(lines)
    assert {line.replace("\\|", "").count("|") for line in markdown} == {len(sheet.headers) + 1}
    assert "<" not in sheet.download("md")
    assert "\n[" not in sheet.download("tex")
    drawn = figures.curves(View(tables, OWN), labels)
    assert not any("<script" in str(trace.name) for trace in drawn.figure.data)
    assert all(listings.method_records(tables, OWN, label).name.isprintable() for label in labels)


def test_a_cell_is_escaped_in_every_part() -> None:
    evil = '"><script>'
    sheet = Sheet("s", evil, [Column(evil, about=evil, names=True)], [[Cell(evil, href=evil, badge=evil, title=evil)]])
    assert "<script" not in sheet.html()


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


def until(live: LiveTables, records: int) -> None:
    for _ in range(200):
        live.look()
        if len(live.tables.records) == records:
            return
        time.sleep(0.02)
    raise AssertionError("the tables were not made")


def test_new_records_are_shown_without_anybody_waiting(results: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live_tables, "PATIENCE", 0.0)
    shown = LiveTables(results)
    before = len(shown.tables.records)
    write(results, curve("third", 0.7, protocol=SECOND))
    start = time.monotonic()
    shown.look()
    assert time.monotonic() - start < 0.1
    until(shown, before + len(RATES))
    assert (shown.problem, live_tables.of(results)) == ("", live_tables.of(results))


def test_records_that_come_while_the_first_tables_are_made_are_not_missed(results: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def slow(folder: Path) -> Tables:
        made = build(folder)
        if len(made.ranking[made.ranking["method"] == "third"]) == 0:
            write(results, curve("third", 0.7, protocol=SECOND))
        return made

    monkeypatch.setattr(live_tables, "PATIENCE", 0.0)
    monkeypatch.setattr(derived, "build", slow)
    shown = LiveTables(results)
    until(shown, len(shown.tables.records) + len(RATES))


def test_tables_that_cannot_be_made_leave_the_old_ones_and_say_why(results: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live_tables, "PATIENCE", 0.0)
    shown = LiveTables(results)
    before = shown.tables

    def failing(folder: Path) -> Tables:
        raise OSError("no space left")

    with monkeypatch.context() as patched:
        patched.setattr(derived, "build", failing)
        write(results, curve("third", 0.7, protocol=SECOND))
        for _ in range(200):
            shown.look()
            if shown.problem:
                break
            time.sleep(0.02)
    assert shown.problem == "no space left"
    assert shown.tables is before
