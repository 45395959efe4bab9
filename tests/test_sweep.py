"""`icmbench sweep`: what it plans, refuses, tabulates and draws."""

import csv
import json
from io import StringIO
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal

import pytest
from cells import INLINE, Refused, folders
from matplotlib import pyplot as plt
from matplotlib.text import Text
from rich.console import Console

from builders import CONTENT, curve, make_curve, make_protocol
from icmbench.cli.commands.sweep import axes
from icmbench.cli.main import main
from icmbench.compare.comparison import rows
from icmbench.compare.resamples import no_resamples
from icmbench.extras.ablation import axis_figure as axis_plot
from icmbench.extras.ablation import report
from icmbench.extras.ablation.axis_figure import panel_of
from icmbench.extras.ablation.report import Entry
from icmbench.extras.ablation.sweep import Setting, choices, entries_of, folder_name, settings
from icmbench.plugins.find import Plugins
from icmbench.running.job import Job
from icmbench.schema.protocol import Protocol
from icmbench.schema.record import Record
from icmbench.stats.confidence import Estimate


def job(**changes: Any) -> Job:
    usual: dict[str, Any] = {"method": "aux_loss", "task": "detection", "protocol": None, "parameters": {}, "fields": {}}
    return Job(Plugins(), **usual | changes, rates=None, seeds=1, anchor=True)


def bind(protocol: Protocol) -> Protocol:
    """As if the data had been looked at."""
    return protocol.model_copy(update={"content": CONTENT})


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["aux_loss", "--over", "alhpa=1"], "did you mean 'alpha'?"),
        (["aux_loss", "--over", "alhpa"], "did you mean 'alpha'?"),
        (["aux_loss", "--over", "alpha"], "write --over alpha=VALUE,VALUE"),
        (["aux_loss", "--over", "training.steps"], "write --over training.steps=VALUE,VALUE"),
        (["aux_loss", "--over", "protocol"], "write --over protocol=VALUE,VALUE"),
        (["aux_loss", "--over", "alpha=0.1,-1"], "alpha: Input should be greater than or equal to 0"),
        (["aux_loss", "--over", "position=nowhere"], "position: Input should be 'before_decoder'"),
        (["aux_loss", "--over", "alpha=0.1", "--over", "alpha=0.2"], "the axis alpha twice"),
        (["aux_loss", "--over", "alpha=0.1,0.10"], "0.1 and 0.1 are the same experiment"),
        (["aux_loss", "--over", "alpha="], "takes AXIS or AXIS=VALUE,VALUE"),
        (["aux_loss", "--over", "alpha=0.1,,0.3"], "takes AXIS or AXIS=VALUE,VALUE"),
        (["aux_loss", "--over", "=0.1"], "takes AXIS or AXIS=VALUE,VALUE"),
        (["aux_loss", "--over", "training.stepps=1,2"], "training.stepps"),
        (["aux_loss", "--over", "training.steps=100,0"], "training.steps: Input should be greater than or equal to 1"),
        (["aux_loss", "--over", "protocol=shapes-detection-v3,shapes-segmentation-v3"], "not of detection"),
        (["aux_loss", "--over", "protocol=shapes-detection-v3,shapes-detectoin-v2"], "did you mean 'shapes-detection-v3'?"),
        (["aux_loss", "--over", "alpha=1", "--rates", "7"], "rate points of the protocol"),
        (["aux_loss", "--over", "alpha=1", "--set", "width=7"], "width: Input should be"),
        (["task_loss", "--over", "training.steps=1,2"], "task_loss is the anchor itself"),
    ],
)
def test_what_is_wrong_is_said_in_a_sentence_before_anything_is_computed(
    words: list[str], expected: str, refused: Refused
) -> None:
    refused(["sweep", words[0], "detection", *words[1:]], expected)


def test_values_are_parsed_as_in_set_and_split_outside_brackets() -> None:
    assert axes(["a=0.1,2,true,None,text", "b", "r.scale=[416, 416],[320,320]"]) == {
        "a": [0.1, 2, True, None, "text"],
        "b": [],
        "r.scale": [[416, 416], [320, 320]],
    }


