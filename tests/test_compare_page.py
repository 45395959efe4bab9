"""The page that compares two methods: its numbers, its images, and what it says where something is missing."""

import json
import os
import sys
import threading
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from boards import IMAGES, QUALITIES, classical, keep
from cells import bound
from PIL import Image
from streamlit.testing.v1 import AppTest

from builders import RATES, SCORES, curve, make_curve, make_protocol, make_record
from icmbench.base.errors import UserError
from icmbench.base.files import cache_root, data_root, sha256
from icmbench.codecs.neural import NeuralCodec, build_model, load_weights
from icmbench.leaderboard import background, classes, compare_views, derived, figures, live_tables, side_by_side
from icmbench.leaderboard.background import Worker
from icmbench.leaderboard.compare_views import Measured, Pair
from icmbench.leaderboard.pages import Facts
from icmbench.leaderboard.side_by_side import Wanted
from icmbench.leaderboard.views import Choice, View
from icmbench.plugins.find import Plugins
from icmbench.plugins.weights import verified_path
from icmbench.schema.store import Store, rows_path
from icmbench.show.sheet import Sheet
from icmbench.tasks._data.coco import Boxes
from icmbench.tasks._procedural.shapes import CLASSES

PROTOCOL = make_protocol().identity


pytestmark = pytest.mark.usefixtures("own_cache")


