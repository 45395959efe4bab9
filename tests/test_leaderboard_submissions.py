"""Submissions on the leaderboard: which rows are verified, who submitted them, and what is wrong with a bundle."""

import hashlib
import json
import subprocess
import sys
import zipfile
from pathlib import Path

import pandas as pd
import pytest

from builders import curve, make_protocol
from icmbench.base.files import sha256
from icmbench.leaderboard import bundles, derived, listings, views
from icmbench.leaderboard.derived import Tables
from icmbench.leaderboard.publish import files
from icmbench.leaderboard.views import Choice
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
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ICMBENCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def results(tmp_path: Path) -> Path:
    """The anchor at one seed."""
    for record in curve("task_loss", protocol=PROTOCOL, images=IMAGES):
        Store(tmp_path / "results").write(record)
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
    registry.accept(
        results,
        path,
        Submission(
            status=status,
            protocol=PROTOCOL.identity,
            label=method,
            about=ABOUT,
            bundle_sha256=sha256(path),
            seals=seals,
            images=12,
            same=11,
            accepted="2026-01-02T03:04:05+00:00",
        ),
    )


def statuses(tables: Tables) -> dict[str, str]:
    return {line["method"]: line["status"] for line in views.ranking(tables, OWN)}


def test_a_row_is_verified_only_where_all_its_records_are(results: Path, tmp_path: Path) -> None:
    accept(results, bundle(tmp_path / "mine.zip"))
    accept(results, bundle(tmp_path / "other.zip", "other"), "claimed", "other")
    assert statuses(derived.build(results)) == {"mine": "verified", "other": "claimed", "task_loss": "claimed"}
    for record in curve(
        "mine", 0.8, protocol=PROTOCOL, seed=1, images=IMAGES, method_sha256=digest({"mine.py": SOURCE.encode()})
    ):  # nobody has verified these
        path = Store(results).write(record)
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
    assert views.retracted(tables, PROTOCOL.identity) == [("mine", "trained on the test <images>")]


def test_a_file_that_is_no_submission_is_set_aside(results: Path, tmp_path: Path) -> None:
    accept(results, bundle(tmp_path / "mine.zip"))
    path = registry.folder_of(results, PROTOCOL.identity, "mine") / "submission.json"
    path.write_text("{")
    tables = derived.build(results)
    assert statuses(tables)["mine"] == "claimed"
    assert tables.broken["path"].tolist() == [str(path.relative_to(results))]


def test_the_card_says_who_submitted_it_and_shows_the_source(results: Path, tmp_path: Path) -> None:
    accept(results, bundle(tmp_path / "mine.zip"))
    tables = derived.build(results)
    line = views.submission(tables, PROTOCOL.identity, "mine")
    assert line is not None
    found = {cells[0].text: cells[1] for cells in listings.submission(line, 5).lines}
    assert found["authors"].text == "Ada <b>, Émilie"
    assert (found["licence"].text, found["link"].href) == ("MIT", "https://example.org/mine")
    assert (found["bitstreams decoded"].value, found["of them to the same pixels"].value) == (12, 11)
    assert found["verified on"].text.startswith("2026-01-02")
    assert found["records that this covers"].text == "4 of 5"
    assert json.loads(line["source"]) == {"plugin/mine.py": SOURCE}
    assert views.submission(tables, PROTOCOL.identity, "task_loss") is None
    assert views.docstring(Plugins(), "mine", {"plugin/mine.py": SOURCE}) == (
        "</script><script>alert(1)</script>",
        "plugin/mine.py",
    )
    assert views.docstring(Plugins(), "mine", {"plugin/mine.py": "def"}) == ("", "plugin/mine.py")
    assert views.docstring(Plugins(), "jpeg", {})[1].endswith("jpeg.py")
    pages = files(results)
    card = pages[f"protocols/{PROTOCOL.identity}/methods/mine.html"].decode()
    assert "&lt;/script&gt;&lt;script&gt;alert(1)" in card
    assert "Ada &lt;b&gt;" in card
    assert 'icm-badge icm-verified">verified' in pages[f"protocols/{PROTOCOL.identity}/index.html"].decode()


def test_a_link_that_could_run_something_is_no_link() -> None:
    line = dict.fromkeys(("reason", "title", "accepted", "changed", "device", "icmbench", "bundle_sha256"), "")
    given = line | {
        "method": "x",
        "status": "claimed",
        "authors": "[]",
        "licence": "MIT",
        "covered": "[]",
        "bitstreams": 0,
        "same": 0,
    }
    assert "href" not in listings.submission(given | {"link": "javascript:alert(1)"}, 0).html()


def test_a_sound_bundle_is_told_and_nothing_of_it_is_run(tmp_path: Path) -> None:
    found = bundles.look(bundle(tmp_path / "mine.zip").read_bytes())
    assert (found.problem, found.protocol) == ("", PROTOCOL.identity)
    about, claims = found.sheets
    assert {line[0].text: line[1].text for line in about.lines}["authors"] == "Ada <b>, Émilie"
    assert "<b>" not in about.html()
    assert [line[0].text for line in claims.lines] == ["λ=0.1", "λ=0.3", "λ=1", "λ=3"]
    assert not (tmp_path / "run").exists()


def test_a_server_that_looks_at_bundles_needs_no_torch() -> None:
    modules = ["app", "bundles", "publish", "screens.submit", "submitted"]
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
