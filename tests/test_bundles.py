"""What a bundle must be before anything of it is run: every broken or hostile one is refused with its own reason."""

import io
import json
import shutil
import stat
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from cells import CPU, bound, folders

import bundles
from builders import make_protocol
from bundles import Change, Files, edit_manifest, edit_record, edit_rows, forge, list_files, manifest, read, records, write
from icmbench.base.errors import UserError
from icmbench.base.files import sha256
from icmbench.plugins.find import Plugins
from icmbench.schema.protocol import parse as parse_protocol
from icmbench.submission import archive, registry
from icmbench.submission.archive import Refused
from icmbench.submission.inspect import inspect
from icmbench.submission.manifest import MANIFEST, sample
from icmbench.submission.submit import pack

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]


def entry(name: str, mode: int = 0o100644) -> zipfile.ZipInfo:
    made = zipfile.ZipInfo("x", (1980, 1, 1, 0, 0, 0))
    made.filename = made.orig_filename = name
    made.external_attr, made.compress_type = mode << 16, zipfile.ZIP_DEFLATED
    return made


def with_members(path: Path, honest: Path, *members: tuple[zipfile.ZipInfo, bytes]) -> Path:
    """The honest bundle with further members."""
    path.write_bytes(honest.read_bytes())
    with zipfile.ZipFile(path, "a") as made:
        for info, data in members:
            made.writestr(info, data)
    return path


MEMBERS = {
    "is an absolute path": entry("/etc/evil"),
    "is an absolute path (Windows)": entry("C:evil"),
    "is an absolute path (backslash)": entry("..\\evil"),
    "leads out of the bundle": entry("records/../../evil"),
    "is a link or a device": entry("plugin/link.py", stat.S_IFLNK | 0o777),
    "is a link or a device (pipe)": entry("plugin/pipe", stat.S_IFIFO | 0o644),
    "is a folder": entry("plugin/"),
    "is not a plain path": entry("plugin//evil.py"),
    "is not a plain name": entry("plugin/\x1b[2Jevil.py"),
    "is not a plain name (long)": entry("plugin/" + "a" * 400),
    "is there twice": entry(MANIFEST),
    "is there twice (another case)": entry(MANIFEST.upper()),
}


@pytest.mark.parametrize("reason", MEMBERS)
def test_archives_with_odd_members_are_refused_before_anything_is_read(
    honest: Path, tmp_path: Path, reason: str, recwarn: pytest.WarningsRecorder
) -> None:
    path = with_members(tmp_path / "bad.zip", honest, (MEMBERS[reason], b"x"))
    with pytest.raises(Refused, match=reason.partition(" (")[0]):
        inspect(path)


def test_archives_that_expand_too_far_are_refused(honest: Path, tmp_path: Path) -> None:
    bomb = with_members(tmp_path / "bomb.zip", honest, (entry("plugin/zeros.py"), bytes(64 * 2**20)))
    with pytest.raises(Refused, match="expands more than 200 times"):
        inspect(bomb)


@pytest.mark.parametrize(("limit", "value", "reason"), [("MEMBERS", 5, "at most 5 are allowed"), ("BYTES", 1000, "expands to")])
def test_archives_beyond_the_limits_are_refused(
    honest: Path, monkeypatch: pytest.MonkeyPatch, limit: str, value: int, reason: str
) -> None:
    monkeypatch.setattr(archive, limit, value)
    with pytest.raises(Refused, match=reason):
        inspect(honest)


def test_encrypted_and_unusually_packed_members_are_refused(honest: Path, tmp_path: Path) -> None:
    packed = entry("plugin/odd.py")
    packed.compress_type = zipfile.ZIP_BZIP2
    with pytest.raises(Refused, match="packed in an unusual way"):
        inspect(with_members(tmp_path / "bzip2.zip", honest, (packed, b"x")))
    data = bytearray(honest.read_bytes())
    directory = data.rindex(b"PK\x01\x02")  # the last entry of the central directory
    data[directory + 8] |= 1
    (tmp_path / "secret.zip").write_bytes(data)
    with pytest.raises(Refused, match="is encrypted"):
        inspect(tmp_path / "secret.zip")


