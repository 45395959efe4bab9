"""Kept bitstreams, and their decoding in a fresh process from bytes and weights alone."""

import contextlib
import hashlib
import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import safetensors.torch
import torch
from cells import INLINE, Refused
from PIL import Image
from safetensors import safe_open
from test_codec import SPECS, make_codec, picture

from icmbench.base.errors import UserError
from icmbench.cli.main import main as cli
from icmbench.codecs.neural import NeuralCodec
from icmbench.experiment.bitstreams import FileNames, writer
from icmbench.experiment.evaluate import pixels_sha256
from icmbench.extras import decode as decoding

CPU = torch.device("cpu")
RUN = ["run", "task_loss", "segmentation", "--rates", "0.3", "--no-anchor", *INLINE]


def png_sha256(path: Path) -> str:
    """SHA-256 of a PNG's pixels as [3, H, W], without icmbench."""
    with Image.open(path) as image:
        assert (image.format, image.mode) == ("PNG", "RGB")
        return hashlib.sha256(np.asarray(image).transpose(2, 0, 1).tobytes()).hexdigest()


def content(folder: Path) -> dict[str, tuple[bytes, int]]:
    """Bytes and times of the files in a folder, by name."""
    return {path.name: (path.read_bytes(), path.stat().st_mtime_ns) for path in folder.iterdir() if path.is_file()}


