"""The commands as a user types them: in fresh processes where that matters, otherwise through `main`, which starts at once."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import pandas as pd
import pytest

from icmbench.cli.main import main
from icmbench.schema.store import Store


def icmbench(*words: str | Path, cwd: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "icmbench", *map(str, words)]
    return subprocess.run(
        command, cwd=cwd, capture_output=True, text=True, check=False, env=os.environ | environment, timeout=600
    )


def refused(done: subprocess.CompletedProcess[str], *words: str) -> None:
    """A non-zero exit, a clear sentence, no traceback."""
    assert done.returncode == 2, done.stdout + done.stderr
    assert done.stderr.startswith("icmbench: ")
    assert "Traceback" not in done.stderr
    for word in words:
        assert word in done.stderr


def test_list_names_methods_tasks_and_protocols(tmp_path: Path) -> None:
    done = icmbench("list", cwd=tmp_path)
    assert done.returncode == 0
    for name in ("aux_loss", "task_loss", "detection", "segmentation", "shapes-detection-v2", "coco2017-fasterrcnn-v1"):
        assert name in done.stdout


@pytest.mark.parametrize("command", [["--help"], ["list"]])
def test_help_and_list_import_no_torch(command: list[str], tmp_path: Path) -> None:
    code = (
        "import contextlib, sys\nfrom icmbench.cli.main import main\nwith contextlib.suppress(SystemExit):\n"
        f"    main({command!r})\nassert 'torch' not in sys.modules"
    )
    assert subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, check=False).returncode == 0


def test_show_lists_what_a_protocol_needs_and_assumes(tmp_path: Path) -> None:
    done = icmbench("show", "coco2017-fasterrcnn-v1", cwd=tmp_path, ICMBENCH_DATA=str(tmp_path))
    for text in ("MISSING", "coco/train2017", "19,336,861,798 bytes", "md5 cced6f7f", "assumed", "cheng2020-attn", "047c8118"):
        assert text in done.stdout


def test_run_says_exactly_which_files_are_missing(tmp_path: Path) -> None:
    done = icmbench(
        "run", "aux_loss", "detection", "--protocol", "coco2017-fasterrcnn-v1", cwd=tmp_path, ICMBENCH_DATA=str(tmp_path)
    )
    refused(done, "4 file(s)", "coco/train2017", "coco/annotations/instances_val2017.json")


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["run", "aux_los", "detection"], "did you mean 'aux_loss'?"),
        (["run", "aux_loss", "detectoin"], "did you mean 'detection'?"),
        (["run", "aux_loss", "detection", "--protocol", "shapes-detectoin-v2"], "did you mean 'shapes-detection-v2'?"),
        (["run", "aux_loss", "detection", "--protocol", "shapes-segmentation-v2"], "not of detection"),
        (["run", "aux_loss", "detection", "--set", "alpha=-1"], "alpha: Input should be greater than or equal to 0"),
        (["run", "aux_loss", "detection", "--set", "alhpa=1"], "alhpa"),
        (["run", "aux_loss", "detection", "--set", "alpha"], "KEY=VALUE"),
        (["run", "aux_loss", "detection", "--set", "training.stepps=1"], "training.stepps"),
        (["run", "aux_loss", "detection", "--set", "training.steps=0"], "training.steps"),
        (["run", "aux_loss", "detection", "--rates", "7"], "rate points of the protocol"),
        (["run", "aux_loss", "detection", "--device", "gpu"], "no device called 'gpu'"),
        (["run", "aux_loss", "detection", "--protocol", "nowhere.toml"], "cannot read nowhere.toml"),
        (["run", "aux_loss", "detection", "--plugin", "nowhere.py"], "nowhere"),
        (["table", "--results", "nowhere"], "no results folder nowhere"),
        (["show", "shapes"], "no protocol is called 'shapes'"),
        (["prepare", "shapes-codek"], "did you mean 'shapes-codec'?"),
        (["check", "nothing_like_it"], "no method or task is called"),
    ],
)
def test_bad_input_is_one_sentence(
    words: list[str], expected: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(words) == 2
    said = capsys.readouterr().err
    assert re.fullmatch(r"icmbench: [^\n]*\n", said)
    assert expected in said


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("name = ", "not valid TOML"),
        ('name = "x"\nnonsense = 1\n', "nonsense"),
        ("[training]\nsteps = 'many'\n", "training.steps"),
    ],
)
def test_a_wrong_protocol_file_is_one_sentence(text: str, expected: str, tmp_path: Path) -> None:
    (tmp_path / "mine.toml").write_text(text)
    refused(icmbench("run", "aux_loss", "detection", "--protocol", "mine.toml", cwd=tmp_path), expected)


def test_a_results_folder_that_cannot_be_written_is_one_sentence_before_any_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("file").write_text("")
    assert main(["run", "aux_loss", "detection", "--results", "file/results"]) == 2
    assert "cannot write" in capsys.readouterr().err


@pytest.mark.slow
def test_run_computes_a_curve_and_repeats_nothing(
    small_protocol: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["run", "aux_loss", "segmentation", "--protocol", str(small_protocol), "--device", "cpu"]
    first = icmbench(*words, cwd=tmp_path)
    assert first.returncode == 0, first.stderr
    assert "8 cells, 0 already there" in first.stdout
    records, broken = Store(tmp_path / "results").read()
    assert (len(records), broken) == (8, {})
    for record in records:
        assert record.bpp > 0
        assert abs(record.bpp / record.estimated_bpp - 1) < 0.05
        assert record.cost.steps == 2
        assert (record.cost.training_only_parameters > 0) == (record.method == "aux_loss")
    assert len(list((tmp_path / "results").rglob("*.parquet"))) == 8
    folder = next((tmp_path / "runs").glob("short-v1@*"))
    assert {path.name for path in folder.glob("curves*")} == {"curves.png", "curves.svg", "curves.pdf"}
    assert "interactive view:         icmbench leaderboard --results" in first.stdout
    assert list(folder.rglob("events.out.tfevents*"))
    monkeypatch.chdir(tmp_path)
    assert main(words) == 0
    assert "8 cells, 8 already there" in capsys.readouterr().out
    for form in ("csv", "markdown", "latex"):
        assert main(["table", f"--{form}"]) == 0
        assert "aux" in capsys.readouterr().out
    assert main(["table", "--json"]) == 0
    table = json.loads(capsys.readouterr().out)
    assert {row["method"] for row in table} == {"aux_loss", "task_loss"}
    assert [row["method"] for row in table if row["reason"] == "anchor"] == ["task_loss"]


@pytest.mark.slow
def test_a_run_that_was_stopped_goes_on_in_the_middle_of_a_training(small_protocol: Path, tmp_path: Path) -> None:
    words = ["run", "task_loss", "segmentation", "--protocol", str(small_protocol), "--rates", "1", "--device", "cpu"]
    words += ["--set", "training.steps=300", "--set", "training.batch_size=2"]  # longer than until the first checkpoint
    started = subprocess.Popen(
        [sys.executable, "-m", "icmbench", *words],
        cwd=tmp_path,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        # a background job of a shell ignores Ctrl-C, and its children inherit that
        preexec_fn=partial(signal.signal, signal.SIGINT, signal.SIG_DFL),  # noqa: PLW1509
    )
    deadline = time.monotonic() + 240
    while not list((tmp_path / "runs").rglob("checkpoint.safetensors")):
        assert started.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.2)
    os.kill(started.pid, signal.SIGINT)  # what kill -9 leaves, and that the records are the same, is in test_interruption
    _, errors = started.communicate(timeout=60)
    assert started.returncode == 130
    assert "run the same command again to continue" in errors
    assert not list((tmp_path / "results").rglob("*.json"))
    resumed = icmbench(*words, cwd=tmp_path)
    assert resumed.returncode == 0, resumed.stderr
    first = re.search(r"train (\d+)/300", resumed.stdout)
    assert first is not None
    assert int(first[1]) > 50
    [record], _ = Store(tmp_path / "results").read()
    assert (record.cost.steps, record.cost.images) == (300, 600)


@pytest.mark.slow
def test_two_devices_share_every_batch_of_a_training(small_protocol: Path, tmp_path: Path) -> None:
    words = ["run", "aux_loss", "segmentation", "--protocol", str(small_protocol), "--rates", "1"]
    words += ["--set", "training.steps=3", "--set", "training.batch_size=4"]
    done = icmbench(*words, "--no-anchor", "--device", "cpu", "--devices", "2", cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.search(r"train \d/3  loss ", done.stdout)
    record = Store(tmp_path / "results").read()[0][0]
    assert (record.cost.train_devices, record.cost.steps, record.cost.images) == (2, 3, 12)


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_classical_codec_runs_beside_the_anchor_and_its_bitstreams_decode_by_its_name(
    short_protocol: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["segmentation", "--protocol", str(short_protocol), "--device", "cpu", "--seeds", "2", "--keep-bitstreams"]
    assert main(["run", "jpeg", *words]) == 0
    assert "15 cells, 0 already there" in capsys.readouterr().out  # 4 rate points of the anchor at 2 seeds, 7 of its own at one
    records, broken = Store(Path("results")).read()
    assert broken == {}
    jpeg = [record for record in records if record.method == "jpeg"]
    assert sorted(record.point for record in jpeg) == sorted(f"quality={q}" for q in (5, 8, 12, 20, 35, 60, 85))
    assert {(record.seed, record.start_sha256, record.trained, record.cost.codec_parameters) for record in jpeg} == {
        (0, "", False, 0)
    }
    assert jpeg[0].cost.encoder.macs_per_pixel is None
    kept = next(Path("runs").glob("*/jpeg/quality=5,seed=0/bitstreams"))
    assert main(["decode", str(kept), "jpeg", "decoded"]) == 0
    rows = next(Path("results").glob("*/jpeg/quality=5,seed=0.parquet"))
    decoded = [line.split()[0] for line in capsys.readouterr().out.splitlines()]
    assert decoded == list(pd.read_parquet(rows)["decoded_sha256"])


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_method_that_cannot_do_with_the_codec_is_refused_before_anything_is_trained(
    short_protocol: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["run", "prompt", "segmentation", "--protocol", str(short_protocol), "--device", "cpu"]) == 2
    assert "FactorizedPrior has no attention layers" in capsys.readouterr().err
    assert not list(Path().glob("**/*.safetensors"))
