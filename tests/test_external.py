"""External curves: published figures in, ours out, and never compared where that would mean nothing."""

import json
import tempfile
from collections.abc import Sequence
from pathlib import Path

import pytest
from cells import Refused
from hypothesis import given
from hypothesis import strategies as st

from builders import LAMBDAS, make_curve, make_protocol
from icmbench.base.errors import UserError
from icmbench.cli.main import main
from icmbench.compare.row import ANCHOR, Point, Row
from icmbench.extras.curves import external
from icmbench.extras.curves.external import ExternalCurve, external_rows, not_comparable, with_external
from icmbench.extras.curves.files import export, read_points
from icmbench.schema.record import Record
from icmbench.schema.store import Store
from icmbench.stats.confidence import Estimate

RATES, SCORES = (0.1, 0.2, 0.4, 0.8), (20.0, 28.0, 34.0, 37.0)
POINTS = tuple(zip(RATES, SCORES, strict=True))
IDENTITY = make_protocol().identity
SOURCE = "Doe et al., 2024"

# InterDigitalInc/CompressAI (BSD 3-Clause Clear), results/image/8bit-decoded/kodak/
# compressai-bmshj2018-factorized_mse_ans_cuda.json: the first three points, with the older keys.
KODAK = {
    "name": "bmshj2018-factorized-mse-8bit",
    "description": "Inference (ans)",
    "results": {
        "psnr": [26.905718167622883, 28.213664293289185, 29.61102072397868],
        "ms-ssim": [0.9099040652314822, 0.9359625205397606, 0.955385779341062],
        "bpp": [0.1226230197482639, 0.18852742513020834, 0.2878078884548611],
        "encoding_time": [0.03851047158241272, 0.029166231552759807, 0.02911326289176941],
        "decoding_time": [0.01807201902071635, 0.018871237834294636, 0.01935349901517232],
    },
}
# From the same, results/image/clic2020-mobile/compressai-bmshj2018-factorized_mse_cuda.json: keys as its eval_model writes them.
CLIC = {
    "name": "bmshj2018-factorized",
    "description": "Inference (ans)",
    "results": {
        "psnr-rgb": [28.763051151594247, 30.21707503787061],
        "ms-ssim-rgb": [0.9302877666575186, 0.9504163924897655],
        "bpp": [0.11460563452931156, 0.17061773947087153],
    },
}


def row(identity: str, metric: str, points: Sequence[tuple[float, float]], reason: str = ANCHOR) -> Row:
    """The row of `task_loss`, which is the anchor unless there is another reason why it has no BD-rate."""
    shown = tuple(Point("", Estimate(bpp), Estimate(score)) for bpp, score in points)
    return Row(identity, "task_loss", metric, 50.0, 1, shown, None, None, 1, None, None, reason=reason)


OURS = row(IDENTITY, "AP", POINTS)


def curve(**changes: object) -> ExternalCurve:
    """An external curve that agrees with OURS at its anchor's rate, with some fields replaced."""
    fields = {"name": "doe", "source": SOURCE, "metric": "AP", "points": POINTS, "protocol": IDENTITY, "created": "2025-01-01"}
    return ExternalCurve.model_validate(fields | changes)


def write(folder: Path, content: object, name: str = "curve.json") -> Path:
    path = folder / name
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return path


def importing(path: Path, results: Path, *words: str) -> list[str]:
    """The words of an import of `path` as doe."""
    return ["import", str(path), "--name", "doe", "--source", SOURCE, "--results", str(results), *words]


def bring(path: Path, results: Path, *words: str) -> int:
    return main(importing(path, results, *words))


def only(results: Path) -> ExternalCurve:
    (found,), broken = external.read(results)
    assert broken == {}
    return found


def store(results: Path, records: Sequence[Record]) -> None:
    for record in records:
        Store(results).write(record)


# Import


@pytest.mark.parametrize("content", [KODAK, CLIC])
@pytest.mark.parametrize("metric", ["psnr", "psnr-rgb", "ms-ssim", "ms-ssim-rgb"])
def test_a_published_file_of_compressai_is_read(content: dict[str, dict[str, list[float]]], metric: str, tmp_path: Path) -> None:
    plain = metric.removesuffix("-rgb")
    scores = next(values for key, values in content["results"].items() if key.removesuffix("-rgb") == plain)
    assert bring(write(tmp_path, content), tmp_path / "r", "--metric", metric) == 0
    found = only(tmp_path / "r")
    assert (found.name, found.source, found.metric, found.protocol, found.anchor) == ("doe", SOURCE, metric, None, None)
    assert found.points == tuple(zip(content["results"]["bpp"], scores, strict=True))