@pytest.fixture(scope="module")
def coded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a saved codec and three bitstreams of it."""
    folder = tmp_path_factory.mktemp("coded")
    codec = make_codec(SPECS["bmshj2018-factorized"])
    codec.save(folder / "codec.safetensors", {"identity": "kept too"})
    (folder / "bits").mkdir()
    for number, size in enumerate([(37, 53), (64, 64), (1, 1)]):
        (folder / "bits" / f"{number}.icm").write_bytes(codec.encode(picture(*size)))
    return folder


def decode(*words: str | Path) -> int:
    return cli(["decode", *map(str, words), "--device", "cpu"])


def test_a_saved_codec_tells_what_it_is_and_keeps_other_metadata(coded: Path) -> None:
    codec, original = NeuralCodec.load(coded / "codec.safetensors", CPU), make_codec(SPECS["bmshj2018-factorized"])
    assert codec.spec == original.spec
    assert codec.encode(picture(37, 53)) == original.encode(picture(37, 53))
    with safe_open(coded / "codec.safetensors", "pt") as file:
        assert file.metadata()["identity"] == "kept too"


@pytest.mark.parametrize("spec", SPECS.values(), ids=SPECS)
def test_the_number_of_threads_changes_neither_bytes_nor_pictures(spec: Any) -> None:
    codec, image, seen = make_codec(spec), picture(64, 64), []
    compress, decompress = codec.model.compress, codec.model.decompress
    codec.model.compress = lambda *words: (seen.append(torch.get_num_threads()), compress(*words))[1]
    codec.model.decompress = lambda *words: (seen.append(torch.get_num_threads()), decompress(*words))[1]
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(3)
        codec.decode(codec.encode(image))
        assert torch.get_num_threads() == 3
    finally:
        torch.set_num_threads(before)
    assert seen == [1, 1]


def test_decode_writes_every_picture_and_prints_its_digest(
    coded: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out, codec = tmp_path / "new" / "out", make_codec(SPECS["bmshj2018-factorized"])
    assert decode(coded / "bits", coded / "codec.safetensors", out) == 0
    lines = capsys.readouterr().out.splitlines()
    for number, size in enumerate([(37, 53), (64, 64), (1, 1)]):
        digest = pixels_sha256(codec.decode(codec.encode(picture(*size))))
        assert png_sha256(out / f"{number}.png") == digest
        assert lines[number] == f"{digest}  {number}.png"
    (out / "1.png").write_bytes(b"an earlier picture")
    assert decode(coded / "bits" / "1.icm", coded / "codec.safetensors", out) == 0
    assert capsys.readouterr().out.splitlines() == [lines[1]]
    assert f"{png_sha256(out / '1.png')}  1.png" == lines[1]
    assert sorted(path.name for path in out.iterdir()) == ["0.png", "1.png", "2.png"]


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (lambda data: b"", "not an icmbench container"),
        (lambda data: data[:-1], "damaged"),
        (lambda data: data[:3] + bytes([data[3] + 1]) + data[4:], "does not fit the codec"),
    ],
)
def test_a_damaged_file_is_named_and_the_others_are_decoded(
    coded: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], damage: Any, reason: str
) -> None:
    bits = shutil.copytree(coded / "bits", tmp_path / "bits")
    (bits / "1.icm").write_bytes(damage((bits / "1.icm").read_bytes()))
    assert decode(bits, coded / "codec.safetensors", tmp_path / "out") == 1
    printed = capsys.readouterr()
    [line] = printed.err.splitlines()
    assert line.startswith(f"icmbench: {bits / '1.icm'}: ")
    assert reason in line
    assert [text.split()[1] for text in printed.out.splitlines()] == ["0.png", "2.png"]
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["0.png", "2.png"]


def test_a_codec_that_fails_on_one_file_does_not_stop_the_others(coded: Path, tmp_path: Path) -> None:
    files = decoding.find(coded / "bits")

    class Greedy:
        def encode(self, image: torch.Tensor) -> bytes:
            raise NotImplementedError

        def decode(self, data: bytes) -> torch.Tensor:
            if data == files[0].read_bytes():
                raise RuntimeError("can't allocate memory\nand a long story")
            return picture(4, 5)

    first, *rest = decoding.decode(files, Greedy(), tmp_path)
    assert first.problem == f"{files[0]} cannot be decoded: can't allocate memory."
    assert [found.sha256 for found in rest] == 2 * [pixels_sha256(picture(4, 5))]


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ("cut off", "cannot load a codec"),
        (None, "does not say which codec it holds"),
        ("{", "does not hold a valid codec"),
        ({"rm": "-rf"}, "does not hold a valid codec"),
        ({"architecture": "bmshj2018-factorised"}, "did you mean"),
        ({"sizes": {"N": 9, "M": 12}}, "cannot load codec weights"),
    ],
)
def test_a_codec_that_cannot_be_loaded_is_one_sentence(
    coded: Path, tmp_path: Path, refused: Refused, changes: Any, reason: str
) -> None:
    path, whole = tmp_path / "codec.safetensors", (coded / "codec.safetensors").read_bytes()
    fields = SPECS["bmshj2018-factorized"].model_dump()
    text = json.dumps(fields | changes) if isinstance(changes, dict) else changes
    spoiled = safetensors.torch.save(safetensors.torch.load(whole), None if text is None else {"codec": text})
    path.write_bytes(whole[:-100] if changes == "cut off" else spoiled)
    refused(["decode", coded / "bits", path, "out"], reason)


def test_missing_and_empty_folders_and_an_unwritable_out_are_one_sentence(coded: Path, tmp_path: Path, refused: Refused) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty" / ".hidden.icm").touch()
    (tmp_path / "file").touch()
    codec = coded / "codec.safetensors"
    refused(["decode", "nowhere", codec, "out"], "no file or folder")
    refused(["decode", "empty", codec, "out"], "no .icm files")
    refused(["decode", coded / "bits", tmp_path, "out"], "cannot load a codec")
    refused(["decode", coded / "bits", codec, "file"], "cannot write")


def test_file_names_are_safe_and_unique() -> None:
    names = FileNames()
    given = ["a.png", "A.JPG", "a", "../../etc/passwd", "val/0001.jpg", "val_0001", ".hidden", ""]
    given += ["x" * 300, "x" * 301, "a\0b\n", "ä b"]
    made = [names.name(sample) for sample in given]
    assert made[:8] == ["a", "A~2", "a~3", "_._.._etc_passwd", "val_0001", "val_0001~2", "_hidden", "_"]
    assert len({name.casefold() for name in made}) == len(given)
    assert all(len(name.encode()) < 200 and not set(name) & set("/\\\0\n :") for name in made)
    again = FileNames()
    assert [again.name(sample) for sample in given] == made


def interrupted(folder: Path) -> None:
    """Keep one file and be interrupted."""
    with writer(folder) as keep:
        keep("other.png", b"half of it")
        raise KeyboardInterrupt


def test_kept_bitstreams_appear_all_at_once_or_not_at_all(tmp_path: Path) -> None:
    folder = tmp_path / "bitstreams"
    with writer(folder) as keep:
        keep("one.png", b"first")
        keep("ONE.png", b"second")
        assert not folder.exists()
    assert {name: data for name, (data, _) in content(folder).items()} == {"one.icm": b"first", "ONE~2.icm": b"second"}
    with pytest.raises(KeyboardInterrupt):
        interrupted(folder)
    assert set(content(folder)) == {"one.icm", "ONE~2.icm"}
    (tmp_path / ".bitstreams.killed").mkdir()
    with writer(folder) as keep:
        keep("three.png", b"third")
    assert set(content(folder)) == {"three.icm"}
    assert [path.name for path in tmp_path.iterdir()] == ["bitstreams"]
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="cannot write"), writer(tmp_path / "file" / "bitstreams"):
        pass


@pytest.fixture(scope="module")
def finished(small_protocol: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One short cell, run with `--keep-bitstreams`."""
    folder = tmp_path_factory.mktemp("run")
    shutil.copy(small_protocol, folder / "short.toml")
    with contextlib.chdir(folder):
        assert run("--keep-bitstreams") == 0
    return folder


