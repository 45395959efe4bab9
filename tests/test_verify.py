"""Verification: honest bundles are verified, dishonest ones are not, and hostile code does no harm."""

import hashlib
import io
import json
import multiprocessing
import os
import pickle
import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import IO, NoReturn

import pandas as pd
import pytest
import safetensors.torch
import torch
from PIL import Image

import bundles
from bundles import Change, Files, edit_rows, forge, manifest, with_plugin
from icmbench.api.classes import make_task
from icmbench.api.task import Dataset
from icmbench.cli.main import main
from icmbench.experiment.evaluate import pixels_sha256
from icmbench.extras.curves import external
from icmbench.plugins.find import Plugins
from icmbench.schema.protocol import parse
from icmbench.schema.store import Store
from icmbench.submission import registry, sandbox, worker
from icmbench.submission.inspect import inspect
from icmbench.submission.sandbox import Limits
from icmbench.submission.verify import Verdict, verify

Judge = Callable[..., Verdict]  # of a bundle, under the small protocol or another
pytestmark = [pytest.mark.slow, pytest.mark.timeout(300), pytest.mark.skipif(bool(sandbox.why_not()), reason=sandbox.why_not())]


class Forked(multiprocessing.get_context("fork").Process):  # type: ignore[misc,name-defined]
    """Stands in for the process in the sandbox: a fork of this one, which has everything loaded, without any walls."""

    def __init__(self, command: Sequence[str], stdout: IO[bytes], **_: object) -> None:
        inside, out = (Path(command[command.index(f"/scratch/{name}") - 1]) for name in ("in", "out"))
        super().__init__(target=self.work, args=(inside, out, stdout.fileno()))
        self.start()

    @staticmethod
    def work(inside: Path, out: Path, printed: int) -> NoReturn:
        sys.stdout = sys.stderr = os.fdopen(printed, "w", buffering=1)
        os.chdir(out)
        worker.IN, worker.OUT = inside, out
        sys.exit(worker.main())

    def poll(self) -> int | None:
        return self.exitcode  # type: ignore[no-any-return]

    def wait(self) -> int | None:
        self.join()
        return self.poll()


@pytest.fixture
def isolated(small_protocol: Path) -> Judge:
    """Verify a bundle under the small protocol."""
    return lambda path, protocol=small_protocol: verify(path, Plugins(), str(protocol))


@pytest.fixture
def judged(isolated: Judge, monkeypatch: pytest.MonkeyPatch) -> Judge:
    """The same in a fork, for everything but the walls."""
    monkeypatch.setattr(sandbox, "subprocess", SimpleNamespace(Popen=Forked, DEVNULL=None))
    return isolated


def test_an_honest_bundle_is_verified(trained: Path, isolated: Judge) -> None:
    verdict = isolated(trained)
    assert (verdict.status, verdict.reason) == ("verified", "")
    assert all(cell.same == cell.images == 4 for cell in verdict.cells)
    assert all(cell.score == pytest.approx(cell.claimed_score) for cell in verdict.cells)


def test_a_package_is_verified_like_a_single_file(honest: Path, tmp_path: Path, judged: Judge) -> None:
    def change(files: Files) -> None:
        source = files.pop("plugin/plain.py")
        files["plugin/plain_codec/__init__.py"] = source.replace(
            b"def encode", b"from plain_codec import parts\n\n    def encode"
        )
        files["plugin/plain_codec/parts.py"] = b""
        names = [name for name in files if name.startswith("plugin/")]
        bundles.edit_manifest(files, {"plugin": {"name": "plain", "module": "plain_codec", "files": names}})

    assert judged(forge(tmp_path / "package.zip", honest, change)).status == "verified"