def test_only_the_only_metric_need_not_be_named(tmp_path: Path) -> None:
    path = write(tmp_path, {"results": {"bpp": [1, 2], "mIoU": [40, 41.5], "encoding_time": [0.1, 0.2]}})
    assert read_points(path, None) == ("mIoU", [(1.0, 40.0), (2.0, 41.5)])
    for content, metric, expected in (
        (KODAK, None, r"2 metrics; .* psnr, ms-ssim\."),
        (KODAK, "AP", "known: ms-ssim, psnr"),
        (KODAK, "encoding_time", "no metric"),  # a time is no score
    ):
        with pytest.raises(UserError, match=expected):
            read_points(write(tmp_path, content), metric)
    (tmp_path / "curve.csv").write_text("bpp,quality\n1,2\n")
    with pytest.raises(UserError, match="--metric"):
        read_points(tmp_path / "curve.csv", None)


def test_csv_is_read_by_its_columns(tmp_path: Path) -> None:
    path = write(tmp_path, "\ufeffbpp, quality ,codec\n0.25,28.5,VTM\n\n5e-1,30,VTM\n", "curve.CSV")
    assert bring(path, tmp_path / "r", "--metric", "mIoU", "--protocol", IDENTITY, "--anchor", "VTM") == 0
    found = only(tmp_path / "r")
    assert found.points == ((0.25, 28.5), (0.5, 30.0))
    assert (found.metric, found.protocol, found.anchor) == ("mIoU", IDENTITY, "VTM")


DEEP = "[" * 100_000 + "]" * 100_000
BROKEN = {
    "prose": ("bpp is 0.5", "Invalid JSON"),
    "nested": (DEEP, "Invalid JSON"),
    "list": ([1, 2], "should be an object"),
    "bare": ({"bpp": [0.1], "AP": [1.0]}, "results: Field required"),
    "no rate": ({"results": {"AP": [1.0]}}, "0 rates ('bpp') but 1 scores"),
    "no score": ({"results": {"bpp": [1.0]}}, "no metric"),
    "scalars": ({"results": {"bpp": 0.5, "AP": [30.0]}}, "results.bpp: Input should be a valid array"),
    "text": ({"results": {"bpp": [0.5], "AP": ["30"]}}, "results.AP.0: Input should be a valid number"),
    "truth": ({"results": {"bpp": [True], "AP": [30.0]}}, "results.bpp.0: Input should be a valid number"),
    "null": ({"results": {"bpp": [0.5], "AP": [None]}}, "results.AP.0: Input should be a valid number"),
    "lengths": ({"results": {"bpp": [0.1, 0.2], "AP": [1.0]}}, "2 rates ('bpp') but 1 scores"),
    "no points": ({"results": {"bpp": [], "AP": []}}, "points: Tuple should have at least 1 item"),
    "NaN": ('{"results": {"bpp": [0.1], "AP": [NaN]}}', "finite number"),
    "infinite": ('{"results": {"bpp": [1e999], "AP": [1]}}', "finite number"),
    "zero rate": ({"results": {"bpp": [0.2, 0.0], "AP": [1.0, 2.0]}}, "points.1.0: Input should be greater than 0"),
    "huge": ('{"results": {"bpp": [1], "AP": [1' + "0" * 400 + "]}}", "finite number"),
    "more digits than int takes": ('{"results": {"bpp": [1], "AP": [1' + "0" * 9999 + "]}}", "Invalid JSON"),
}


@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [
        *(pytest.param("curve.json", *case, id=name) for name, case in BROKEN.items()),
        # what else `bdrate` refuses is in test_bdrate_command
        pytest.param("curve.csv", "bpp,quality\n0,5,30,1\n", "line 2: more cells than", id="decimal commas"),
    ],
)
def test_a_broken_file_is_refused_in_one_sentence(
    name: str, content: object, expected: str, tmp_path: Path, refused: Refused
) -> None:
    refused(importing(write(tmp_path, content, name), tmp_path / "r", "--metric", "AP"), expected)


