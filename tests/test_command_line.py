"""The commands as a user types them: in fresh processes where that matters, otherwise through `main`, which starts at once."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd
import psutil
import pytest
from cells import INLINE

from builders import curve
from icmbench.cli.main import main
from icmbench.experiment import compute
from icmbench.experiment.train import train
from icmbench.schema.store import Store


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An empty current folder."""
    monkeypatch.chdir(tmp_path)


def refusal(words: Sequence[str], capsys: pytest.CaptureFixture[str]) -> str:
    """The one sentence with which a command refuses."""
    assert main(words) == 2
    said = capsys.readouterr().err
    assert re.fullmatch(r"icmbench: [^\n]*\n", said)
    return said


def test_list_names_methods_tasks_and_protocols(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["list"]) == 0
    printed = capsys.readouterr().out
    for name in ("aux_loss", "task_loss", "detection", "segmentation", "shapes-detection-v3", "coco2017-fasterrcnn-v1"):
        assert name in printed


def test_what_needs_no_torch_imports_none(tmp_path: Path) -> None:
    store = Store(tmp_path / "results")
    for record in curve("task_loss"):
        store.write(record)
    commands = [["list"], ["new", "task", "mine"], ["status"], ["export", "out"], ["export", "out", "--format", "csv"]]
    commands += [
        ["import", str(path), "--name", "a", "--source", "b", "--metric", "AP"] for path in ("seed=0.csv", "seed=0.json")
    ]
    code = f"""import glob, shutil, sys
from icmbench.cli.main import main
for command in {commands!r}:
    assert main(command) == 0, command
    for path in glob.glob("out/*/*/*"):
        shutil.copy(path, ".")
try:
    main(["--help"])
except SystemExit:
    assert "torch" not in sys.modules"""
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_show_lists_what_a_protocol_needs_and_assumes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("ICMBENCH_DATA", str(tmp_path))
    assert main(["show", "coco2017-fasterrcnn-v1"]) == 0
    printed = capsys.readouterr().out
    for text in ("MISSING", "coco/train2017", "19,336,861,798 bytes", "md5 cced6f7f", "assumed", "cheng2020-attn", "047c8118"):
        assert text in printed


def test_run_says_exactly_which_files_are_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("ICMBENCH_DATA", str(tmp_path))
    assert main(["run", "aux_loss", "detection", "--protocol", "coco2017-fasterrcnn-v1"]) == 2
    said = capsys.readouterr().err
    for word in ("icmbench: coco2017-fasterrcnn-v1 needs 4 file(s)", "coco/train2017", "coco/annotations/instances_val2017.json"):
        assert word in said


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["run", "aux_los", "detection"], "did you mean 'aux_loss'?"),
        (["run", "aux_loss", "detectoin"], "did you mean 'detection'?"),
        (["run", "aux_loss", "detection", "--protocol", "shapes-detectoin-v2"], "did you mean 'shapes-detection-v3'?"),
        (["run", "aux_loss", "detection", "--protocol", "shapes-segmentation-v3"], "not of detection"),
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
def test_bad_input_is_one_sentence(words: list[str], expected: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert expected in refusal(words, capsys)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("name = ", "not valid TOML"),
        ('name = "x"\nnonsense = 1\n', "nonsense"),
        ("[training]\nsteps = 'many'\n", "training.steps"),
    ],
)
def test_a_wrong_protocol_file_is_one_sentence(text: str, expected: str, capsys: pytest.CaptureFixture[str]) -> None:
    Path("mine.toml").write_text(text)
    assert expected in refusal(["run", "aux_loss", "detection", "--protocol", "mine.toml"], capsys)


def test_a_results_folder_that_cannot_be_written_is_refused_before_any_training(capsys: pytest.CaptureFixture[str]) -> None:
    Path("file").touch()
    assert "cannot write" in refusal(["run", "aux_loss", "detection", "--results", "file/results"], capsys)