def test_the_protocol_may_ask_for_a_sample_of_the_bitstreams(small_protocol: Path, tmp_path: Path, judged: Judge) -> None:
    protocol = tmp_path / "sampled.toml"
    protocol.write_text(small_protocol.read_text().replace('metric = "mIoU"', 'metric = "mIoU"\nsubmitted_bitstreams = 2'))
    bundle = bundles.make(tmp_path, protocol, "plain", bundles.PLAIN)
    assert sum(name.endswith(".icm") for name in bundles.read(bundle)) == 2 * 3
    assert [len(cell["bitstreams"]) for cell in manifest(bundles.read(bundle))["cells"]] == [4, 4, 4]
    verdict = judged(bundle, protocol)
    assert (verdict.status, verdict.reason) == ("verified", "")
    assert [(cell.images, cell.same) for cell in verdict.cells] == [(2, 2)] * 3


def better(files: Files) -> None:
    """The scores of the highest rate at the lowest: records, rows, seals and digests agree; only the bytes do not."""
    low, *_, high = manifest(files)["cells"]
    best = pd.read_parquet(io.BytesIO(files[high["rows"]]))
    edit_rows(files, low["rows"], lambda rows: rows.assign(confusion=best["confusion"]))
    bundles.edit_record(files, low["record"], {"scores": json.loads(files[high["record"]])["scores"]})


def on_a_gpu(files: Files) -> None:
    sharper(files)
    for name in bundles.records(files):
        environment = json.loads(files[name])["environment"] | {"device": "NVIDIA H100 80GB HBM3"}
        bundles.edit_record(files, name, {"environment": environment})


def sharper(files: Files) -> None:
    cell = manifest(files)["cells"][0]
    edit_rows(files, cell["rows"], lambda rows: rows.assign(psnr=rows["psnr"] + 3))
    record = json.loads(files[cell["record"]])
    bundles.edit_record(files, cell["record"], {"psnr": record["psnr"] + 3})


def higher_ceiling(files: Files) -> None:
    for name in bundles.records(files):
        bundles.edit_record(files, name, {"ceiling": dict.fromkeys(json.loads(files[name])["ceiling"], 100.0)})


def other_recogniser(files: Files) -> None:
    for name in bundles.records(files):
        fields = json.loads(files[name])["protocol"]
        fields["recognizer"]["checkpoint"] = {"path": "weights:my-own.safetensors", "sha256": "0" * 64}
        protocol = parse(fields, "forged")
        changes = {"protocol": protocol.model_dump(mode="json", by_alias=True), "protocol_hash": protocol.hash}
        bundles.edit_record(files, name, changes)
    bundles.edit_manifest(files, {"protocol": protocol.identity})


def other_images(files: Files) -> None:
    for cell in manifest(files)["cells"]:
        edit_rows(files, cell["rows"], lambda rows: rows.assign(image=[f"mine-{number}" for number in range(4)]))


class Evil:
    """A pickle that ends the process as it is loaded."""

    def __reduce__(self) -> tuple[Callable[[], NoReturn], tuple[()]]:
        return os.abort, ()


def pickled(files: Files) -> None:
    for cell in manifest(files)["cells"]:
        files[cell["codec"]] = pickle.dumps(Evil())


def with_weights(change: Callable[[dict[str, torch.Tensor], dict[str, str]], object]) -> Change:
    """Change the tensors and the metadata of every codec."""

    def changed(files: Files) -> None:
        for cell in manifest(files)["cells"]:
            data = files[cell["codec"]]
            length = int.from_bytes(data[:8], "little")
            metadata = json.loads(data[8 : 8 + length])["__metadata__"]
            tensors = safetensors.torch.load(data)
            change(tensors, metadata)
            files[cell["codec"]] = safetensors.torch.save(tensors, metadata)

    return changed


def evil(line: str, where: str = "encode(self, image)") -> Change:
    """The plugin with a line of its own at the head of a function."""
    return with_plugin(bundles.PLAIN.replace(f"def {where}:", f"def {where}:\n        {line}"))