@pytest.fixture(autouse=True)
def _fresh(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """AppTest leaves its script as the main module, and processes that are spawned later would begin with that."""
    monkeypatch.setitem(sys.modules, "__main__", sys.modules["__main__"])
    yield
    background.worker.clear()


@pytest.fixture
def results(tmp_path: Path) -> Path:
    """task_loss and aux_loss with two seeds, the second with four fifths of the bits and one point more an image; jpeg."""
    folder = tmp_path / "results"
    for seed in (0, 1):
        keep(folder, curve("task_loss", seed=seed))
        keep(folder, curve("aux_loss", 0.8, seed=seed), gain=1.0)
    keep(folder, [classical(quality, bpp, score) for quality, bpp, score in zip(QUALITIES, RATES, SCORES, strict=True)])
    return folder


def own(results: Path) -> View:
    return View(derived.build(results), Choice(PROTOCOL, "task_loss"))


def compared(results: Path, a: str, b: str) -> tuple[Pair, list[str]]:
    """The difference of two methods, and its figures as text."""
    found = Measured.read(results, PROTOCOL).pair(a, b)
    facts = next(iter(compare_views.difference(found)))
    assert isinstance(facts, Facts)
    return found, [cell.text for cell in facts.values.values()]


def test_a_pair_is_compared_both_ways_and_kept(results: Path) -> None:
    found, texts = compared(results, "task_loss", "aux_loss")
    assert texts[:3] == ["-20.0 %", "-20.0 … -20.0 %", "fewer bits"]
    (sheet,) = (part for part in compare_views.difference(found) if isinstance(part, Sheet))
    assert [[cell.text for cell in line[:2]] for line in sheet.lines] == [["0", "-20.0 %"], ["1", "-20.0 %"]]
    assert compared(results, "aux_loss", "task_loss")[1][0] == "+25.0 %"
    assert len(list((cache_root() / "pairs").glob("*.npz"))) == 2


def test_a_pair_without_a_common_range_has_a_reason(results: Path) -> None:
    keep(results, make_curve("mse", RATES, (1.0, 2.0, 3.0, 4.0)))
    found, texts = compared(results, "task_loss", "mse")
    assert texts[:3] == ["none", "—", "no BD-rate"]
    assert "overlap" in found.row.reason


def test_records_that_are_gone_are_said_to_be(results: Path) -> None:
    with pytest.raises(UserError, match="no longer there"):
        compared(results, "task_loss", "nothing")


def test_rate_points_go_together_by_name_or_by_rate() -> None:
    ours, theirs = {"λ=0.1": 0.1, "λ=0.3": 0.4}, {"quality=5": 0.15, "quality=10": 0.3}
    assert compare_views.partner("λ=0.3", ours, ours) == "λ=0.3"
    assert compare_views.partner("λ=0.1", ours, theirs) == "quality=5"
    assert compare_views.partner("λ=0.3", ours, theirs) == "quality=10"


def test_what_was_not_trained_goes_with_every_seed(results: Path) -> None:
    learned, classic = ("aux_loss", "λ=0.1"), ("jpeg", "quality=10")
    for a, b, seeds in ((learned, classic, [(0, 0), (1, 0)]), (classic, learned, [(0, 0), (0, 1)])):
        found = compare_views.matched(own(results), a, b)
        assert [(one["seed"], other["seed"]) for one, other in found.values()] == seeds


def test_scores_of_single_classes_are_compared(tmp_path: Path) -> None:
    for method, car in (("task_loss", 10.0), ("aux_loss", 14.0)):
        for seed in (0, 1):
            records = curve(method, seed=seed)
            keep(tmp_path, [r.model_copy(update={"scores": r.scores | {"AP.car": car + seed}}) for r in records])
    found = compare_views.matched(own(tmp_path), ("task_loss", "λ=0.1"), ("aux_loss", "λ=0.1"))
    assert [line[0].text for line in compare_views.scores_sheet(found, "AP").lines] == ["bits per pixel", "PSNR in dB", "AP"]
    sheet = compare_views.classes_sheet(found, "AP50")  # which no record tells by class
    assert sheet is not None
    assert [cell.text for cell in sheet.lines[0]] == ["car", "10.50", "14.50", "+4.00", "+4.00 … +4.00"]


def test_classes_of_detection_are_scored_from_the_rows(tmp_path: Path) -> None:
    """Two classes, of which everything and half is found: in each image one object each, the second class's in every other."""
    images = 4
    found = [[0.9, 0.8] if number % 2 else [0.9] for number in range(images)]
    rows = pd.DataFrame(
        {
            "image": [f"{number}.png" for number in range(images)],
            "score": 50.0,
            "detection_score": found,
            "detection_label": [[0, 16][: len(one)] for one in found],
            "detection_hits": [[2**10 - 1] * len(one) for one in found],
            "detection_ignored": [[0] * len(one) for one in found],
            "truth_label": [[0, 16]] * images,
        }
    )  # fmt: skip
    rows.to_parquet(tmp_path / "rows.parquet")
    protocol = make_protocol(data={"source": "coco", "val": {"annotations": "instances_val2017.json"}})
    record = make_record(protocol, tally="detections", rows_sha256=sha256(tmp_path / "rows.parquet"))
    scores = classes.scores(record, tmp_path / "rows.parquet", "AP")
    assert scores == {"AP.person": 100.0, "AP.dog": pytest.approx(100 * 51 / 101)}
    assert set(classes.scores(record, tmp_path / "rows.parquet", "AP50")) == {"AP50.person", "AP50.dog"}
    for kept in (cache_root() / "classes").iterdir():
        kept.write_text("{")  # not whole
    assert classes.scores(record, tmp_path / "rows.parquet", "AP") == scores
    assert classes.scores(record, tmp_path / "missing", "AP") == {}
    assert classes.scores(record.model_copy(update={"tally": "mean"}), tmp_path / "rows.parquet", "AP") == {}


def test_classes_have_their_names() -> None:
    assert tuple(CLASSES) == classes.SHAPES
    assert len(classes.COCO) == 80
    assert {"person", "traffic light", "hair drier"} <= set(classes.COCO)
    assert all(name == name.strip() for name in classes.COCO)
    annotations = Plugins().protocol("coco2017-fasterrcnn-v1")
    assert classes.names(annotations.data) == classes.COCO
    assert classes.names(Plugins().protocol("shapes-detection-v3").data) == classes.SHAPES
    assert classes.names({"source": "coco", "val": {"annotations": "mine.json"}}) == ()
    assert classes.names({"classes": ["sky"]}) == ["sky"]


@pytest.mark.data
def test_the_names_are_those_of_the_annotations(monkeypatch: pytest.MonkeyPatch) -> None:
    data = Plugins().protocol("coco128-nanodet-v1").data
    content = json.loads((data_root() / data["val"]["annotations"]).read_text())
    assert tuple(one["name"] for one in sorted(content["categories"], key=lambda one: one["id"])) == classes.names(data)


def of(method: str) -> str:
    return f"{PROTOCOL}/{method}/lambda=0.1,seed=0.json"


def test_images_are_compared_one_by_one_by_score_or_else_by_psnr(results: Path) -> None:
    table = compare_views.images(results, of("task_loss"), of("aux_loss"), "AP")
    assert len(table) == IMAGES
    assert table["score"].tolist() == pytest.approx([1.0] * IMAGES)
    assert (table["bits"] < -18).all()
    scores, sheet, _ = compare_views.by_image(table, "AP", lambda image: f"compare?picture={image}")
    assert isinstance(scores, Sheet)
    assert isinstance(sheet, Sheet)
    assert len(sheet.lines) == 2 * compare_views.EXTREMES
    assert sheet.lines[0][0].href.startswith("compare?picture=")
    changes = [line[4].value for line in sheet.lines]
    assert changes == sorted(changes)
    assert {line[1].text for line in scores.lines} == {"gains"}
    assert len(figures.images(table, "AP", "title").figure.data[0].x) == IMAGES
    unscored = table.assign(score=np.nan)
    assert len(list(compare_views.by_image(unscored, "AP"))) == 1
    assert "PSNR" in figures.images(unscored, "AP", "title").figure.layout.yaxis.title.text


def test_missing_rows_and_other_images_are_refused(results: Path) -> None:
    keep(results, curve("mse"), images=3)
    with pytest.raises(UserError, match="different images"):
        compare_views.images(results, of("task_loss"), of("mse"), "AP")
    (results / of("mse")).with_suffix(".parquet").unlink()
    with pytest.raises(UserError, match="lie beside the record"):
        compare_views.images(results, of("task_loss"), of("mse"), "AP")


def test_a_worker_does_the_same_work_once() -> None:
    worker, done = Worker(), []
    for _ in range(2):
        assert worker.ask("key", lambda: done.append(1) or "made").result() == "made"  # type: ignore[func-returns-value]
    assert done == [1]
    assert worker.knows("key")
    worker.forget("key")
    assert not worker.knows("key")


def test_a_worker_refuses_what_is_too_much(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(background, "MOST_WAITING", 2)
    monkeypatch.setattr(background, "PATIENCE", 0)
    worker, gate = Worker(), threading.Event()
    try:
        assert not any(worker.ask(key, gate.wait).done() for key in range(2))
        assert isinstance(worker.ask(2, gate.wait).exception(), UserError)
        assert not worker.knows(2)
    finally:
        gate.set()


def test_a_codec_that_is_missing_is_named_with_the_command_that_makes_it(results: Path, tmp_path: Path) -> None:
    jpeg = f"{PROTOCOL}/jpeg/quality=10,seed=0.json"
    wanted = Wanted(results, tmp_path / "runs", of("task_loss"), jpeg, "0.png")
    assert side_by_side.codec_path(wanted.runs, wanted.records[1]) is None
    [(sentence, command)] = side_by_side.lacking(wanted)
    assert f"{PROTOCOL}/task_loss/lambda=0.1,seed=0/codec.safetensors is not there" in sentence
    assert command.startswith("icmbench run task_loss detection --protocol tiny-v1 --rates 0.1 --seeds 1 --no-anchor")
    before = wanted.folder
    path = side_by_side.codec_path(wanted.runs, wanted.records[0])
    assert path is not None
    path.parent.mkdir(parents=True)
    path.write_bytes(b"another codec")
    after = Wanted(results, tmp_path / "runs", of("task_loss"), jpeg, "0.png")
    assert side_by_side.lacking(after) == []
    assert after.folder != before


def test_findings_are_drawn() -> None:
    image = torch.full((3, 64, 64), 128, dtype=torch.uint8)
    boxes, labels = torch.tensor([[8.0, 20.0, 40.0, 50.0]]), torch.tensor([1])
    mask = torch.zeros(64, 64, dtype=torch.int64)
    mask[32:] = 1

    def colours(found: object) -> int:
        return len(np.unique(np.asarray(side_by_side.drawn(image, found, ["dots", "<stripes>"]))))

    assert (colours(None), colours((boxes, torch.tensor([0.1]), labels))) == (1, 1)  # nothing, and nothing sure
    assert min(colours((boxes, torch.tensor([0.9]), labels)), colours(Boxes(boxes, labels, (64, 64), 0))) > 1
    assert side_by_side.drawn(image, Boxes(boxes, labels, (64, 64), 0)).size == (512, 512)
    masks = np.asarray(side_by_side.drawn(image, mask))
    assert (masks[0, 0] != masks[63, 63]).any()
    legend = side_by_side.colours_in([mask, torch.full((64, 64), 255), (boxes, labels), None], image, ["sky", "<b>"])
    assert [name for name, _ in legend] == ["sky", "<b>", "not annotated"]
    assert len({colour for _, colour in legend}) == 3
    html = side_by_side.legend(legend)
    assert html.count("<li>") == 3
    assert "&lt;b&gt;" in html


def page(results: str, protocol: str, runs: str) -> None:
    """The script of the tests of the page."""
    from pathlib import Path

    from icmbench.leaderboard import derived
    from icmbench.leaderboard.compare_screen import compare
    from icmbench.leaderboard.page import Context
    from icmbench.leaderboard.views import Choice
    from icmbench.plugins.find import Plugins

    tables = derived.build(Path(results))
    context = Context(tables, Choice(protocol, "task_loss"), Plugins(), Path(results), "svg", Path(runs))
    context.show(compare(context))


def seen(results: Path, **address: str) -> AppTest:
    app = AppTest.from_function(page, args=(str(results), PROTOCOL, str(results.parent / "runs")), default_timeout=60)
    for name, value in address.items():
        app.query_params[name] = value
    app.run()
    assert not app.exception
    return app


def shown(app: AppTest) -> dict[str, Any]:
    return {metric.label: metric.value for metric in app.metric}


def test_the_page_compares_the_methods_of_its_address(results: Path) -> None:
    for _ in range(20):  # the difference is computed beside the page
        app = seen(results, a="aux_loss", b="task_loss", position="λ=0.3", seed="1", picture="7.png")
        if shown(app):
            break
    assert shown(app)["BD-rate of B against A"] == "+25.0 %"
    assert shown(app)["Verdict"] == "more bits"
    assert {box.key: box.value for box in app.selectbox} == {
        "a": "aux_loss", "b": "task_loss", "position": "λ=0.3", "seed": 1, "picture": "7.png",
    }  # fmt: skip
    texts = "\n".join(text.value for text in app.text)
    assert "A: aux_loss at λ=0.3" in texts
    assert "codec.safetensors is not there" in texts
    assert any("icmbench run aux_loss" in code.value for code in app.code)


def test_the_page_needs_two_different_methods(results: Path, tmp_path: Path) -> None:
    same = seen(results, a="jpeg", b="jpeg")
    assert same.selectbox(key="a").value == "jpeg"
    assert same.selectbox(key="b").value != "jpeg"
    alone = tmp_path / "alone"
    keep(alone, curve("task_loss"))
    assert "needs two methods" in seen(alone).info[0].value


def test_the_page_says_what_could_not_be_computed(results: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*arguments: object) -> None:
        raise UserError("the *disk* is full.")

    monkeypatch.setattr(Measured, "read", fail)
    app = seen(results)
    assert "could not be made" in app.warning[0].value
    assert "the *disk* is full." in [text.value for text in app.text]
    assert any(button.label == "Try again" for button in app.button)


def whole_app(results: str) -> None:
    """The script of the test of the whole app."""
    from pathlib import Path

    from icmbench.leaderboard import app

    app.main(Path(results))


def test_an_empty_folder_gets_a_helpful_page_and_records_that_come_later_show(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(live_tables, "PATIENCE", 0.0)
    shown = AppTest.from_function(whole_app, args=(str(tmp_path),), default_timeout=60).run()
    assert shown.title[0].value == "No records yet"
    assert any("icmbench run aux_loss detection" in code.value for code in shown.code)
    keep(tmp_path, curve("newcomer"))
    for _ in range(50):  # the tables are made beside the app
        if shown.run().title[0].value == "tiny-v1":
            break
    assert shown.title[0].value == "tiny-v1"
    assert not shown.exception


@pytest.mark.slow
def test_images_are_made_of_real_codecs(small_protocol: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    protocol = bound(small_protocol)
    learned = make_record(protocol, start_sha256=protocol.rates[0].start.sha256)
    records = [learned, learned.model_copy(update={"method": "jpeg", "rate_point": {"quality": 20.0}, "start_sha256": ""})]
    store, runs = Store(tmp_path / "results"), tmp_path / "runs"
    for record in records:
        path = store.path_of(record)
        path.parent.mkdir(parents=True)
        path.write_text(record.model_dump_json(by_alias=True))
        rows = {"image": [f"{k}.png" for k in range(4)], "bits": 8, "decoded_sha256": ""}
        pd.DataFrame(rows).to_parquet(rows_path(path))
    path = side_by_side.codec_path(runs, learned)
    assert path is not None
    path.parent.mkdir(parents=True)
    model = build_model(protocol.codec)
    load_weights(model, verified_path(protocol.rates[0].start))
    codec = NeuralCodec(model, protocol.codec)
    codec.refit()
    codec.save(path, {"method": "task_loss", "parameters": "{}"})
    a, b = (str(store.path_of(record).relative_to(store.folder)) for record in records)

    wanted = Wanted(store.folder, runs, a, b, "2.png")
    monkeypatch.setattr(os, "nice", lambda increment: 0)
    assert side_by_side.main(json.dumps(asdict(wanted), default=str)) == 0  # in this process, which has loaded torch
    made = {file.stem for file in wanted.folder.glob("*.png")}
    assert made == {"original", "original-found", "truth", "a", "a-found", "a-bits", "b", "b-found"}
    size = Image.open(wanted.file("original")).size
    assert {Image.open(file).size for file in wanted.folder.glob("*.png")} == {size}
    assert {"background", "stripes"} & {name for name, _ in wanted.facts()["legend"]}
    assert not wanted.facts()["sides"]["a"]["same"]  # the rows above were made up
    assert wanted.facts()["sides"]["b"]["bits"] > 8
    with pytest.raises(UserError, match="no image 9"):
        side_by_side.make(Wanted(store.folder, runs, a, b, "9.png"))
