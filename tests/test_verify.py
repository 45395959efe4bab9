"""Verification: honest bundles are verified, dishonest ones are not, and hostile code does no harm."""

import hashlib
import io
import json
import os
import pickle
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pandas as pd
import pytest
import safetensors.torch
import torch
from PIL import Image

import bundles
from bundles import Change, Files, edit_rows, forge, manifest, with_plugin
from icmbench.api.classes import make_task
from icmbench.cli.main import main
from icmbench.experiment.evaluate import pixels_sha256
from icmbench.extras.curves import external
from icmbench.plugins.find import Plugins
from icmbench.schema.protocol import parse
from icmbench.schema.store import Store
from icmbench.submission import registry, sandbox
from icmbench.submission.inspect import inspect
from icmbench.submission.sandbox import Limits
from icmbench.submission.verify import Verdict, verify

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300), pytest.mark.skipif(bool(sandbox.why_not()), reason=sandbox.why_not())]


@pytest.fixture
def judged(small_protocol: Path) -> Callable[[Path], Verdict]:
    """Verify a bundle under the small protocol."""
    return lambda path: verify(path, Plugins(), str(small_protocol))


def test_honest_bundles_are_verified(honest: Path, trained: Path, judged: Callable[[Path], Verdict]) -> None:
    for bundle in (honest, trained):
        verdict = judged(bundle)
        assert (verdict.status, verdict.reason) == ("verified", "")
        assert all(cell.same == cell.images == 4 for cell in verdict.cells)
        assert all(cell.score == pytest.approx(cell.claimed_score) for cell in verdict.cells)


def test_a_package_is_verified_like_a_single_file(honest: Path, tmp_path: Path, judged: Callable[[Path], Verdict]) -> None:
    def change(files: Files) -> None:
        source = files.pop("plugin/plain.py")
        files["plugin/plain_codec/__init__.py"] = source.replace(
            b"def encode", b"from plain_codec import parts\n\n    def encode"
        )
        files["plugin/plain_codec/parts.py"] = b""
        names = [name for name in files if name.startswith("plugin/")]
        bundles.edit_manifest(files, {"plugin": {"name": "plain", "module": "plain_codec", "files": names}})

    assert judged(forge(tmp_path / "package.zip", honest, change)).status == "verified"


def test_the_protocol_may_ask_for_a_sample_of_the_bitstreams(small_protocol: Path, tmp_path: Path) -> None:
    protocol = tmp_path / "sampled.toml"
    protocol.write_text(small_protocol.read_text().replace('metric = "mIoU"', 'metric = "mIoU"\nsubmitted_bitstreams = 2'))
    bundle = bundles.make(tmp_path, protocol, "plain", bundles.PLAIN)
    assert sum(name.endswith(".icm") for name in bundles.read(bundle)) == 2 * 3
    assert [len(cell["bitstreams"]) for cell in manifest(bundles.read(bundle))["cells"]] == [4, 4, 4]
    verdict = verify(bundle, Plugins(), str(protocol))
    assert (verdict.status, verdict.reason) == ("verified", "")
    assert [(cell.images, cell.same) for cell in verdict.cells] == [(2, 2)] * 3


def test_claims_that_the_bitstreams_do_not_bear_out_are_rejected(
    honest: Path, tmp_path: Path, judged: Callable[[Path], Verdict]
) -> None:
    def better(files: Files) -> None:
        """The scores of the highest rate at the lowest: records, rows, seals and digests agree; only the bytes do not."""
        low, *_, high = manifest(files)["cells"]
        best = pd.read_parquet(io.BytesIO(files[high["rows"]]))
        edit_rows(files, low["rows"], lambda rows: rows.assign(confusion=best["confusion"]))
        bundles.edit_record(files, low["record"], {"scores": json.loads(files[high["record"]])["scores"]})

    verdict = judged(forge(tmp_path / "better.zip", honest, better))
    assert verdict.status == "rejected"
    assert "the bundle claims" in verdict.reason


def test_what_was_coded_on_a_gpu_and_decodes_to_something_else_here_stays_a_claim(
    honest: Path, tmp_path: Path, judged: Callable[[Path], Verdict]
) -> None:
    def change(files: Files) -> None:
        sharper(files)
        for name in bundles.records(files):
            environment = json.loads(files[name])["environment"] | {"device": "NVIDIA H100 80GB HBM3"}
            bundles.edit_record(files, name, {"environment": environment})

    verdict = judged(forge(tmp_path / "gpu.zip", honest, change))
    assert verdict.status == "claimed"
    assert "made on NVIDIA H100 80GB HBM3" in verdict.reason


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


WRONG: dict[str, tuple[Change, str]] = {
    "a decoder that gives other pictures": (sharper, "in its row"),
    "a ceiling that is too high": (higher_ceiling, "for the ceiling, but here"),
    "another recogniser": (other_recogniser, "another recogniser"),
    "other images": (other_images, "mine-0"),
}


@pytest.mark.parametrize("what", WRONG)
def test_other_experiments_are_rejected(honest: Path, tmp_path: Path, judged: Callable[[Path], Verdict], what: str) -> None:
    change, reason = WRONG[what]
    verdict = judged(forge(tmp_path / "wrong.zip", honest, change))
    assert (verdict.status, reason in verdict.reason) == ("rejected", True), verdict.reason


def test_training_on_the_validation_images_is_noticed(
    trained: Path, small_protocol: Path, tmp_path: Path, judged: Callable[[Path], Verdict]
) -> None:
    rules = Plugins().protocol(str(small_protocol))
    image = make_task(Plugins(), rules.task, rules.data, rules.recognizer).dataset("val")[2].image
    digest = pixels_sha256(image).encode()
    bundle = forge(tmp_path / "val.zip", trained, lambda files: files.update({"training-images.txt": digest + b"\n"}))
    verdict = judged(bundle)
    assert verdict.status == "rejected"
    assert "trained on 1 of the images that it is scored on" in verdict.reason


