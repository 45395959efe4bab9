"""`icmbench transfer`: what it plans, refuses, tabulates and draws."""

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from cells import INLINE, Refused, bound, folders
from matplotlib import pyplot as plt

from builders import CONTENT, curve, make_protocol
from icmbench.api.classes import make_task
from icmbench.cli.main import main
from icmbench.compare.comparison import rows
from icmbench.compare.resamples import no_resamples
from icmbench.extras.ablation import matrix_figure as matrix_plot
from icmbench.extras.ablation import report
from icmbench.extras.ablation.report import Entry
from icmbench.extras.ablation.transfer import Matrix, entries_of, matrix, protocols
from icmbench.plugins.find import Plugins
from icmbench.schema.protocol import Protocol
from icmbench.schema.record import Record
from icmbench.schema.store import Store

PLUGINS = Plugins()
DETECTION, SEGMENTATION = "shapes-detection-v3", "shapes-segmentation-v3"
NEAR, FAR = make_protocol(name="near-v1"), make_protocol(name="far-v1")


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["aux_los"], "did you mean 'aux_loss'?"),
        (["--protocols", DETECTION], "at least two protocols"),
        (["--protocols", DETECTION, DETECTION], "is named twice"),
        (["--protocols", DETECTION, "shapes-segmentatoin-v2"], "did you mean 'shapes-segmentation-v3'?"),
        (["--protocols", DETECTION, "nowhere.toml"], "cannot read nowhere.toml"),
        (["mse"], "mse is not trained"),
        (["aux_loss", "--set", "alhpa=1"], "alhpa"),
        (["aux_loss", "--set", "alpha=-1"], "alpha: Input should be greater than or equal to 0"),
        (["--set", "training.stepps=1"], "training.stepps"),
        (["--device", "gpu"], "no device called 'gpu'"),
    ],
)
def test_what_is_wrong_is_said_in_a_sentence(words: list[str], expected: str, refused: Refused) -> None:
    refused(["transfer", *words], expected)


def test_protocols_of_different_anchors_need_a_method(tmp_path: Path, refused: Refused) -> None:
    path = tmp_path / "other.toml"
    path.write_text(PLUGINS.protocols()[SEGMENTATION].read_text().replace('anchor = "task_loss"', 'anchor = "mse"'))
    refused(["transfer", "--protocols", DETECTION, path], "different anchors (mse, task_loss): name the method")


def both() -> list[Protocol]:
    """The embedded protocols, as if their data had been looked at."""
    found = protocols(PLUGINS, [DETECTION, SEGMENTATION], {})
    return [protocol.model_copy(update={"content": CONTENT}) for protocol in found]


def test_every_ordered_pair_is_planned_with_as_many_rate_points_as_the_training_protocol_has() -> None:
    home, there = both()
    home = home.model_copy(update={"rates": home.rates[:3]})
    wanted = matrix(PLUGINS, [home, there], "aux_loss", {"alpha": 0.3}, seeds=2)
    assert wanted.label == "aux_loss,alpha=0.3"
    found = {(cell.protocol.identity, cell.label): 0 for cell in wanted.cells}
    for cell in wanted.cells:
        found[cell.protocol.identity, cell.label] += 1
    assert found == {
        (home.identity, "task_loss"): 3 * 2,
        (home.identity, wanted.label): 3 * 2,
        (there.identity, "task_loss"): 4 * 2,
        (there.identity, wanted.label): 4 * 2,
        (home.identity, wanted.row_label(there, home)): 4 * 2,
        (there.identity, wanted.row_label(home, there)): 3 * 2,
    }
    for cell in wanted.cells:
        if cell.trained_under:
            assert cell.label == f"{wanted.label},trained_under={cell.trained_under.identity}"
            assert cell.origin in wanted.cells
    assert len({folders(Path("x")).record(cell) for cell in wanted.cells}) == len(wanted.cells)


def test_the_anchor_is_transferred_where_no_method_is_named() -> None:
    wanted = matrix(PLUGINS, both(), None, {}, seeds=1)
    assert wanted.label == "task_loss"
    assert len(wanted.cells) == 4 * 4


def sample(method: str = "m") -> tuple[Matrix, list[Record]]:
    """Two protocols and a third without records; the codecs of the first need twice the rate under the second."""
    empty = make_protocol(name="empty-v1")
    records = [
        record for protocol in (NEAR, FAR) for seed in (0, 1) for record in curve("task_loss", protocol=protocol, seed=seed)
    ]
    if method != "task_loss":
        records += [record for seed in (0, 1) for record in curve(method, 0.8 + 0.01 * seed, protocol=NEAR, seed=seed)]
    records += [
        record
        for seed in (0, 1)
        for record in curve(method, 2 + 0.01 * seed, protocol=FAR, seed=seed, trained_under=NEAR.identity)
    ]
    return Matrix(method, (NEAR, FAR, empty), ()), records


