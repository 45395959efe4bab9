"""Submissions on the leaderboard: which rows are verified, who submitted them, and what is wrong with a bundle."""

import hashlib
import json
import subprocess
import sys
import zipfile
from pathlib import Path

import pandas as pd
import pytest
from boards import write

from builders import curve, make_protocol
from icmbench.base.files import sha256
from icmbench.leaderboard import bundles, derived, listings, pages
from icmbench.leaderboard.derived import Tables
from icmbench.leaderboard.publish import files
from icmbench.leaderboard.views import Choice, View
from icmbench.plugins.find import Plugins
from icmbench.plugins.source import digest
from icmbench.schema.record import Record, seal
from icmbench.schema.store import Store
from icmbench.submission import archive, registry
from icmbench.submission.manifest import ENVIRONMENT, TRAINING_IMAGES, About, Cell, Manifest, Plugin, sample
from icmbench.submission.registry import Submission

PROTOCOL = make_protocol()
OWN = Choice(PROTOCOL.identity, "task_loss")
IMAGES = 3
PIXELS = 8_000
ABOUT = About(authors=["Ada <b>", "Émilie"], licence="MIT", title="Mine", link="https://example.org/mine")
SOURCE = '"""</script><script>alert(1)</script>"""\nopen("run", "w").close()\n'