def test_a_bare_axis_takes_the_choices_of_its_parameter() -> None:
    found = settings(job(), {"position": []}, bind)
    assert [setting.value for setting in found] == ["before_decoder", "before_last_layer", "mid_recognizer"]
    assert [setting.label for setting in found[1:]] == [f"aux_loss,position={setting.value}" for setting in found[1:]]
    assert [setting.default for setting in found] == [True, False, False]


@pytest.mark.parametrize(
    ("annotation", "expected"),
    [
        (Literal["a", "b"], ["a", "b"]),
        (bool, [False, True]),
        (Literal["a"] | None, ["a", None]),
        (float, []),
        (float | None, []),
    ],
)
def test_the_types_that_have_choices(annotation: Any, expected: list[Any]) -> None:
    assert choices(annotation) == expected


def test_each_axis_is_varied_by_itself_and_what_axes_share_is_planned_once() -> None:
    found = settings(job(), {"alpha": [0.1, 0.5], "position": [], "training.steps": [100, 200]}, bind)
    assert len(found) == 2 + 3 + 2
    usual = [setting for setting in found if setting.default]
    assert [setting.axis for setting in usual] == ["alpha", "position", "training.steps"]
    assert len({(setting.protocol.identity, setting.label) for setting in usual}) == 1
    cells = {folders(Path("x")).record(cell) for setting in found for cell in setting.cells}
    # curves: the anchor's and the method's, alpha=0.1, two other positions, and anchor and method at 100 steps
    assert len(cells) == 4 * (2 + 1 + 2 + 2)


def test_a_value_that_the_protocol_has_leaves_it_as_it_is() -> None:
    published = bind(Plugins().protocol("shapes-detection-v3"))
    short, own, long = settings(job(), {"training.steps": [100, 200, 400]}, bind)
    assert own.protocol == published
    assert (own.default, short.default, long.default) == (True, False, False)
    assert (short.protocol.name, short.protocol.training.steps) == ("shapes-detection-v3+changed", 100)
    # and so it does where --set says something else, or the same
    again = settings(job(fields={"training.steps": 100}), {"training.steps": [100, 200], "alpha": [0.5]}, bind)
    assert [setting.protocol for setting in again] == [short.protocol, published, short.protocol]
    assert [setting.default for setting in again] == [False, True, True]
    assert settings(job(fields={"training.steps": 200}), {"alpha": [0.5]}, bind)[0].protocol == published


def test_several_protocols_each_have_their_own_anchor() -> None:
    found = settings(job(), {"protocol": ["shapes-detection-deep-v2", "shapes-detection-v3"]}, bind)
    assert [setting.protocol.name for setting in found] == ["shapes-detection-deep-v2", "shapes-detection-v3"]
    assert [setting.default for setting in found] == [False, True]
    for setting in found:
        assert {cell.method for cell in setting.cells} == {"task_loss", "aux_loss"}
        assert {cell.protocol.name for cell in setting.cells} == {setting.protocol.name}


def test_the_folder_says_what_was_swept() -> None:
    over: dict[str, list[Any]] = {"alpha": [0.1], "training.steps": [100]}
    assert folder_name(job(), settings(job(), over, bind)) == "aux_loss-detection-alpha-training.steps"
    other = job(parameters={"position": "mid_recognizer"}, fields={"training.steps": 9})
    name = folder_name(other, settings(other, over, bind))
    more = job(parameters=other.parameters, fields={"training.steps": 10})
    assert folder_name(more, settings(more, over, bind)) != name
    assert name.startswith("aux_loss,position=mid_recognizer-detection-alpha-training.steps-shapes-detection-v3+changed")
    assert report.folder_name("../a b", "c") == ".._a_b-c"
    assert len({report.folder_name("a" * 300 + end) for end in "xy"}) == 2
    assert len(report.folder_name("a" * 300)) < 255


OTHER = make_protocol(name="other-v1")


def setting(axis: str, value: Any, label: str, protocol: Protocol | None = None, default: bool = False) -> Setting:
    return Setting(axis, value, protocol or make_protocol(), label, (), default)


