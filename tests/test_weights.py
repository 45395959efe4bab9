"""Weights files: found, verified, and a clear sentence where they are not."""

import hashlib
from pathlib import Path

import pytest

from icmbench.base.errors import UserError
from icmbench.plugins.weights import local_path, verified_path
from icmbench.schema.protocol import Weights

CONTENT = b"some weights"
SHA = hashlib.sha256(CONTENT).hexdigest()


@pytest.fixture(autouse=True)
def folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("data", "cache"):
        (tmp_path / name).mkdir()
        monkeypatch.setenv(f"ICMBENCH_{name.upper()}", str(tmp_path / name))


def weights(path: str, sha256: str = SHA) -> Weights:
    return Weights(path=path, sha256=sha256)


@pytest.mark.parametrize("sha256", [SHA, SHA[:8]])
def test_a_file_is_found_below_the_data_folder_or_by_its_absolute_path(tmp_path: Path, sha256: str) -> None:
    path = tmp_path / "data" / "models" / "a.pth"
    path.parent.mkdir()
    path.write_bytes(CONTENT)
    assert verified_path(weights("models/a.pth", sha256)) == path
    assert verified_path(weights(str(path), sha256)) == path


@pytest.mark.parametrize("path", ["nowhere.pth", "weights:nowhere.safetensors", "file:///etc/passwd", "http://a.b/c.pth"])
def test_a_missing_file_is_named_with_where_it_should_lie(path: str) -> None:
    with pytest.raises(UserError, match="missing: there is no file") as caught:
        verified_path(weights(path))
    assert path in str(caught.value)
    assert str(local_path(weights(path))) in str(caught.value)


def test_a_folder_is_no_file(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="missing"):
        verified_path(weights(str(tmp_path)))


@pytest.mark.parametrize("sha256", ["0" * 64, "0" * 8, SHA[:-1] + "0", SHA[:7] + "0"])
def test_another_file_of_the_same_name_is_refused(tmp_path: Path, sha256: str) -> None:
    (tmp_path / "data" / "a.pth").write_bytes(CONTENT)
    assert not SHA.startswith(sha256)
    with pytest.raises(UserError, match="another file") as caught:
        verified_path(weights("a.pth", sha256))
    assert SHA in str(caught.value)
    assert sha256 in str(caught.value)


def test_a_download_that_is_already_there_is_verified_and_taken() -> None:
    wanted = weights("https://example.invalid/a.pth")
    local_path(wanted).parent.mkdir()
    local_path(wanted).write_bytes(CONTENT)
    assert verified_path(wanted) == local_path(wanted)
    local_path(wanted).write_bytes(b"cut off")
    with pytest.raises(UserError, match="damaged"):
        verified_path(wanted)


def test_downloads_of_the_same_name_from_different_places_do_not_collide(tmp_path: Path) -> None:
    one, other = weights("https://a.invalid/model.pth"), weights("https://b.invalid/model.pth", "0" * 64)
    assert local_path(one) != local_path(other)
    assert local_path(one).is_relative_to(tmp_path / "cache")
    assert local_path(one).suffix == ".pth"


@pytest.mark.parametrize("url", ["https://127.0.0.1:1/a.pth", "https://127.0.0.1:1/with space.pth", "https://[/a.pth"])
def test_a_failed_download_says_what_to_do_and_leaves_nothing(url: str) -> None:
    wanted = weights(url)
    with pytest.raises(UserError, match="cannot fetch") as caught:
        verified_path(wanted)
    assert str(local_path(wanted)) in str(caught.value)
    assert not local_path(wanted).exists()