@pytest.fixture(autouse=True)
def _own_folders(own_cache: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def results(tmp_path: Path) -> Path:
    """The anchor at one seed."""
    write(tmp_path / "results", curve("task_loss", protocol=PROTOCOL, images=IMAGES))
    return tmp_path / "results"


def bundle(path: Path, method: str = "mine", factor: float = 0.8, seed: int = 0) -> Path:
    """A sound bundle of a method at `factor` times the anchor's rate."""
    content: dict[str, Path | bytes] = {f"plugin/{method}.py": SOURCE.encode(), ENVIRONMENT: b"numpy\n", TRAINING_IMAGES: b""}
    cells = tuple(_cell(content, record) for record in curve(method, factor, protocol=PROTOCOL, seed=seed))
    made = Manifest(
        about=ABOUT,
        protocol=PROTOCOL.identity,
        parameters={},
        label=method,
        plugin=Plugin(name=method, files=(f"plugin/{method}.py",)),
        cells=cells,
        files={name: archive.describe(data) for name, data in content.items()},
    )
    archive.write(path, made, content)
    return path


def _cell(content: dict[str, Path | bytes], record: Record) -> Cell:
    """Add a record with its rows, bitstreams and weights to the content of a bundle."""
    place = Store(Path("records")).path_of(record)
    stem = f"records/{record.label}/{place.stem}"
    streams = [bytes([number + 1]) * round(record.bpp * PIXELS / 8) for number in range(IMAGES)]
    bits = 8 * len(streams[0])
    numbers = {"bits": bits, "pixels": PIXELS, "estimated_bits": 0.99 * bits, "psnr": 30.0, "decoded_sha256": "0" * 64}
    rows = pd.DataFrame({"image": [f"{number}.png" for number in range(IMAGES)]} | numbers).to_parquet()
    rate = bits / PIXELS
    sums = {"bpp": rate, "bpp_mean": rate, "estimated_bpp": 0.99 * rate, "images": IMAGES}
    digests = {"rows_sha256": hashlib.sha256(rows).hexdigest(), "method_sha256": digest({f"{record.label}.py": SOURCE.encode()})}
    fields = json.loads(record.model_copy(update=sums | digests).model_dump_json(by_alias=True))
    shipped = sample(PROTOCOL, IMAGES)
    content[f"{stem}.json"] = json.dumps(fields | {"content_sha256": seal(fields)}).encode()
    content[f"{stem}.parquet"], content[f"{stem}.safetensors"] = rows, b"weights"
    content |= {f"{stem}/{number:06d}.icm": streams[number] for number in shipped}
    return Cell(
        record=f"{stem}.json",
        rows=f"{stem}.parquet",
        codec=f"{stem}.safetensors",
        folder=stem,
        bitstreams=tuple(hashlib.sha256(stream).hexdigest() for stream in streams),
        shipped=shipped,
    )


def accept(results: Path, path: Path, status: registry.Status = "verified", method: str = "mine") -> None:
    """Add a bundle as one that was verified, or that could not be."""
    with archive.opened(path) as opened:
        seals = registry.seals(opened, registry.contents(opened))
    given = {"status": status, "label": method, "about": ABOUT, "seals": seals, "images": 12, "same": 11}
    when = {"protocol": PROTOCOL.identity, "bundle_sha256": sha256(path), "accepted": "2026-01-02T03:04:05+00:00"}
    registry.accept(results, path, Submission.model_validate(given | when))


def statuses(tables: Tables) -> dict[str, str]:
    return {line["method"]: line["status"] for line in View(tables, OWN).ranking}


def test_a_row_is_verified_only_where_all_its_records_are(results: Path, tmp_path: Path) -> None:
    accept(results, bundle(tmp_path / "mine.zip"))
    accept(results, bundle(tmp_path / "other.zip", "other"), "claimed", "other")
    assert statuses(derived.build(results)) == {"mine": "verified", "other": "claimed", "task_loss": "claimed"}
    source = digest({"mine.py": SOURCE.encode()})
    more = curve("mine", 0.8, protocol=PROTOCOL, seed=1, images=IMAGES, method_sha256=source)
    path = write(results, more)  # nobody has verified these
    assert statuses(derived.build(results))["mine"] == "claimed"
    for other in path.parent.glob("*,seed=1.json"):
        other.unlink()
    assert statuses(derived.build(results))["mine"] == "verified"


def test_a_submission_that_changes_shows_and_compares_nothing_again(results: Path, tmp_path: Path) -> None:
    accept(results, bundle(tmp_path / "mine.zip"), "claimed")
    before = derived.signature(results)
    assert statuses(derived.build(results))["mine"] == "claimed"
    heard: list[str] = []
    path = registry.folder_of(results, PROTOCOL.identity, "mine") / "submission.json"
    path.write_text(path.read_text().replace('"claimed"', '"verified"'))
    assert statuses(derived.build(results, heard.append))["mine"] == "verified"
    assert heard == []  # no table was made for that
    assert derived.signature(results) != before
    registry.retract(results, PROTOCOL.identity, "mine", "trained on the test <images>")
    tables = derived.build(results)
    assert statuses(tables) == {"task_loss": "claimed"}
    assert View(tables, OWN).retracted == [("mine", "trained on the test <images>")]


def test_a_file_that_is_no_submission_is_set_aside(results: Path, tmp_path: Path) -> None:
    accept(results, bundle(tmp_path / "mine.zip"))
    path = registry.folder_of(results, PROTOCOL.identity, "mine") / "submission.json"
    path.write_text("{")
    tables = derived.build(results)
    assert statuses(tables)["mine"] == "claimed"
    assert tables.broken["path"].tolist() == [str(path.relative_to(results))]


def test_the_card_says_who_submitted_it_and_shows_the_source(results: Path, tmp_path: Path) -> None:
    accept(results, bundle(tmp_path / "mine.zip"))
    view = View(derived.build(results), OWN)
    line = view.submission("mine")
    assert line is not None
    found = {cells[0].text: cells[1] for cells in listings.submission(line, 5).lines}
    assert found["authors"].text == "Ada <b>, Émilie"
    assert (found["licence"].text, found["link"].href) == ("MIT", "https://example.org/mine")
    assert (found["bitstreams decoded"].value, found["of them to the same pixels"].value) == (12, 11)
    assert found["verified on"].text.startswith("2026-01-02")
    assert found["records that this covers"].text == "4 of 5"
    assert json.loads(line["source"]) == {"plugin/mine.py": SOURCE}
    assert view.submission("task_loss") is None
    path = "plugin/mine.py"
    assert pages.docstring(Plugins(), "mine", {path: SOURCE}) == ("</script><script>alert(1)</script>", path)
    assert pages.docstring(Plugins(), "mine", {path: "def"}) == ("", path)
    assert pages.docstring(Plugins(), "jpeg", {})[1].endswith("jpeg.py")
    made = files(results)
    card = made[f"protocols/{PROTOCOL.identity}/methods/mine.html"].decode()
    assert "&lt;/script&gt;&lt;script&gt;alert(1)" in card
    assert "Ada &lt;b&gt;" in card
    assert 'icm-badge icm-verified">verified' in made[f"protocols/{PROTOCOL.identity}/index.html"].decode()


def test_a_link_that_could_run_something_is_no_link() -> None:
    line = dict.fromkeys(("method", "status", "reason", "title", "licence", "accepted", "changed", "device", "bundle_sha256"), "")
    given = line | {"authors": "[]", "covered": "[]", "bitstreams": 0, "same": 0}
    for link, leads in (("javascript:alert(1)", False), ("https://example.org", True)):
        assert ("href" in listings.submission(given | {"link": link}, 0).html()) == leads


def test_a_sound_bundle_is_told_and_nothing_of_it_is_run(tmp_path: Path) -> None:
    found = bundles.look(bundle(tmp_path / "mine.zip").read_bytes())
    assert (found.problem, found.protocol) == ("", PROTOCOL.identity)
    about, claims = found.sheets
    assert {line[0].text: line[1].text for line in about.lines}["authors"] == "Ada <b>, Émilie"
    assert "<b>" not in about.html()
    assert [line[0].text for line in claims.lines] == ["λ=0.1", "λ=0.3", "λ=1", "λ=3"]
    assert not (tmp_path / "run").exists()


def test_a_server_that_looks_at_bundles_needs_no_torch() -> None:
    modules = ["app", "bundles", "publish", "screens", "submitted"]
    code = f"import sys, {', '.join(f'icmbench.leaderboard.{name}' for name in modules)}\nassert 'torch' not in sys.modules"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_what_is_wrong_with_a_bundle_is_told_in_words(tmp_path: Path) -> None:
    path = bundle(tmp_path / "mine.zip")
    assert bundles.look(b"no zip").problem.startswith("bundle.zip is not a zip archive")
    changed = tmp_path / "changed.zip"
    with zipfile.ZipFile(path) as source, zipfile.ZipFile(changed, "w") as made:
        for name in source.namelist():
            made.writestr(name, source.read(name).replace(b'"AP": 20.0', b'"AP": 90.0'))
    found = bundles.look(changed.read_bytes())
    assert "is damaged or was changed" in found.problem
    assert found.sheets == ()
    assert str(tmp_path) not in found.problem