WRONG: dict[str, tuple[str, Change, str, str]] = {
    "scores that the bitstreams do not bear out": ("honest", better, "rejected", "the bundle claims"),
    "coded on a GPU, and decoded to something else here": ("honest", on_a_gpu, "claimed", "made on NVIDIA H100 80GB HBM3"),
    "a decoder that gives other images": ("honest", sharper, "rejected", "in its row"),
    "a ceiling that is too high": ("honest", higher_ceiling, "rejected", "for the ceiling, but here"),
    "another recogniser": ("honest", other_recogniser, "rejected", "another recogniser"),
    "other images": ("honest", other_images, "rejected", "mine-0"),
    "weights that are pickled": ("trained", pickled, "rejected", "weights of a codec cannot be read"),
    "weights of another method": (
        "trained", with_weights(lambda _, metadata: metadata.update(method="other")), "rejected", "of another method"
    ),
    "weights of other parameters": (
        "trained", with_weights(lambda _, metadata: metadata.update(parameters='{"a": 1}')), "rejected", "of other parameters"
    ),
    "more weights than declared": (
        "trained", with_weights(lambda tensors, _: tensors.update(table=torch.rand(4_000_000))), "rejected", "declares take"
    ),
    "weights of another architecture": (
        "trained", with_weights(lambda tensors, _: tensors.update(table=torch.rand(9))), "rejected", "cannot load codec"
    ),
    "it crashes": ("honest", evil("import os; os.kill(os.getpid(), 9)"), "rejected", "failed with status"),
    "it ends": ("honest", evil("import os; os._exit(0)"), "rejected", "without returning every image"),
    "it raises": ("honest", evil("raise RuntimeError('\x1b[31mno')"), "rejected", "no"),
    "it hangs": ("honest", evil("import time; time.sleep(1e6)"), "rejected", "it gave no result for 2 s"),
    "it gives another size": (
        "honest", evil("return torch.zeros(3, 8, 8, dtype=torch.uint8)", "decode(self, data)"), "rejected", "another size"
    ),
    "it gives links": (
        "honest", evil("import os; [os.symlink('/etc/passwd', name) for name in os.listdir('../in')]; os._exit(0)"),
        "rejected", "without returning every image",
    ),
    "it needs what is not here": (
        "honest", evil("import a_package_that_nobody_has"), "claimed", "a_package_that_nobody_has"
    ),
}  # fmt: skip


@pytest.mark.parametrize("what", WRONG)
def test_dishonest_and_hostile_bundles_are_not_verified(
    tmp_path: Path, judged: Judge, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest, what: str
) -> None:
    bundle, change, status, reason = WRONG[what]
    if what == "it hangs":
        monkeypatch.setattr("icmbench.submission.sandbox_run.Limits", partial(Limits, idle_seconds=2))
    verdict = judged(forge(tmp_path / "wrong.zip", request.getfixturevalue(bundle), change))
    assert (verdict.status, reason in verdict.reason) == (status, True), verdict.reason
    assert "\x1b" not in verdict.reason


def test_training_on_the_validation_images_is_noticed(trained: Path, small_protocol: Path, tmp_path: Path, judged: Judge) -> None:
    digest = pixels_sha256(val_images(small_protocol)[2].image).encode()
    bundle = forge(tmp_path / "val.zip", trained, lambda files: files.update({"training-images.txt": digest + b"\n"}))
    verdict = judged(bundle)
    assert verdict.status == "rejected"
    assert "trained on 1 of the images that it is scored on" in verdict.reason


def val_images(protocol: Path) -> Dataset:
    """The images that are scored."""
    rules = Plugins().protocol(str(protocol))
    return make_task(Plugins(), rules.task, rules.data, rules.recognizer).dataset("val")


def test_a_codec_has_no_access_to_the_data_set(honest: Path, tmp_path: Path, isolated: Judge) -> None:
    verdict = isolated(forge(tmp_path / "looking.zip", honest, evil("import icmbench.tasks.segmentation")))
    assert (verdict.status, "imports tasks" in verdict.reason) == ("rejected", True), verdict.reason


HIDING = {
    "in files beside the bitstream": ("isolated", "No such file", """
    def encode(self, image):
        data = super().encode(image)
        name = __import__("hashlib").sha256(data).digest()[:8]
        folder = __import__("pathlib").Path("{folder}")
        (folder / name.hex()).write_bytes(data)
        return name

    def decode(self, data):
        return super().decode(__import__("pathlib").Path("{folder}", data.hex()).read_bytes())
"""),
    "in a table of the images": ("judged", "knows the images", """
    def encode(self, image):
        digest = __import__("hashlib").sha256(super().encode(image)).digest()[:8]
        return digest if digest in TABLE else super().encode(image)

    def decode(self, data):
        return super().decode(TABLE.get(data, data))
"""),
}  # fmt: skip