@pytest.fixture
def copy(finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of that cell's folders, in which commands run."""
    folder = shutil.copytree(finished, tmp_path / "copy")
    monkeypatch.chdir(folder)
    return folder


def run(*words: str) -> int:
    return cli([*RUN, "--protocol", "short.toml", *words])


def parts(folder: Path) -> tuple[Path, Path]:
    """The run folder of the only cell, and its record."""
    [cell] = (folder / "runs").glob("*@*/task_loss/lambda=*")
    [record] = (folder / "results").glob("*@*/task_loss/*.json")
    return cell, record


@pytest.mark.slow
def test_kept_bitstreams_are_those_the_score_came_from(finished: Path, tmp_path: Path) -> None:
    cell, record = parts(finished)
    rows = pd.read_parquet(record.with_suffix(".parquet"))
    files = {path.stem: path.stat().st_size for path in (cell / "bitstreams").iterdir()}
    assert files == {Path(row["image"]).stem: row["bits"] / 8 for _, row in rows.iterrows()}
    assert 8 * sum(files.values()) == rows["bits"].sum()
    assert json.loads(record.read_text())["bpp"] == pytest.approx(8 * sum(files.values()) / rows["pixels"].sum())
    command = [sys.executable, "-m", "icmbench", "decode", cell / "bitstreams", cell / "codec.safetensors", "out"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    digests = {Path(row["image"]).stem: row["decoded_sha256"] for _, row in rows.iterrows()}
    assert {path.stem: png_sha256(path) for path in (tmp_path / "out").iterdir()} == digests
    assert dict(reversed(line.split()) for line in done.stdout.splitlines()) == {f"{k}.png": v for k, v in digests.items()}


@pytest.mark.slow
def test_the_record_holds_the_cost_of_coding(finished: Path) -> None:
    _, record = parts(finished)
    cost = json.loads(record.read_text())["cost"]
    n, m = 48, 64
    macs = 25 * (3 * n / 4 + n * n / 16 + n * n / 64 + n * m / 256) + n * n * (1 / 4 + 1 / 16 + 1 / 64)
    rows = pd.read_parquet(record.with_suffix(".parquet"))
    for side in ("encoder", "decoder"):
        assert cost[side]["macs_per_pixel"] == pytest.approx(macs)  # pictures of 256 x 256 pixels are not padded
        low, high = cost[side]["quartiles"]
        assert cost[side]["seconds"] == pytest.approx(rows[f"{side[:-1]}_seconds"].median())
        assert 0 < low <= cost[side]["seconds"] <= high
    assert min(cost["recognizer"].values()) > 0
    assert cost["coding_peak_memory_mib"] > 0
    assert (cost["train_joules"], cost["training_only_parameters"]) == (None, 0)


@pytest.mark.slow
def test_bitstreams_asked_for_later_are_made_without_training_and_without_touching_the_record(
    copy: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cell, record = parts(copy)
    first, before, codec = content(cell / "bitstreams"), content(record.parent), (cell / "codec.safetensors").read_bytes()
    shutil.rmtree(cell / "bitstreams")
    assert run() == 0
    assert not (cell / "bitstreams").exists()
    assert run("--keep-bitstreams") == 0
    again = content(cell / "bitstreams")
    assert {name: data for name, (data, _) in again.items()} == {name: data for name, (data, _) in first.items()}
    assert content(record.parent) == before
    assert (cell / "codec.safetensors").read_bytes() == codec

    assert run("--keep-bitstreams") == 0
    assert content(cell / "bitstreams") == again  # made once

    shutil.rmtree(cell / "bitstreams")
    (cell / "codec.safetensors").unlink()
    capsys.readouterr()
    assert run("--keep-bitstreams") == 1
    assert "codec.safetensors is missing" in "".join(capsys.readouterr())
    assert not (cell / "bitstreams").exists()
    assert not (cell / "codec.safetensors").exists()
    assert content(record.parent) == before


@pytest.mark.slow
def test_a_codec_of_another_training_makes_no_bitstreams_for_a_record(copy: Path, capsys: pytest.CaptureFixture[str]) -> None:
    cell, _ = parts(copy)
    shutil.rmtree(cell / "bitstreams")
    with safe_open(cell / "codec.safetensors", "pt") as file:
        metadata = file.metadata()
    codec = NeuralCodec.load(cell / "codec.safetensors", CPU)
    with torch.no_grad():
        next(codec.model.g_a.parameters()).mul_(2)
    codec.save(cell / "codec.safetensors", metadata)
    assert run("--keep-bitstreams") == 1
    assert "its record says" in "".join(capsys.readouterr())
    assert not (cell / "bitstreams").exists()