@pytest.mark.parametrize(
    ("words", "field"),
    [
        (["--protocol", "tiny-v1"], "protocol"),
        (["--protocol", "tiny-v1@0123"], "protocol"),
        (["--protocol", "../x@0123456789ab"], "protocol"),
        (["--anchor", ""], "anchor"),
        (["--name", " "], "name"),
        (["--name", "a\nb"], "name"),
        (["--name", "a\x1b[31m"], "name"),
        (["--name", "/" * 80], "name"),
        (["--source", ""], "source"),
        (["--source", "a\udcff"], "source"),
    ],
)
def test_bad_words_about_a_curve_are_refused(words: list[str], field: str, tmp_path: Path, refused: Refused) -> None:
    refused(importing(write(tmp_path, CLIC), tmp_path / "r", "--metric", "psnr", *words), f"curve.json: {field}: ")


# Storage


def test_a_name_is_taken_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path, results = write(tmp_path, CLIC), tmp_path / "r"
    assert bring(path, results, "--metric", "psnr") == 0
    stored = external.path_of(results, "doe")
    earlier = stored.read_text().replace(only(results).created, "2001-01-01")
    stored.write_text(earlier)
    capsys.readouterr()
    assert bring(path, results, "--metric", "psnr") == 0
    assert "the same curve exists already" in capsys.readouterr().out
    assert bring(path, results, "--metric", "ms-ssim") == 2
    assert bring(path, results, "--metric", "psnr", "--source", "another") == 2
    said = capsys.readouterr().err
    assert said.count("other content") == said.count("\n") == 2
    assert stored.read_text() == earlier
    assert bring(path, results, "--metric", "ms-ssim", "--name", "doe2") == 0
    stored.write_text("mine")  # no curve
    assert bring(path, results, "--metric", "psnr") == 2
    assert stored.read_text() == "mine"


NAMES = ["..", ".", "../../evil", "a/b", "a%2Fb", ".hidden", "%2Ehidden", "a\\b", "C:", "λ=0,5", "~", "*", "-x", "con.json"]


def test_names_stay_in_the_folder_and_apart(tmp_path: Path) -> None:
    for name in NAMES:
        assert bring(write(tmp_path, CLIC), tmp_path / "r", "--metric=psnr", f"--name={name}") == 0
    assert {path.name for path in tmp_path.iterdir()} == {"curve.json", "r"}
    assert [path.name for path in (tmp_path / "r").iterdir()] == ["external"]
    found, broken = external.read(tmp_path / "r")
    assert {one.name for one in found} == set(NAMES)
    assert broken == {}


texts = st.text(st.characters(exclude_categories=("C", "Z")), min_size=1, max_size=30)
finite = st.floats(allow_nan=False, allow_infinity=False)
pairs = st.lists(st.tuples(st.floats(min_value=0, exclude_min=True, allow_infinity=False), finite), min_size=1, max_size=9)


@given(name=texts, other=texts, points=pairs)
def test_any_curve_comes_back_as_it_was(name: str, other: str, points: list[tuple[float, float]]) -> None:
    made = [curve(name=one, source=other, points=points) for one in sorted({name, other})]
    with tempfile.TemporaryDirectory() as folder:
        assert all(external.add(Path(folder), one) for one in made)
        assert len(list(Path(folder, "external").iterdir())) == len(made)
        found, broken = external.read(Path(folder))
    assert broken == {}
    assert sorted(found, key=lambda one: one.name) == made
    assert [type(one.points) for one in found] == [tuple] * len(made)


def test_broken_files_are_set_aside_with_the_reason(tmp_path: Path) -> None:
    assert external.read(tmp_path) == ([], {})
    good = curve()
    external.add(tmp_path, good)
    assert Store(tmp_path).read() == ([], {})  # it is no record
    folder = tmp_path / "external"
    fields = good.model_dump(mode="json")
    bad = {
        "prose": ("no JSON", "Invalid JSON"),
        "nested": (DEEP, "Invalid JSON"),
        "nan": (json.dumps(fields | {"name": "nan", "points": [[float("nan"), 1]]}), "points.0.0"),
        "infinite": (json.dumps(fields | {"name": "infinite", "points": [[1, float("inf")]]}), "points.0.1"),
        "rate": (json.dumps(fields | {"name": "rate", "points": [[0.0, 1]]}), "greater than 0"),
        "none": (json.dumps(fields | {"name": "none", "points": []}), "at least 1"),
        "more": (json.dumps(fields | {"name": "more", "rank": 1}), "rank"),
        "elsewhere": (json.dumps(fields), "is not in its place"),
    }
    for name, (content, _) in bad.items():
        write(folder, content, f"{name}.json")
    (folder / "bytes.json").write_bytes(b"\xff\xfe")
    (folder / "folder.json").mkdir()
    (folder / ".doe.json.half").write_text("half")
    (folder / ".half.json").write_text("half")
    found, broken = external.read(tmp_path)
    assert found == [good]
    assert {path.stem for path in broken} == {*bad, "bytes", "folder"}
    for name, (_, reason) in bad.items():
        assert reason in broken[folder / f"{name}.json"]