def test_what_is_no_archive_is_refused(honest: Path, tmp_path: Path) -> None:
    whole = honest.read_bytes()
    broken = bytearray(whole)
    broken[len(whole) // 2] ^= 0xFF
    for name, data in {"text": b"hello", "empty": b"", "cut": whole[: len(whole) // 2], "flipped": bytes(broken)}.items():
        path = tmp_path / f"{name}.zip"
        path.write_bytes(data)
        with pytest.raises(Refused, match=r"no zip archive|is damaged|not a zip archive|not a bundle|not the manifest's"):
            inspect(path)


def first(files: Files, key: str) -> str:
    """The file of the first cell under a key of the manifest."""
    name: str = manifest(files)["cells"][0][key]
    return name


def in_record(changes: dict[str, Any]) -> Change:
    """Change the first record."""
    return lambda files: edit_record(files, records(files)[0], changes)


def in_rows(change: Callable[[pd.DataFrame], pd.DataFrame]) -> Change:
    """Change the rows of the first record."""
    return lambda files: edit_rows(files, first(files, "rows"), change)


def in_cell(**changes: Any) -> Change:
    """Change the manifest's first cell."""

    def change(files: Files) -> None:
        cells = manifest(files)["cells"]
        edit_manifest(files, {"cells": [cells[0] | changes, *cells[1:]]})

    return change


def in_plugin(**changes: Any) -> Change:
    """Change what the manifest says of the plugin."""
    return lambda files: edit_manifest(files, {"plugin": manifest(files)["plugin"] | changes})


def drop(key: str) -> Change:
    """Leave a file of the first cell out, without the manifest's knowing."""
    return lambda files: files.pop(first(files, key))


def set_file(key: str, data: bytes) -> Change:
    """Put other bytes in the place of a file of the first cell."""
    return lambda files: files.update({first(files, key): data})


def without_first_cell(files: Files) -> None:
    cell = manifest(files)["cells"][0]
    edit_manifest(files, {"cells": manifest(files)["cells"][1:]})
    for name in [name for name in files if name in (cell["record"], cell["rows"], cell["log"], cell["codec"])]:
        del files[name]
    for name in [name for name in files if name.startswith(cell["folder"])]:
        del files[name]


def swap_bitstreams(files: Files) -> None:
    folder = first(files, "folder")
    one, two = f"{folder}/000000.icm", f"{folder}/000001.icm"
    files[one], files[two] = files[two], files[one]


def other_protocol(files: Files) -> None:
    for name in records(files):
        protocol = json.loads(files[name])["protocol"]
        protocol["training"]["steps"] += 1
        parsed = parse_protocol(protocol, "changed")
        edit_record(files, name, {"protocol": parsed.model_dump(mode="json", by_alias=True), "protocol_hash": parsed.hash})


def rename(files: Files) -> None:
    name = records(files)[0]
    files[name.replace("quality=10", "quality=11")] = files.pop(name)
    in_cell(record=name.replace("quality=10", "quality=11"))(files)


def edited(files: Files) -> None:
    name = records(files)[0]
    files[name] = files[name].replace(b'"psnr": ', b'"psnr": 1')
    list_files(files)


def revised(files: Files) -> None:
    files["plugin/plain.py"] += b"# better\n"
    list_files(files)


BROKEN: dict[str, tuple[Change, str]] = {
    "manifest is no JSON": (lambda files: files.update({MANIFEST: b"{"}), "is not valid"),
    "manifest is a list": (lambda files: files.update({MANIFEST: b"[]"}), "is not valid"),
    "manifest is nested deeply": (lambda files: files.update({MANIFEST: b"[" * 100_000}), "is not valid"),
    "no manifest": (lambda files: files.pop(MANIFEST), "has no manifest.json"),
    "another format": (lambda files: edit_manifest(files, {"format": 2}), "format"),
    "an unknown field": (lambda files: edit_manifest(files, {"note": "hi"}), "note"),
    "no authors": (lambda files: edit_manifest(files, {"about": {"authors": [], "licence": "MIT"}}), "authors"),
    "a link that is code": (
        lambda files: edit_manifest(files, {"about": {"authors": ["A"], "licence": "MIT", "link": "javascript:alert(1)"}}),
        "web address",
    ),
    "a path that leads out": (in_cell(folder="../../evil"), "plain path"),
    "an absolute path": (in_cell(record="/etc/passwd"), "plain path"),
    "a method called ..": (in_plugin(name=".."), "plugin.name"),
    "a file that is missing": (drop("rows"), "not in the archive"),
    "a file that nobody listed": (lambda files: files.update({"plugin/extra.py": b"x"}), "does not list"),
    "another size": (set_file("rows", b"short"), "bytes, but .* in the manifest"),
    "a record edited by hand": (edited, "does not match its hash"),
    "records of another version of the plugin": (revised, "another version of the plugin"),
    "other bytes": (lambda files: files.update({first(files, "record"): files[first(files, "record")][::-1]}), "was changed"),
}


LIES: dict[str, tuple[Change, str]] = {
    "fewer bits": (in_record({"bpp": 0.01}), "bpp"),
    "no bits": (in_record({"bpp": 0.0}), "bpp is 0"),
    "not a number": (in_record({"bpp": "NaN"}), "cannot be true|valid record"),
    "a better score": (in_record({"scores": {"mIoU": 80.0, "aAcc": 90.0, "mAcc": 85.0}}), "mIoU"),
    "a score above the ceiling": (in_record({"scores": {"mIoU": 99.9, "aAcc": 99.9, "mAcc": 99.9}}), "above the ceiling"),
    "no such schema": (in_record({"schema_version": 7}), "is not a valid record"),
    "a record of text": (set_file("record", b"hello"), "is not JSON"),
    "a record nested deeply": (set_file("record", b"[" * 100_000), "is not JSON"),
    "another method": (in_record({"method": "other"}), "records/"),
    "other parameters": (lambda files: edit_manifest(files, {"parameters": {"a": 1}}), "other parameters"),
    "another protocol": (other_protocol, "a record is of"),
    "a record in another's place": (rename, "where the record of its cell belongs"),
    "rows that are a pickle": (set_file("rows", b"\x80\x04cposix\nsystem\n(S'touch /tmp/evil'\ntR."), "is not a file of rows"),
    "rows of fewer images": (in_rows(lambda rows: rows.iloc[:2]), "its record has 4 images"),
    "an image twice": (in_rows(lambda rows: rows.assign(image="same")), "names an image twice"),
    "rows without bits": (in_rows(lambda rows: rows.drop(columns="bits")), "has no column 'bits'"),
    "rows with negative bits": (in_rows(lambda rows: rows.assign(bits=-rows["bits"])), "without bits"),
    "rows with text for bits": (in_rows(lambda rows: rows.assign(bits="many")), "is not a file of rows"),
    "a tally that is none": (in_rows(lambda rows: rows.assign(confusion=[[1, 2]] * 4)), "mIoU|hold a tally"),
    "bits that are not those of the bytes": (
        lambda files: files.update({f"{first(files, 'folder')}/000000.icm": b"x"}), "has 8 bits, but"
    ),
    "bitstreams in another order": (swap_bitstreams, "bits, but .* in the record's rows"),
    "too few bitstreams": (in_cell(shipped=[0]), "bitstreams that the protocol asks for|no use for"),
    "weights for a codec without": (
        lambda files: (files.update({"codecs/w.safetensors": b"x"}), in_cell(codec="codecs/w.safetensors")(files)),
        "with the weights of a codec",
    ),
    "no plugin": (in_plugin(module="elsewhere"), "lacks the source"),
    "a plugin full of data": (
        lambda files: files.update({"plugin/plain.py": files["plugin/plain.py"] + b"#" * 2**20}), "source is text"
    ),
    "a plugin that is no source": (
        lambda files: (
            files.update({"plugin/data.bin": b"x"}),
            in_plugin(files=["plugin/plain.py", "plugin/data.bin"])(files),
        ),
        "not a Python file",
    ),
    "a file for two things": (lambda files: in_cell(log=first(files, "rows"))(files), "for two things"),
    "a file for nothing": (lambda files: files.update({"extra/data.bin": b"x"}), "no use for 'extra/data.bin'"),
    "another ceiling": (in_record({"ceiling": {"mIoU": 99.0, "aAcc": 99.5, "mAcc": 99.2}}), "another ceiling"),
}  # fmt: skip


TRAINED_LIES: dict[str, tuple[Change, str]] = {
    "a hole in the curve": (without_first_cell, "has a hole"),
    "more steps": (
        lambda files: in_record({"cost": json.loads(files[records(files)[0]])["cost"] | {"steps": 2000}})(files), "budget"
    ),
    "another start": (in_record({"start_sha256": "0" * 64}), "start codec"),
    "no list of training images": (lambda files: files.pop("training-images.txt"), "lacks training-images.txt"),
    "training images that are none": (lambda files: files.update({"training-images.txt": b"many\n"}), "not a SHA-256"),
    "a codec without weights": (
        lambda files: (files.pop(first(files, "codec")), in_cell(codec=None)(files)), "without the weights"
    ),
}  # fmt: skip


CASES = [
    pytest.param(bundle, consistent, *case, id=what)
    for bundle, consistent, cases in (("honest", False, BROKEN), ("honest", True, LIES), ("trained", True, TRAINED_LIES))
    for what, case in cases.items()
]


@pytest.mark.parametrize(("bundle", "consistent", "change", "reason"), CASES)
def test_broken_bundles_and_those_that_cannot_be_true_are_refused(
    tmp_path: Path, request: pytest.FixtureRequest, bundle: str, consistent: bool, change: Change, reason: str
) -> None:
    with pytest.raises(Refused, match=reason):
        inspect(forge(tmp_path / "bad.zip", request.getfixturevalue(bundle), change, consistent))


def test_an_honest_bundle_is_read(honest: Path, trained: Path) -> None:
    found = inspect(honest)
    assert found.manifest.label == "plain"
    assert [claim.record.rate_point for claim in found.claims] == [{"quality": 10.0}, {"quality": 30.0}, {"quality": 60.0}]
    assert not found.training_images
    found = inspect(trained)
    assert len(found.claims) == 3
    assert len(found.training_images) == 4
    assert "train" not in found.manifest.files
    with zipfile.ZipFile(trained) as members:
        log = pd.read_csv(io.BytesIO(members.read(first(read(trained), "log"))))
    assert set(log["term"]) >= {"loss", "rate", "task"}


def test_the_same_inputs_give_the_same_bytes(honest: Path, tmp_path: Path) -> None:
    files = read(honest)
    path = tmp_path / "again.zip"
    archive.write(path, inspect(honest).manifest, {name: data for name, data in files.items() if name != MANIFEST})
    assert path.read_bytes() == honest.read_bytes()


def test_the_protocol_chooses_which_bitstreams_are_shipped() -> None:
    whole = make_protocol()
    some = make_protocol(evaluation={"metric": "AP", "submitted_bitstreams": 5})
    assert sample(whole, 20) == tuple(range(20))
    assert len(sample(some, 20)) == 5
    assert sample(some, 20) != sample(
        make_protocol(data={"source": "shapes", "seed": 1}, evaluation=some.evaluation.model_dump()), 20
    )


def test_a_refused_bundle_leaves_no_trace_in_the_results(honest: Path, tmp_path: Path) -> None:
    bad = write(tmp_path / "bad.zip", read(honest) | {"extra": b"x"})
    results = tmp_path / "results"
    found = inspect(honest)
    submission = registry.Submission(
        status="verified", protocol=found.manifest.protocol, label=found.manifest.label, about=found.manifest.about,
        bundle_sha256=sha256(bad), seals=(), accepted=registry.now(),
    )  # fmt: skip
    with pytest.raises(Refused):
        registry.accept(results, bad, submission)
    assert not results.exists()


def test_only_whole_and_current_records_are_packed(honest: Path, small_protocol: Path, tmp_path: Path) -> None:
    shutil.copytree(honest.parent, tmp_path / "work")
    plugins, there, out = Plugins((tmp_path / "work" / "plain.py",)), folders(tmp_path / "work"), tmp_path / "out.zip"
    rules = bound(small_protocol, plugins=plugins)
    with pytest.raises(UserError, match="there are no records of mse"):
        pack(plugins, there, CPU, rules, "mse", {}, bundles.ABOUT, out)
    (record, *_) = there.store.files()
    text = record.read_text()
    record.write_text(text.replace('"psnr": ', '"psnr": 1'))
    with pytest.raises(UserError, match=r"cannot be submitted: .*it was changed"):
        pack(plugins, there, CPU, rules, "plain", {}, bundles.ABOUT, out)
    record.write_text(text)
    pack(plugins, there, CPU, rules, "plain", {}, bundles.ABOUT, out)
    assert out.read_bytes() == honest.read_bytes()
    (tmp_path / "work" / "plain.py").write_text(bundles.PLAIN + "# better\n")
    with pytest.raises(UserError, match="another version of the plugin plain"):
        pack(plugins, there, CPU, rules, "plain", {}, bundles.ABOUT, out)


def test_a_curve_with_a_hole_is_not_packed(trained: Path, small_protocol: Path, tmp_path: Path) -> None:
    shutil.copytree(trained.parent, tmp_path / "work")
    there = folders(tmp_path / "work")
    next(there.store.files()).unlink()
    with pytest.raises(UserError, match="the curve has a hole: seed 0"):
        pack(Plugins(), there, CPU, bound(small_protocol), "task_loss", {}, bundles.ABOUT, tmp_path / "out.zip")