@pytest.mark.slow
def test_run_computes_a_curve_and_repeats_nothing(small_protocol: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["run", "aux_loss", "segmentation", "--protocol", str(small_protocol), *INLINE]
    assert main(words) == 0
    said = capsys.readouterr().out
    assert "6 cells, 0 already there" in said
    assert "interactive view:         icmbench leaderboard --results" in said
    records, broken = Store(Path("results")).read()
    assert (len(records), broken) == (6, {})
    for record in records:
        assert record.bpp > 0
        assert abs(record.bpp / record.estimated_bpp - 1) < 0.05
        assert record.cost.steps == 2
        assert (record.cost.training_only_parameters > 0) == (record.method == "aux_loss")
    assert len(list(Path("results").rglob("*.parquet"))) == 6
    folder = next(Path("runs").glob("short-v1@*"))
    assert {path.name for path in folder.glob("curves*")} == {"curves.png", "curves.svg", "curves.pdf"}
    assert list(folder.rglob("events.out.tfevents*"))
    assert main(words) == 0
    assert "6 cells, 6 already there" in capsys.readouterr().out
    for form in ("csv", "markdown", "latex"):
        assert main(["table", f"--{form}"]) == 0
        assert "aux" in capsys.readouterr().out
    assert main(["table", "--json"]) == 0
    table = json.loads(capsys.readouterr().out)
    assert {row["method"] for row in table} == {"aux_loss", "task_loss"}
    assert [row["method"] for row in table if row["reason"] == "anchor"] == ["task_loss"]


@pytest.mark.slow
def test_a_run_that_was_stopped_goes_on_in_the_middle_of_a_training(
    small_protocol: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["run", "task_loss", "segmentation", "--protocol", str(small_protocol), "--rates", "1", *INLINE]
    words += ["--set", "training.steps=6", "--set", "training.batch_size=2"]
    stop_at = [3]

    def stopped(*arguments: Any) -> Any:
        *others, log = arguments

        def or_stop(step: int, terms: dict[str, float]) -> None:
            if step in stop_at:
                raise KeyboardInterrupt
            log(step, terms)

        return train(*others, or_stop, log_every=1, save_seconds=0)

    monkeypatch.setattr(compute, "train", stopped)
    assert main(words) == 130
    assert "run the same command again to continue" in capsys.readouterr().err
    assert not list(Path("results").rglob("*.json"))
    stop_at.clear()
    assert main(words) == 0
    first = re.search(r"train (\d+)/6", capsys.readouterr().out)
    assert first is not None
    assert first[1] == "4"
    [record], _ = Store(Path("results")).read()
    assert (record.cost.steps, record.cost.images) == (6, 12)


@pytest.mark.slow
def test_ctrl_c_ends_a_run_and_its_workers_with_a_sentence(small_protocol: Path, tmp_path: Path) -> None:
    words = ["run", "task_loss", "segmentation", "--protocol", str(small_protocol), "--rates", "1", "--device", "cpu"]
    started = subprocess.Popen(
        [sys.executable, "-m", "icmbench", *words, "--set", "training.steps=9999"],
        cwd=tmp_path,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        # a background job of a shell ignores Ctrl-C, and its children inherit that
        preexec_fn=partial(signal.signal, signal.SIGINT, signal.SIG_DFL),  # noqa: PLW1509
    )
    deadline = time.monotonic() + 240
    while not list((tmp_path / "runs").rglob("events.out.tfevents*")):
        assert started.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.2)
    workers = psutil.Process(started.pid).children(recursive=True)
    os.kill(started.pid, signal.SIGINT)  # what kill -9 leaves, and that the records are the same, is in test_interruption
    _, errors = started.communicate(timeout=60)
    assert started.returncode == 130
    assert "run the same command again to continue" in errors
    assert psutil.wait_procs(workers, timeout=60)[1] == []


@pytest.mark.slow
def test_two_devices_share_every_batch_of_a_training(small_protocol: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["run", "aux_loss", "segmentation", "--protocol", str(small_protocol), "--rates", "1", "--no-anchor"]
    words += ["--set", "training.steps=3", "--set", "training.batch_size=4"]
    assert main([*words, "--devices", "2", *INLINE]) == 0
    assert re.search(r"train \d/3  loss ", capsys.readouterr().out)
    [record], _ = Store(Path("results")).read()
    assert (record.cost.train_devices, record.cost.steps, record.cost.images) == (2, 3, 12)


@pytest.mark.slow
def test_a_classical_codec_runs_beside_the_anchor_and_its_bitstreams_decode_by_its_name(
    small_protocol: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["segmentation", "--protocol", str(small_protocol), "--seeds", "2", "--keep-bitstreams", *INLINE]
    assert main(["run", "jpeg", *words, "--set", "training.steps=1"]) == 0
    assert "13 cells, 0 already there" in capsys.readouterr().out  # 3 rate points of the anchor at 2 seeds, 7 of its own at one
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
def test_a_method_that_cannot_do_with_the_codec_is_refused_before_anything_is_trained(
    small_protocol: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["run", "prompt", "segmentation", "--protocol", str(small_protocol), *INLINE]) == 2
    assert "FactorizedPrior has no attention layers" in capsys.readouterr().err
    assert not list(Path().glob("**/*.safetensors"))