# Comparison


def test_a_curve_that_agrees_gets_a_bd_rate_and_a_note() -> None:
    cheaper = curve(points=[(0.8 * rate, score) for rate, score in POINTS[::-1]])
    for one in (cheaper, cheaper.model_copy(update={"anchor": "task_loss"})):
        (found,) = external_rows([one], [OURS])
        assert (found.method, found.external, found.rank) == ("doe", True, None)
        assert found.bd_rate is not None
        assert (found.bd_rate.value, found.bd_rate.interval) == (pytest.approx(-20), None)
        assert found.warnings == (f"external: as published by {SOURCE}, not computed here; no interval, not ranked",)
        assert not_comparable([one], [OURS]) == []


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"protocol": None}, "other protocol: it names no protocol of icmbench"),
        ({"protocol": "tiny-v1@0123456789ab"}, "other protocol: tiny-v1@0123456789ab"),
        ({"metric": "AP50"}, "other metric: AP50 instead of AP"),
        ({"anchor": "VTM"}, "other anchor: VTM instead of task_loss"),
        ({"protocol": None, "metric": "psnr", "anchor": "VTM"}, "other protocol: it names no protocol of icmbench"),
    ],
)
def test_every_other_curve_is_not_compared_and_says_why(changes: dict[str, object], reason: str) -> None:
    one = curve(**changes)
    elsewhere = row("other-v1@0123456789ab", "mIoU", POINTS)
    assert external_rows([one], [OURS]) == []
    for table in ([OURS], [elsewhere, OURS], [OURS, elsewhere]):
        assert not_comparable([one], table) == [(one, reason)]


def test_a_curve_is_compared_with_its_own_protocol_only() -> None:
    elsewhere = row("other-v1@0123456789ab", "AP", POINTS)
    assert external_rows([curve()], [elsewhere]) == []
    assert [one.method for one in with_external([curve()], [OURS, elsewhere])] == ["task_loss", "doe", "task_loss"]
    assert not_comparable([curve()], [elsewhere, OURS]) == []
    assert not_comparable([curve()], [elsewhere]) == not_comparable([curve()], []) == [(curve(), f"other protocol: {IDENTITY}")]


def test_where_there_is_no_number_there_is_a_reason() -> None:
    fractions = curve(points=[(rate, score / 100) for rate, score in POINTS])
    for one, ours, reason in (
        (fractions, OURS, "overlap"),
        (curve(points=POINTS[:1]), OURS, "fewer than 3 points"),
        (curve(), row(IDENTITY, "AP", POINTS, reason=""), "the anchor has no records"),
    ):
        (found,) = external_rows([one], [ours])
        assert found.bd_rate is None
        assert reason in found.reason


@given(pairs)
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_no_finite_figures_break_the_table(points: list[tuple[float, float]]) -> None:
    (found,) = external_rows([curve(points=points)], [OURS])
    assert (found.bd_rate is None) == bool(found.reason)
    assert found.bd_rate is None or abs(found.bd_rate.value) < float("inf")


@pytest.mark.parametrize(
    ("anchor", "points"),
    [
        ([(5e-324 * k, 10.0 * k) for k in (1, 2, 3)], [(1e307 * k, 10.0 * k) for k in (1, 2, 3)]),  # the ratio overflows
        (POINTS, [(0.1, -1e308), (0.2, 30.0), (0.4, 1e308)]),  # the range of the scores overflows
    ],
)
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_figures_that_no_arithmetic_holds_give_no_number(
    anchor: list[tuple[float, float]], points: list[tuple[float, float]]
) -> None:
    (found,) = external_rows([curve(points=points)], [row(IDENTITY, "AP", anchor)])
    assert found.bd_rate is None
    assert found.reason