@pytest.mark.parametrize("where", HIDING)
def test_bits_hidden_outside_the_bitstream_are_noticed(
    small_protocol: Path, tmp_path: Path, request: pytest.FixtureRequest, where: str
) -> None:
    judge, reason, cheat = HIDING[where]
    (tmp_path / "hidden").mkdir()
    table = {}
    for sample in val_images(small_protocol):
        for quality in (10, 30, 60):
            out = io.BytesIO()
            Image.fromarray(sample.image.permute(1, 2, 0).numpy()).save(out, "JPEG", quality=quality)
            table[hashlib.sha256(out.getvalue()).digest()[:8]] = out.getvalue()
    source = bundles.PLAIN.replace("class Plain(ClassicalMethod)", "class Honest")
    source += f"\n\nTABLE = {table!r}\n\n\nclass Cheat(Honest, ClassicalMethod):\n    rates = (10, 30, 60)\n"
    source += cheat.replace("{folder}", str(tmp_path / "hidden"))
    verdict = request.getfixturevalue(judge)(bundles.make(tmp_path, small_protocol, "cheat", source))
    assert (verdict.status, reason in verdict.reason) == ("rejected", True), verdict.reason


def test_an_unknown_protocol_leaves_the_claim_a_claim(honest: Path) -> None:
    verdict = verify(honest, Plugins())
    assert verdict.status == "claimed"
    assert "has no protocol short-v1" in verdict.reason


def test_from_a_bundle_to_a_verified_row_and_back(
    honest: Path, small_protocol: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    where = ["--results", str(tmp_path)]
    assert main(["accept", str(honest), "--protocol", str(small_protocol), *where]) == 0
    assert "VERIFIED" in capsys.readouterr().out
    records, broken = Store(tmp_path).read()
    assert len(records) == 3
    assert not broken
    found, broken = registry.read(tmp_path)
    (submission,) = found.values()
    assert not broken
    assert (submission.status, submission.about.authors, len(submission.seals)) == ("verified", ("A. Author",), 3)
    assert [path.name for path in registry.source_files(tmp_path, submission)] == ["plain.py"]
    assert main(["retract", "plain", submission.protocol, "--reason", "a mistake", *where]) == 0
    assert Store(tmp_path).read() == ([], {})
    (submission,) = registry.read(tmp_path)[0].values()
    assert (submission.status, submission.reason) == ("retracted", "a mistake")
    assert main(["retract", "other", submission.protocol, "--reason", "a mistake", *where]) == 2


def test_a_bundle_may_stand_beside_the_methods_as_external(honest: Path, tmp_path: Path) -> None:
    points = [(0.1, 40.0), (0.2, 50.0), (0.4, 60.0)]
    registry.add_external(tmp_path, "plain, scored again", inspect(honest), points)
    (curve,) = external.read(tmp_path)[0]
    assert (curve.name, curve.points, curve.metric) == ("plain, scored again", tuple(points), "mIoU")
    assert curve.source == "A. Author; A test; decoded and scored again"
    assert Store(tmp_path).read() == ([], {})


def test_the_contract_of_a_bundle_is_tried_in_the_sandbox(honest: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", str(honest)]) == 0
    assert "5 of 5 points hold" in capsys.readouterr().out


def test_the_exit_status_tells_the_verdict(honest: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bad = forge(tmp_path / "bad.zip", honest, lambda files: files.update({"x": b""}))
    assert main(["verify", str(bad), "--json"]) == 1
    assert json.loads(capsys.readouterr().out)["status"] == "rejected"
    assert main(["accept", str(bad), "--results", str(tmp_path / "results")]) == 1
    assert not list((tmp_path / "results").iterdir())
    assert main(["verify", str(honest)]) == 3
    assert main(["verify", str(tmp_path / "none.zip")]) == 2