def sample() -> tuple[list[Setting], list[Record]]:
    """Two axes: BD-rates that are resolved, not resolved and of one seed, a curve too short for one, and no records."""
    records = [
        record for seed in (0, 1) for record in [*curve("task_loss", seed=seed), *curve("m", 0.8 + 0.002 * seed, seed=seed)]
    ]
    records += [*curve("m", 1.25, parameters={"a": 1.0}), *make_curve("m", (0.1, 0.2), (20, 28), parameters={"a": 9.0})]
    for seed, factor in enumerate((0.5, 1.5)):
        records += [*curve("task_loss", protocol=OTHER, seed=seed), *curve("m", factor, protocol=OTHER, seed=seed)]
    found = [setting("a", 0.5, "m", default=True), setting("a", 1.0, "m,a=1.0"), setting("a", 9.0, "m,a=9.0")]
    found += [setting("protocol", "tiny-v1", "m", default=True), setting("protocol", "other-v1", "m", OTHER)]
    return [*found, setting("protocol", "none|v1", "m", make_protocol(name="none-v1"))], records


def test_the_numbers_are_those_of_the_table() -> None:
    found, records = sample()
    entries = entries_of(found, records, no_resamples)
    table = {(row.protocol, row.method): row for row in rows(records)}
    for one, entry in zip(found, entries, strict=True):
        row = table.get((one.protocol.identity, one.label))
        assert entry.bd_rate == (row and row.bd_rate)
    assert [entry.row.comparisons for entry in entries if entry.row] == [2, 0, 0, 2, 2]  # the axes are one family
    assert [entry.row.resolved for entry in entries if entry.row] == [True, False, False, True, False]
    values = [entry.bd_rate.value if entry.bd_rate else None for entry in entries]
    assert values == [
        pytest.approx(100 * ((0.8 * 0.802) ** 0.5 - 1)),
        pytest.approx(25),
        None,
        values[0],
        pytest.approx(100 * (0.75**0.5 - 1)),
        None,
    ]
    assert entries[0].bd_rate is not None
    assert entries[0].bd_rate.interval is not None
    assert entries[1].notes == ["one seed: no interval, so the difference is not shown to be resolved"]
    assert entries[2].notes[0].startswith("no BD-rate: fewer than 3 points")
    assert entries[5].notes == ["no BD-rate: there are no records"]


def test_the_tables_in_files(tmp_path: Path) -> None:
    entries = entries_of(*sample(), no_resamples)
    report.write(entries, tmp_path)
    lines = list(csv.DictReader(StringIO((tmp_path / "table.csv").read_text())))
    assert [(line["axis"], line["value"], line["mark"]) for line in lines[:2]] == [("a", "0.5", "default"), ("a", "1.0", "")]
    assert (first := entries[0].bd_rate) is not None
    found = [float(lines[0][name]) for name in ("bd_rate", "bd_rate_low", "bd_rate_high")]
    assert found == [first.value, first.low, first.high]
    assert (lines[2]["bd_rate"], lines[5]["seeds"], lines[5]["note"]) == ("", "0", "no BD-rate: there are no records")
    content = json.loads((tmp_path / "table.json").read_text(), parse_constant=pytest.fail)
    assert [line["value"] for line in content] == [0.5, 1.0, 9.0, "tiny-v1", "other-v1", "none|v1"]
    assert content[4]["row"]["bd_rate"]["value"] == pytest.approx(100 * (0.75**0.5 - 1))
    assert content[5]["row"] is None
    markdown = (tmp_path / "table.md").read_text().splitlines()
    assert markdown[0].startswith("| axis | value | seeds | BD-rate | 95 % interval | resolvable | leave one out |")
    assert {line.replace("\\|", "").count("|") for line in markdown[:8]} == {11}
    assert "| a | 1.0 | 1 | +25.0 % | — |" in markdown[3]
    assert r"- none\|v1: no BD-rate: there are no records" in markdown


def test_the_table_on_a_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    report.show(entries_of(*sample(), no_resamples), Console(width=80))
    said = capsys.readouterr().out
    assert max(len(line) for line in said.splitlines() if "─" in line) <= 80
    for text in ("axis: a", "axis: protocol", "0.5 (default)", "+25.0 %", "  9.0: no BD-rate: fewer than 3 points"):
        assert text in said


def entry(value: Any, bd_rate: Estimate | None = None, axis: str = "x", mark: str = "") -> Entry:
    row = rows([*curve("task_loss"), *curve("m", 0.8)])[0]
    return Entry(
        {"axis": axis, "value": value},
        type(row)(**vars(row) | {"bd_rate": bd_rate, "reason": "" if bd_rate else "too short"}),
        mark,
    )