# Export


def test_export_writes_a_file_for_each_protocol_method_and_seed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    other = make_protocol(data={"source": "shapes", "seed": 1})
    curves = [
        make_curve("task_loss", RATES, SCORES), make_curve("task_loss", RATES, SCORES, seed=1),
        make_curve("aux_loss", RATES, SCORES, parameters={"alpha": 0.5, "at": "a/b"}),
        make_curve("task_loss", RATES, SCORES, other),
    ]  # fmt: skip
    store(tmp_path / "r", [record for records in curves for record in records[::-1]])
    assert main(["export", str(tmp_path / "out"), "--results", str(tmp_path / "r")]) == 0
    printed = set(map(Path, capsys.readouterr().out.splitlines()))
    assert printed == {path for path in (tmp_path / "out").rglob("*") if path.is_file()}
    here = tmp_path / "out" / IDENTITY
    assert printed == {
        here / "task_loss" / "seed=0.json", here / "task_loss" / "seed=1.json",
        here / "aux_loss,alpha=0.5,at=a%2Fb" / "seed=0.json", tmp_path / "out" / other.identity / "task_loss" / "seed=0.json",
    }  # fmt: skip
    content = json.loads((here / "task_loss" / "seed=1.json").read_text(), parse_constant=pytest.fail)
    assert content["name"] == "task_loss"
    assert content["results"] == {"bpp": list(RATES), "AP": list(SCORES), "psnr-rgb": [30.0] * 4}
    for text in (f"protocol {IDENTITY}", "seed 1", "AP", "test cpu"):
        assert text in content["description"]


percent = st.floats(0, 49)
rates = st.floats(min_value=0, exclude_min=True, allow_infinity=False)


@given(points=st.lists(st.tuples(rates, percent), min_size=1, max_size=4), form=st.sampled_from(["compressai", "csv"]))
def test_no_digit_is_lost_on_the_way(points: list[tuple[float, float]], form: str) -> None:
    records = make_curve("aux_loss", *zip(*points, strict=True))
    with tempfile.TemporaryDirectory() as folder:
        (path,) = export(records, Path(folder), form)  # type: ignore[arg-type]
        assert read_points(path, "AP") == ("AP", points)


def test_csv_is_exported_with_the_lambdas(tmp_path: Path) -> None:
    store(tmp_path / "r", make_curve("aux_loss", RATES, SCORES)[::-1])
    assert main(["export", str(tmp_path / "out"), "--format", "csv", "--results", str(tmp_path / "r")]) == 0
    header, *lines = (tmp_path / "out" / IDENTITY / "aux_loss" / "seed=0.csv").read_text().splitlines()
    assert header == "bpp,quality,lambda"
    assert [tuple(map(float, line.split(","))) for line in lines] == list(zip(RATES, SCORES, LAMBDAS, strict=True))


@pytest.mark.slow
def test_compressai_reads_what_is_exported(tmp_path: Path) -> None:
    plot = pytest.importorskip("compressai.utils.plot.__main__")
    (path,) = export(make_curve("aux_loss", RATES, SCORES), tmp_path, "compressai")
    assert plot.parse_json_file(path, "AP") == {"name": "aux_loss", "xs": list(RATES), "ys": list(SCORES)}
    assert plot.parse_json_file(path, "psnr")["ys"] == [30.0] * 4


def test_a_psnr_that_json_cannot_hold_is_left_out(tmp_path: Path) -> None:
    (path,) = export(make_curve("aux_loss", RATES, SCORES, psnr=float("inf")), tmp_path, "compressai")
    assert set(json.loads(path.read_text(), parse_constant=pytest.fail)["results"]) == {"bpp", "AP"}


def test_export_into_the_results_or_from_none_is_refused(tmp_path: Path, refused: Refused) -> None:
    results = tmp_path / "r"
    store(results, make_curve("aux_loss", RATES, SCORES))
    (tmp_path / "file").touch()
    for out, where, expected in (
        (results, results, "the results folder itself"),
        (tmp_path / "x" / ".." / "r", results, "the results folder itself"),
        (tmp_path / "file", results, "cannot write"),
        (tmp_path / "out", tmp_path / "nowhere", "no results folder"),
    ):
        refused(["export", out, "--results", where], expected)