def test_the_numbers_are_those_of_the_table_and_go_to_the_right_pair() -> None:
    wanted, records = sample()
    found = {tuple(entry.names.values()): entry for entry in entries_of(wanted, records, no_resamples)}
    table = {(row.protocol, row.method): row for row in rows(records)}
    own = found[NEAR.identity, NEAR.identity].row
    assert own is not None
    assert replace(own, p=None, comparisons=1) == replace(table[NEAR.identity, "m"], p=None)
    away = found[FAR.identity, NEAR.identity]
    assert away.row is not None
    assert replace(away.row, p=None, comparisons=1) == replace(table[FAR.identity, f"m,trained_under={NEAR.identity}"], p=None)
    assert away.row.comparisons == 2  # of both protocols
    assert away.row.rank is None
    assert away.bd_rate is not None
    assert away.bd_rate.value == pytest.approx(100 * ((2 * 2.01) ** 0.5 - 1))
    assert away.bd_rate.interval is not None
    assert found[FAR.identity, FAR.identity].row is None
    assert [entry.mark for entry in found.values()] == ["own", "", "", "", "own", "", "", "", "own"]


def test_the_anchor_under_its_own_protocol_is_named_so() -> None:
    wanted, records = sample("task_loss")
    own, away = (entries_of(wanted, records, no_resamples)[number] for number in (0, 3))
    assert (own.is_anchor, away.is_anchor) == (True, False)
    assert report.sheet([own], "").only("BD-rate").lines[0][0].text == "anchor"
    assert away.bd_rate is not None


def test_rows_are_where_a_codec_was_trained_and_text_stays_in_its_cell() -> None:
    entries = entries_of(*sample(), no_resamples)
    figure = matrix_plot.plot(entries, "m: BD-rate against the anchor of the protocol that scores")
    figure.canvas.draw()
    axes = figure.axes[0]
    near, far = ("near-v1\n" + NEAR.hash, "far-v1\n" + FAR.hash)
    assert [label.get_text() for label in axes.get_yticklabels()][:2] == [near, far]
    assert [label.get_text() for label in axes.get_xticklabels()][:2] == [f"{near}\n(AP)", f"{far}\n(AP)"]
    (away,) = [text for text in axes.texts if text.get_text() == "+100.5 %"]
    assert away.get_position()[:2] == (1, 0)  # scored with the second protocol, trained under the first
    wide, high = (size / 3 for size in axes.get_window_extent().size)
    for text in axes.texts:
        box = text.get_window_extent()
        assert box.width < wide
        assert box.height < high / 2
    ticks = [label.get_text() for label in figure.axes[1].get_yticklabels()]
    assert (ticks[0], ticks[2], ticks[4]) == ("-50.1", "0", "+100")  # balanced around zero
    plt.close(figure)


def test_a_pair_without_a_number_says_why() -> None:
    entry = Entry({"a": "x@1", "b": "y@2"}, None)
    assert matrix_plot._text(entry) == ["none", "there are no records"]
    matrix_plot.plot([entry], "nothing but gaps")


def short_detection(folder: Path) -> Path:
    """The embedded detection protocol with a budget of two steps and the four pictures of the short segmentation protocol."""
    rules = PLUGINS.protocol(DETECTION)
    task = make_task(PLUGINS, rules.task, rules.data, rules.recognizer)
    tables = []
    for split in ("train", "val"):
        pictures: Any = task.dataset(split)
        kept = pictures.images[:4]
        objects = [row for image in kept for row in pictures.objects[image["id"]]]
        annotations = folder / f"{split}.json"
        annotations.write_text(json.dumps(pictures.coco | {"images": kept, "annotations": objects}))
        tables.append(f'{split} = {{ images = "{pictures.folder}", annotations = "{annotations}", subset = true }}')
    text = PLUGINS.protocols()[DETECTION].read_text().replace('source = "shapes"', "\n".join(['source = "coco"', *tables]))
    path = folder / "detect.toml"
    path.write_text(text.replace("steps = 200", "steps = 2").replace(DETECTION, "detect-v1"))
    return path


def with_three_rates(path: Path) -> str:
    """The protocol file without its last rate point."""
    path.write_text(re.sub(r"\[\[rates\]\]\nlambda = 3.*", "", path.read_text(), flags=re.DOTALL))
    return str(path)


@pytest.mark.slow
def test_codecs_go_from_one_task_to_the_other(short_protocol: Path, capsys: pytest.CaptureFixture[str]) -> None:
    files = [with_three_rates(short_detection(short_protocol.parent)), str(short_protocol)]
    words = ["transfer", *INLINE, "--protocols", *files]
    assert main(words) == 0
    assert capsys.readouterr().out.count("6 cells, 0 already there") == 2
    records, broken = Store(Path("results")).read()
    assert (len(records), broken) == (12, {})
    identities = [bound(file).identity for file in files]
    rates = {(r.protocol.identity, r.trained_under, r.rate_index): (r.bpp, r.psnr, r.cost.steps) for r in records}
    for there, home in (identities, identities[::-1]):
        for index in range(3):  # the pictures are the same, so the codec's bits and images must be those of its own protocol
            assert rates[there, home, index] == rates[home, "", index]
            assert rates[there, home, index] != rates[there, "", index]
    folder = next(Path("runs/transfer").iterdir())
    assert folder.name == f"task_loss-{identities[0]}-{identities[1]}"
    assert {path.name for path in folder.iterdir()} == {
        "transfer.png", "transfer.svg", "transfer.pdf", "table.csv", "table.json", "table.md",
    }  # fmt: skip
    content = json.loads((folder / "table.json").read_text())
    assert [line["row"]["reason"] == "anchor" for line in content] == [True, False, False, True]
    assert {line["row"]["rank"] for line in content[1:3]} == {None}

    assert main(words) == 0
    assert capsys.readouterr().out.count("6 cells, 6 already there") == 2
