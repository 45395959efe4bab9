"""The figures' look: one for each method wherever it is drawn, and files that papers take."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from matplotlib import pyplot as plt
from PIL import Image

from builders import curve
from icmbench.compare.comparison import Curves, curves
from icmbench.leaderboard import figures
from icmbench.leaderboard.derived import build
from icmbench.leaderboard.views import Choice, View
from icmbench.plugins.find import Plugins
from icmbench.schema.store import Store
from icmbench.show.curves import draw, plot
from icmbench.show.palette import BLACK, COLOURS, style_of

NAMED = ("aux_loss", "mse", "feature_loss", "distill", "region_mse", "jpeg", "webp", "avif", "hevc", "vvc")
HOSTILE = (r"$\frac{$", "a$b$c", r"\$x$", "<b>&amp;", "漢字")


def group(*methods: str, anchor: str = "task_loss", seeds: int = 1) -> Curves:
    records = [record for seed in range(seeds) for method in methods for record in curve(method, 1 + 0.1 * seed, seed=seed)]
    (found,) = curves(records)
    return Curves(found.protocol, found.records, anchor, found.metric)


def drawn(found: Curves) -> dict[str, Any]:
    """The lines of a figure of the command line by label."""
    figure = plot(found)
    plt.close(figure)
    return {str(line.get_label()): line for line in figure.axes[0].get_lines()}


def test_built_in_methods_can_be_told_apart() -> None:
    assert len({style_of(name, "task_loss").colour for name in NAMED}) == len(NAMED)
    styles = [style_of(name, "") for name in Plugins().find("methods")]
    assert len(set(styles)) == len(styles)
    assert BLACK not in COLOURS


@pytest.mark.parametrize("others", [(), ("mse",), ("aaa", "jpeg", "zzz")])
def test_a_method_keeps_its_look_and_the_anchor_is_black_and_dashed(others: Sequence[str]) -> None:
    lines = drawn(group("task_loss", "aux_loss", *others))
    own = style_of("aux_loss", "task_loss")
    assert (lines["aux_loss"].get_color(), lines["aux_loss"].get_marker()) == (own.colour, own.marker)
    assert lines["aux_loss"].get_linestyle() == "-"
    assert (lines["task_loss"].get_color(), lines["task_loss"].get_linestyle()) == (BLACK, "--")
    assert drawn(group("task_loss", "aux_loss", *others, anchor="aux_loss"))["aux_loss"].get_color() == BLACK


def test_the_leaderboard_draws_a_method_as_the_command_line_does(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ICMBENCH_CACHE", str(tmp_path / "cache"))
    methods = ["task_loss", "aux_loss", "jpeg"]
    for method in methods:
        for record in curve(method):
            Store(tmp_path / "results").write(record)
    view = View(build(tmp_path / "results"), Choice(curve("jpeg")[0].protocol.identity, "task_loss"))
    lines = drawn(group(*methods))
    for shown in (methods, methods[1:], methods[:2]):
        for trace in figures.curves(view, shown, each_seed=False).figure.data:
            assert trace.line.color == lines[trace.name].get_color()
            assert trace.marker.symbol == figures.SYMBOLS[lines[trace.name].get_marker()]
            assert (trace.line.dash == "dash") == (trace.name == "task_loss")
    gains = figures.gains(view, methods)
    assert gains is not None
    assert gains.figure.data[0].line.color == lines[gains.figure.data[0].name].get_color()
    cost = figures.cost(view, view.cost_lines, "decode_seconds").figure
    assert {trace.name: trace.marker.color for trace in cost.data} == {name: lines[name].get_color() for name in methods}
    anchor = figures.on_dark(figures.curves(view, methods[:1], each_seed=False).figure).data[-1]
    assert (anchor.line.color, anchor.line.dash) == ("#ffffff", "dash")


def test_figures_are_written_for_screens_and_papers_and_the_same_each_time(tmp_path: Path) -> None:
    open_before = plt.get_fignums()  # by a test of another file
    found = group("task_loss", "aux_loss", seeds=2)
    png, svg, pdf = paths = draw(found, tmp_path / "one")
    assert [path.name for path in paths] == ["curves.png", "curves.svg", "curves.pdf"]
    with Image.open(png) as image:
        image.verify()
        assert min(image.size) > 500
    assert ElementTree.parse(svg).getroot().tag == "{http://www.w3.org/2000/svg}svg"
    content = pdf.read_bytes()
    assert content.startswith(b"%PDF-")
    assert content.rstrip().endswith(b"%%EOF")
    assert b"/FontFile2" in content
    assert b"/Type3" not in content
    assert [path.read_bytes() for path in draw(found, tmp_path / "two")] == [path.read_bytes() for path in paths]
    assert plt.get_fignums() == open_before


def test_names_are_no_formulas() -> None:
    figure = plot(group("task_loss", *HOSTILE))
    figure.canvas.draw()
    labels = figure.axes[0].get_legend().get_texts()
    assert not any(label._preprocess_math(label.get_text())[1] for label in labels)
    assert {label._preprocess_math(label.get_text())[0] for label in labels} >= set(HOSTILE)
    plt.close(figure)


def test_the_seeds_are_averaged_and_rates_over_more_than_a_decade_stand_on_a_log_axis() -> None:
    lines = drawn(group("task_loss", seeds=3))
    assert list(lines["task_loss"].get_xdata()) == pytest.approx([1.1 * record.bpp for record in curve("task_loss")])
    for factor, scale in ((1.0, "linear"), (2.0, "log")):
        (found,) = curves([*curve("task_loss"), *curve("mse", factor)])
        figure = plot(found)
        plt.close(figure)
        assert figure.axes[0].get_xscale() == scale
