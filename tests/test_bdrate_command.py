"""`icmbench bdrate`: what it prints, and what it says about files that are no curves."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from icmbench.cli.main import main
from icmbench.stats.bdrate import bd_rate

ANCHOR = [(0.1, 20.0), (0.2, 28.0), (0.4, 34.0), (0.8, 37.0)]
TEST = [(0.09, 21.0), (0.17, 29.0), (0.33, 34.5), (0.7, 37.5)]
GOOD = "bpp,quality\n0.1,20\n0.2,28\n0.4,34\n0.8,37\n"


def text(curve: list[tuple[float, float]]) -> str:
    return "\n".join(["bpp,quality", *(f"{rate},{quality}" for rate, quality in curve)])


def words(folder: Path, anchor: str | bytes = text(ANCHOR), test: str | bytes = text(TEST)) -> list[str]:
    for name, content in (("anchor.csv", anchor), ("test.csv", test)):
        (folder / name).write_bytes(content.encode() if isinstance(content, str) else content)
    return ["bdrate", "--anchor", str(folder / "anchor.csv"), "--test", str(folder / "test.csv")]


@pytest.mark.parametrize("method", ["pchip", "akima"])
def test_json_holds_what_bd_rate_found(method: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*words(tmp_path), "--json", "--method", method]) == 0
    expected = bd_rate(ANCHOR, TEST, method=method)  # type: ignore[arg-type]
    assert json.loads(capsys.readouterr().out) == {
        "bd_rate": expected.percent,
        "bd_metric": expected.metric,
        "overlap": expected.overlap,
        "rate_overlap": expected.rate_overlap,
        "method": method,
        "cross_check": expected.cross_check,
        "points": [4, 4],
        "leave_one_out": [pytest.approx(-23.90, abs=0.01), pytest.approx(-20.40, abs=0.01)],
        "monotone": True,
        "warnings": [],
        "reason": None,
    }


def test_text_says_the_numbers(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(words(tmp_path)) == 0
    assert capsys.readouterr().out.splitlines() == [
        "BD-rate:   -22.29 % (PCHIP; Akima: -22.30 %)",
        "BD-metric: +2.052 (unit of quality)",
        "overlap:   91% of quality, 89% of log rate",
        "points:    4 of the anchor, 4 of the test",
        "one less:  -23.90 … -20.40 % (any one rate point left out, PCHIP)",
    ]
    assert main([*words(tmp_path), "--method", "akima"]) == 0
    assert capsys.readouterr().out.startswith("BD-rate:   -22.30 % (Akima; PCHIP: -22.29 %)\n")


def test_without_an_answer_the_reason_is_printed_and_the_status_is_0(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    far = text([(rate, quality + 100) for rate, quality in TEST])
    assert main(words(tmp_path, test=far)) == 0
    assert "BD-rate:   none: the quality ranges overlap by 0%" in capsys.readouterr().out
    assert main([*words(tmp_path, test=far), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["bd_rate"], found["cross_check"]) == (None, None)
    assert "less than 25%" in found["reason"]
    assert found["bd_metric"] == pytest.approx(102.05, abs=0.01)


def test_a_single_point_gives_the_reason_for_both(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(words(tmp_path, test="bpp,quality\n0.1,20\n")) == 0
    out = capsys.readouterr().out
    for name in ("BD-rate:  ", "BD-metric:"):
        assert f"{name} none: fewer than 3 points" in out


def test_rates_apart_leave_no_bd_metric(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(words(tmp_path, test=text([(100 * rate, quality) for rate, quality in ANCHOR]))) == 0
    assert "BD-metric: none: no common range of rate" in capsys.readouterr().out


def test_a_curve_that_is_not_monotone_is_warned_of(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bent = text([*TEST[:3], (0.7, 34.4)])
    assert main(words(tmp_path, test=bent)) == 0
    assert "warning:   the test curve is not monotone: its 4 points became" in capsys.readouterr().out
    assert main([*words(tmp_path, test=bent), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["monotone"] is False


@pytest.mark.parametrize(
    "content",
    [
        GOOD,
        "quality,bpp\n20,0.1\n28,0.2\n34,0.4\n37,0.8\n",
        'lambda,bpp,name,quality\n1,0.1,"a, b",20\n2,0.2,,28\n3,0.4,c,34\n4,0.8,d,37\n',
        " bpp , quality \n 0.1 , 20 \n0.2,28\n\n0.4,34\n0.8,37\n\n",
        "\ufeff" + GOOD,
        GOOD.replace(",", ";"),
        GOOD.replace(",", "\t"),
        GOOD.replace("\n", "\r\n"),
        "\n" + GOOD,
        GOOD.rstrip("\n"),
    ],
)
def test_forms_of_the_same_file_give_the_same(content: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*words(tmp_path, test=content), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["bd_rate"], found["points"]) == (0.0, [4, 4])


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("", "is empty"),
        (" \n\n", "is empty"),
        ("bpp,quality\n", "has no point"),
        ("bpp,psnr\n0.1,20\n", "needs one column called 'quality'; its columns are: bpp, psnr"),
        ("0.1,20\n0.2,28\n", "needs one column called 'bpp'"),
        ("bpp,quality,bpp\n0.1,20,0.1\n", "needs one column called 'bpp'"),
        (GOOD + "0.9,n/a\n", "line 6: quality: Input should be a valid number"),
        (GOOD + "\n,38\n", "line 7: bpp: Input should be a valid number"),
        (GOOD + "0.9\n", "line 6: quality: Field required"),
        (GOOD.replace(",", ";").replace("0.2", "0,2"), "line 3: bpp: Input should be a valid number"),
        (GOOD + "0,20\n", "line 6: bpp: Input should be greater than 0"),
        (GOOD + "-0.1,20\n", "line 6: bpp: Input should be greater than 0"),
        (GOOD + "inf,20\n", "line 6: bpp: Input should be a finite number"),
        (GOOD + "0.9,nan\n", "line 6: quality: Input should be a finite number"),
        (GOOD.encode("utf-16"), "not a text file"),
    ],
)
def test_a_file_that_is_no_curve_is_refused_in_one_sentence(
    content: str | bytes, said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(words(tmp_path, test=content)) == 2
    streams = capsys.readouterr()
    assert streams.out == ""
    assert streams.err.startswith(f"icmbench: {tmp_path / 'test.csv'}")
    assert said in streams.err
    assert streams.err.count("\n") == 1


@pytest.mark.parametrize("name", ["nowhere.csv", "."])
def test_a_file_that_cannot_be_read_is_named(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*words(tmp_path)[:-1], str(tmp_path / name)]) == 2
    assert f"cannot read {tmp_path / name}: " in capsys.readouterr().err


def test_in_a_fresh_process_it_prints_the_number_and_imports_no_torch(tmp_path: Path) -> None:
    code = f"import sys\nfrom icmbench.cli.main import main\nmain({words(tmp_path)!r})\nassert 'torch' not in sys.modules"
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("BD-rate:   -22.29 %")