@pytest.mark.parametrize(
    ("values", "numeric", "log"),
    [
        ([0.1, 0.3, 0.5, 1.0], True, False),  # a decade and no more
        ([100, 200, 400], True, False),
        ([1, 10, 100], True, True),
        ([400, 100, 1600], True, True),
        ([-1, 0, 1], True, False),
        ([0, 0.001, 1], False, False),  # labels at their values would overlap
        ([False, True], False, False),
        (["a", "b"], False, False),
        ([[1, 2], [3, 4]], False, False),
        ([7], False, False),
    ],
)
def test_where_values_stand(values: list[Any], numeric: bool, log: bool) -> None:
    made = panel_of("x", [entry(value) for value in values])
    assert (made.numeric, made.log) == (numeric, log)
    assert list(made.x) == sorted(made.x)
    if not numeric:
        assert made.x == tuple(range(len(values)))


MANY = [
    *(
        entry(v, Estimate(-8, -12, -4, True), "position", m)
        for v, m in (("before_decoder", "default"), ("before_last_layer", ""))
    ),
    entry("mid_recognizer", None, "position"),
    *(entry(v, Estimate(v, v - 20, v + 9, True), "alpha") for v in (0.1, 0.3, 0.5, 1.0)),
    *(entry(v, Estimate(-2.0), "training.steps") for v in (100, 200, 400, 3200)),
    *(entry(v, Estimate(900, -200, 9000), "mode") for v in ("fixed", "linear_decay", "gradient_norm", "gradient_surgery")),
    *(entry(v, Estimate(1, 0, 2), "protocol") for v in ("shapes-detection-deep-v2", "shapes-detection-v3", "coco128-nanodet-v1")),
]


@pytest.mark.parametrize("entries", [MANY, MANY[:3], MANY[3:7], MANY[2:3]])
def test_no_label_covers_another(entries: list[Entry]) -> None:
    figure = axis_plot.plot(entries, "aux_loss under shapes-detection-v3 (f3921a530925), one axis at a time", "task_loss")
    figure.canvas.draw()
    assert len(figure.axes) == len({one.names["axis"] for one in entries})
    (legend,) = figure.legends
    assert legend.get_window_extent().y0 > max(place.get_window_extent().y1 for place in figure.axes)
    assert 0 <= legend.get_window_extent().x0 < legend.get_window_extent().x1 <= figure.bbox.x1
    for place in figure.axes:
        boxes = sorted((label.get_window_extent() for label in place.get_xticklabels()), key=lambda box: box.x0)
        assert all(left.x1 <= right.x0 for left, right in pairwise(boxes))
    plt.close(figure)


def test_the_figure_shows_what_is_missing_and_what_is_not_resolved() -> None:
    figure = axis_plot.plot(entries_of(*sample(), no_resamples), "a title", "task_loss")
    text = " ".join(found.get_text() for found in figure.findobj(Text))
    for words in ("a = 9.0: no BD-rate: fewer than 3", "protocol = none|v1: no BD-rate: there are no records"):
        assert words in text
    for style in (axis_plot.RESOLVED, axis_plot.UNRESOLVED, axis_plot.ONE_SEED, "anchor task_loss"):
        assert style in text


@pytest.mark.slow
def test_a_sweep_computes_what_is_missing_and_repeats_nothing(
    small_protocol: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    words = ["sweep", "aux_loss", "segmentation", "--protocol", str(small_protocol), *INLINE]
    assert main([*words, "--over", "alpha=0.5,1.0"]) == 0
    first = capsys.readouterr().out
    assert "9 cells, 0 already there" in first
    folder = next(Path("runs/sweeps").iterdir())
    assert folder.name.startswith("aux_loss-segmentation-alpha-short-v1@")
    assert {path.name for path in folder.iterdir()} == {
        "sweep.png", "sweep.svg", "sweep.pdf", "table.csv", "table.json", "table.md",
    }  # fmt: skip
    content = json.loads((folder / "table.json").read_text())
    assert main(["table", "--json"]) == 0
    table = {row["method"]: row for row in json.loads(capsys.readouterr().out)}
    assert [line["row"] for line in content] == [table["aux_loss"], table["aux_loss,alpha=1.0"]]

    assert main([*words, "--over", "training.steps=2", "--over", "alpha_mode=fixed"]) == 0
    assert "6 cells, 6 already there" in capsys.readouterr().out