class Evil:
    """A pickle that writes a file as it is loaded."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Callable[[str], int], tuple[str]]:
        return os.system, (f"touch {self.path}",)


def test_weights_are_never_unpickled(trained: Path, tmp_path: Path, judged: Callable[[Path], Verdict]) -> None:
    trace = tmp_path / "trace"

    def change(files: Files) -> None:
        for cell in manifest(files)["cells"]:
            files[cell["codec"]] = pickle.dumps(Evil(trace))

    verdict = judged(forge(tmp_path / "pickle.zip", trained, change))
    assert verdict.status == "rejected"
    assert "weights of a codec cannot be read" in verdict.reason
    assert not trace.exists()


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


WEIGHTS: dict[str, tuple[Change, str]] = {
    "another method's": (with_weights(lambda _, metadata: metadata.update(method="other")), "of another method"),
    "other parameters'": (with_weights(lambda _, metadata: metadata.update(parameters='{"a": 1}')), "of other parameters"),
    "more than declared": (with_weights(lambda tensors, _: tensors.update(table=torch.rand(4_000_000))), "declares take"),
    "others than the architecture's": (with_weights(lambda tensors, _: tensors.update(table=torch.rand(9))), "cannot load codec"),
}


@pytest.mark.parametrize("what", WEIGHTS)
def test_weights_that_are_not_the_codecs_are_rejected(
    trained: Path, tmp_path: Path, judged: Callable[[Path], Verdict], what: str
) -> None:
    change, reason = WEIGHTS[what]
    verdict = judged(forge(tmp_path / "weights.zip", trained, change))
    assert (verdict.status, reason in verdict.reason) == ("rejected", True), verdict.reason


def evil(line: str, where: str = "encode(self, image)") -> Change:
    """The plugin with a line of its own at the head of a function."""
    return with_plugin(bundles.PLAIN.replace(f"def {where}:", f"def {where}:\n        {line}"))


HOSTILE: dict[str, tuple[Change, str, str]] = {
    "it crashes": (evil("import os; os.kill(os.getpid(), 11)"), "rejected", "failed with status"),
    "it ends": (evil("import os; os._exit(0)"), "rejected", "without returning every image"),
    "it raises": (evil("raise RuntimeError('\x1b[31mno')"), "rejected", "no"),
    "it hangs": (evil("import time; time.sleep(1e6)"), "rejected", "it gave no result for 15 s"),
    "it gives another size": (
        evil("return torch.zeros(3, 8, 8, dtype=torch.uint8)", "decode(self, data)"), "rejected", "another size"
    ),
    "it gives links": (
        evil("import os; [os.symlink('/etc/passwd', name) for name in os.listdir('/scratch/in')]; os._exit(0)"),
        "rejected", "without returning every image",
    ),
    "it looks at the data set": (evil("import icmbench.tasks.segmentation"), "rejected", "imports tasks"),
    "it needs what is not here": (evil("import a_package_that_nobody_has"), "claimed", "a_package_that_nobody_has"),
}  # fmt: skip


@pytest.mark.parametrize("what", HOSTILE)
def test_hostile_codecs_never_take_the_verifier_down(
    honest: Path, tmp_path: Path, judged: Callable[[Path], Verdict], monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    change, status, reason = HOSTILE[what]
    if what == "it hangs":
        monkeypatch.setattr("icmbench.submission.sandbox_run.Limits", partial(Limits, idle_seconds=15))
    verdict = judged(forge(tmp_path / "hostile.zip", honest, change))
    assert (verdict.status, reason in verdict.reason) == (status, True), verdict.reason
    assert "\x1b" not in verdict.reason


HIDING = {
    "in files beside the bitstream": """
    def encode(self, image):
        data = super().encode(image)
        name = __import__("hashlib").sha256(data).digest()[:8]
        folder = __import__("pathlib").Path("{folder}")
        (folder / name.hex()).write_bytes(data)
        return name

    def decode(self, data):
        return super().decode(__import__("pathlib").Path("{folder}", data.hex()).read_bytes())
""",
    "in a table of the images": """
    def encode(self, image):
        digest = __import__("hashlib").sha256(super().encode(image)).digest()[:8]
        return digest if digest in TABLE else super().encode(image)

    def decode(self, data):
        return super().decode(TABLE.get(data, data))
""",
}


@pytest.mark.parametrize("where", HIDING)
def test_bits_hidden_outside_the_bitstream_are_noticed(
    small_protocol: Path, tmp_path: Path, judged: Callable[[Path], Verdict], where: str
) -> None:
    (tmp_path / "hidden").mkdir()
    cheat = HIDING[where].replace("{folder}", str(tmp_path / "hidden"))
    table = {}
    rules = Plugins().protocol(str(small_protocol))
    for sample in make_task(Plugins(), rules.task, rules.data, rules.recognizer).dataset("val"):
        for quality in (10, 30, 60):
            out = io.BytesIO()
            Image.fromarray(sample.image.permute(1, 2, 0).numpy()).save(out, "JPEG", quality=quality)
            table[hashlib.sha256(out.getvalue()).digest()[:8]] = out.getvalue()
    source = bundles.PLAIN.replace("class Plain(ClassicalMethod)", "class Honest")
    source += f"\n\nTABLE = {table!r}\n\n\nclass Cheat(Honest, ClassicalMethod):\n    rates = (10, 30, 60)\n{cheat}"
    verdict = judged(bundles.make(tmp_path, small_protocol, "cheat", source))
    assert verdict.status == "rejected"
    assert ("No such file" if "files" in where else "knows the images") in verdict.reason


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
