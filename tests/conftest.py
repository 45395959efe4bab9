"""Fixtures shared by the tests."""

import os
import re
import shutil
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

import cells
import hypothesis
import numpy as np
import pytest
import torch
from PIL import Image

import bundles
from icmbench.api.classes import make_task
from icmbench.base.files import locked
from icmbench.cli.main import main
from icmbench.plugins.find import Plugins

Once = Callable[[str, Callable[[Path], object]], Path]
REPOSITORY = Path(__file__).resolve().parents[1]
DATA = Path(os.environ.get("ICMBENCH_DATA", REPOSITORY.parent / "shared"))

os.environ["ICMBENCH_DATA"] = str(DATA)
torch.set_num_threads(1)
# The same examples every time: what fails, fails because of the change. `--hypothesis-profile explore` looks for others.
hypothesis.settings.register_profile("same", deadline=None, derandomize=True)
hypothesis.settings.register_profile("explore", deadline=None, max_examples=5000)
hypothesis.settings.load_profile("same")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--regenerate", action="store_true", help="write the golden numbers anew")
    parser.addoption("--screenshots", type=Path, metavar="DIR", help="keep the pictures that the browser tests take")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip tests of the real data where it is absent, saying so. Files with many slow tests come first.

    A file stays in one process: a long one that began last would leave the other process idle.
    """
    slow = Counter(item.path for item in items if "slow" in item.keywords)
    items.sort(key=lambda item: -slow[item.path])
    if not (DATA / "data").is_dir():
        skip = pytest.mark.skip(reason=f"no real data at {DATA}; set ICMBENCH_DATA")
        for item in items:
            if "data" in item.keywords:
                item.add_marker(skip)


def short(folder: Path) -> Path:
    """The embedded segmentation protocol with two steps of two crops, four of its images, and all rate points but the last."""
    plugins = Plugins()
    rules = plugins.protocol("shapes-segmentation-v3")
    task = make_task(plugins, rules.task, rules.data, rules.recognizer)
    tables = []
    for split in ("train", "val"):
        folders = {"images": folder / split / "images", "masks": folder / split / "masks"}
        for path in folders.values():
            path.mkdir(parents=True)
        for number in range(4):
            sample = task.dataset(split)[number]
            Image.fromarray(sample.image.permute(1, 2, 0).numpy()).save(folders["images"] / f"{number}.png")
            Image.fromarray(sample.target.numpy().astype(np.uint8)).save(folders["masks"] / f"{number}.png")
        tables.append(f'{split} = {{ images = "{folders["images"]}", masks = "{folders["masks"]}" }}')
    text = plugins.protocols()["shapes-segmentation-v3"].read_text()
    # Two steps at the protocol's own learning rate throw the codec about: whether two curves then meet depends on the machine.
    fields = {"source": "\n".join(['"folders"', *tables]), "name": '"short-v1"', "steps": "2", "batch_size": "2", "lr": "1e-4"}
    for field, value in fields.items():
        text = re.sub(rf"^{field} = .*$", lambda _, field=field, value=value: f"{field} = {value}", text, flags=re.MULTILINE)
    path = folder / "short.toml"
    path.write_text(text[: text.rindex("[[rates]]")])
    return path


@pytest.fixture
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A cache folder of the test's own."""
    monkeypatch.setenv("ICMBENCH_CACHE", str(tmp_path / "cache"))


@pytest.fixture(scope="session")
def once(tmp_path_factory: pytest.TempPathFactory) -> Once:
    """Gives a file below a folder that the processes of this run share; the first one that asks makes it in its folder."""
    root = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        root = root.parent

    def made(name: str, make: Callable[[Path], object]) -> Path:
        path = root / name
        with locked(path.parent.with_suffix(".lock")):
            if not path.exists():
                path.parent.mkdir(exist_ok=True)
                make(path.parent)
        return path

    return made


@pytest.fixture(scope="session")
def small_protocol(once: Once) -> Path:
    """`short` in a folder that all tests share."""
    return once("protocol/short.toml", short)


@pytest.fixture
def short_protocol(small_protocol: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of `small_protocol` with its data in a fresh folder, which is the current one."""
    monkeypatch.chdir(tmp_path)
    shutil.copytree(small_protocol.parent, tmp_path, dirs_exist_ok=True)
    path = tmp_path / small_protocol.name
    path.write_text(path.read_text().replace(str(small_protocol.parent), str(tmp_path)))
    return path


@pytest.fixture(scope="session")
def honest(small_protocol: Path, once: Once) -> Path:
    """The bundle of a small classical codec, honestly made."""
    return once("honest/plain.zip", lambda folder: bundles.make(folder, small_protocol, "plain", bundles.PLAIN))


@pytest.fixture(scope="session")
def trained(small_protocol: Path, once: Once) -> Path:
    """The bundle of a trained codec, honestly made."""
    return once("trained/task_loss.zip", lambda folder: bundles.make(folder, small_protocol, "task_loss"))


@pytest.fixture
def refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> cells.Refused:
    """Checks that a command is refused in one sentence that contains a text, and changes nothing in the current folder."""
    monkeypatch.chdir(tmp_path)

    def check(words: Sequence[str | Path], expected: str) -> None:
        before = sorted(tmp_path.rglob("*"))
        assert main(list(map(str, words))) == 2
        printed = capsys.readouterr()
        assert printed.out == ""
        assert re.fullmatch(r"icmbench: [^\n]*\n", printed.err)
        assert expected in printed.err
        assert sorted(tmp_path.rglob("*")) == before

    return check
