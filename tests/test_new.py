"""`icmbench new`: what it writes works at once. `icmbench check`: what it says about the mistakes that are made from there."""

import os
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from cells import INLINE, run_here

from icmbench.base.errors import UserError
from icmbench.cli.main import main
from icmbench.extras.authoring.check import Result, check, summary
from icmbench.extras.authoring.new import Kind, commands, write
from icmbench.plugins.find import Plugins

REPOSITORY = Path(__file__).resolve().parents[1]
FORMS = [(kind, single) for kind in ("method", "task") for single in (False, True)]
NAMES = ["mx", "my_new_one", "a_rather_long_name_of_forty_characters_x"]
BUILD = "import sys; from setuptools.build_meta import build_wheel; build_wheel(sys.argv[1])"
SHORT = ["--rates", "1", "--no-anchor", "--set", "training.steps=2", "--set", "training.batch_size=2", *INLINE]


def python(*words: str | Path, cwd: Path, path: Path | None = None) -> str:
    """What a Python process prints, with `path` on sys.path; it must succeed."""
    environment = os.environ | ({"PYTHONPATH": str(path)} if path else {})
    command = [sys.executable, *map(str, words)]
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, env=environment, timeout=600, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def installed(package: Path, target: Path) -> Path:
    """The package, built as a wheel and laid out in `target` as an installer does, metadata included."""
    target.mkdir()
    python("-c", BUILD, target, cwd=package)
    (wheel,) = target.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(target)
    return target


def made(kind: Kind, single: bool, folder: Path) -> tuple[Path, Path | None]:
    """A new plugin `mine`: the folder to work in, and the one that it is installed in."""
    write(kind, "mine", folder, single, Plugins())
    return (folder, None) if single else (folder / "mine", installed(folder / "mine", folder / "installed"))


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(("kind", "single"), FORMS)
def test_what_is_written_is_clean(kind: Kind, single: bool, name: str, tmp_path: Path) -> None:
    written = write(kind, name, tmp_path, single, Plugins())
    assert sorted(path for path in tmp_path.rglob("*") if path.is_file()) == sorted(written)
    assert not [path for path in written if "{{" in path.read_text() or not path.read_text().endswith("\n")]
    rules = ["--no-cache", "--config", str(REPOSITORY / "pyproject.toml")]
    for configured in (rules, rules[:1])[: 1 if single else 2]:  # a package has rules of its own
        python("-m", "ruff", "check", *configured, tmp_path, cwd=tmp_path)
        python("-m", "ruff", "format", "--check", *configured, tmp_path, cwd=tmp_path)


@pytest.mark.parametrize(("kind", "single"), FORMS)
def test_it_is_found_with_its_protocol(kind: Kind, single: bool, tmp_path: Path) -> None:
    folder, path = made(kind, single, tmp_path)
    loose = f"(Path('{folder}/mine.py'),)" if single else "()"
    code = f"from pathlib import Path; from icmbench.plugins.find import Plugins; p = Plugins({loose})\n"
    code += f"f = p.find('{kind}s')['mine']; "
    code += "print([f.problem], len(f.summary) > 10); "
    if kind == "task":
        code += "r = p.protocol(p.default_protocol('mine')); print(r.name, r.task)"
    expected = "[''] True\n" + ("mine-v1 mine\n" if kind == "task" else "")
    assert python("-c", code, cwd=tmp_path, path=path) == expected


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "single"), [("method", False), ("task", True)])  # one of each; all forms share their templates
def test_its_own_test_passes_and_it_runs(kind: Kind, single: bool, small_protocol: Path, tmp_path: Path) -> None:
    folder, path = made(kind, single, tmp_path)
    protocol = ["--protocol", str(small_protocol)] if kind == "method" else []  # a new task has its own
    words = [*commands(kind, "mine", single)[1].split()[1:], *SHORT, *protocol]
    code = "import pytest; from icmbench.cli.main import main\n"
    code += f"assert pytest.main(['-p', 'no:cacheprovider']) == 0\nassert main({words}) == 0"
    printed = python("-c", code, cwd=folder, path=path)
    assert "1 passed" in printed
    assert "1 of 1 cells" in printed
    assert list((folder / "results").rglob("*.json"))


@pytest.mark.slow
def test_the_check_that_it_names_says_how_many_points_hold(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, _ = made("task", True, tmp_path)
    monkeypatch.chdir(folder)
    assert main(commands("task", "mine", True)[0].split()[1:]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[-1] == f"{len(lines) - 1} of {len(lines) - 1} points hold."


@pytest.mark.parametrize(("kind", "single"), FORMS)
def test_the_command_says_what_it_wrote_and_what_comes_next(
    kind: Kind, single: bool, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["new", kind, "mine", "--into", str(tmp_path), *(["--file"] if single else [])]) == 0
    printed = capsys.readouterr().out
    for path in tmp_path.rglob("*"):
        assert path.is_dir() or str(path) in printed
    for line in commands(kind, "mine", single):
        assert line in printed
    assert ("--editable" in printed) == (not single)


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        *((name, "use 2 to 40 of a-z, 0-9 and _, a letter first") for name in ("Mine", "my-method", "2nd", "_mine", "möbel")),
        *((name, "use 2 to 40 of a-z, 0-9 and _, a letter first") for name in ("", "x", "x" * 41, "../mine", "mine\n")),
        ("lambda", "keyword of Python"),
        ("match", "keyword of Python"),
        ("none", "keyword of Python"),
        ("random", "Python module called random"),
        ("numpy", "Python module called numpy"),
        ("icmbench", "Python module called icmbench"),
        ("task_loss", "a method called task_loss already"),
        ("detection", "a task called detection already"),
        ("trained_method", "uses the word TrainedMethod"),
    ],
)
def test_a_bad_name_is_refused_and_nothing_is_written(name: str, reason: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=reason):
        write("method", name, tmp_path / "here", True, Plugins())
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("single", [False, True])
def test_nothing_is_written_over(single: bool, tmp_path: Path) -> None:
    (tmp_path / ("test_mine.py" if single else "mine")).touch()
    with pytest.raises(UserError, match=r"mine.* exists already"):
        write("method", "mine", tmp_path, single, Plugins())
    assert len(list(tmp_path.iterdir())) == 1


def test_a_folder_that_cannot_be_written_is_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="cannot write"):
        write("method", "mine", tmp_path / "file", True, Plugins())


LOSS = "    def loss(self, batch"
ATTRIBUTE = r"line \d+ of mine.py: AttributeError: .*gamma"
LOADED, TERMS = "can be loaded", "The loss is a set of named"
VAL = "    def build(self):\n        self.seen = self.task.dataset('val')\n\n"
FROZEN = "    def build(self):\n        self.codec.requires_grad_(False)\n\n"
STOLEN = "    def build(self):\n        self.stolen = self.task.recognizer.requires_grad_(True).train()\n\n"
COUNTED = "self.count = getattr(self, 'count', 0) + 1\n        loss = self.count * coded.bpp"
ODD = "tally = type('Odd', (Mean,), {'name': 'odd'})"
METHODS = [
    (LOSS, "    def extend(self, codec, parameters):\n        pass\n\n" + LOSS, LOADED, "extend must be a class method"),
    (LOSS, "    def __init__(self):\n        pass\n\n" + LOSS, LOADED, "__init__ must take .* made in build"),
    (LOSS, "    def build(self):\n        self.options.gamma\n\n" + LOSS, LOADED, ATTRIBUTE),
    ("class Mine(TrainedMethod)", "class Mine", LOADED, "one class derived from TrainedMethod, .* not 0"),
    ("\n\ndef relative", "\n\nclass Two(TrainedMethod):\n    pass\n\n\ndef relative", LOADED, r"not 2 \(Mine, Two\)"),
    ("def loss", "def losses", LOADED, r"Mine does not define loss\(self, batch\)"),
    ("class Parameters(Strict)", "class Parameters", LOADED, "Parameters must be a class derived from Strict"),
    ("Field(ge=0)] = ", "Field(ge=0)]  # ", LOADED, "beta in Parameters has no default"),
    ('"loss": loss, ', "", TERMS, "must be called 'loss'"),
    ('return {"loss": loss,', 'return loss\n        return {"loss": loss,', TERMS, "loss.* returned a Tensor, not a dictionary"),
    ('"rate": coded.bpp', '"rate": 0.5', TERMS, "the term 'rate' is a float, not a tensor"),
    ("loss = coded.bpp", "loss = float('nan') * coded.bpp", TERMS, "the term 'loss' is nan"),
    ("loss = coded.bpp", "loss = batch.images + coded.bpp", TERMS, r"the term 'loss' has the shape \(2, "),
    ("self.options.beta", "self.options.gamma", TERMS, ATTRIBUTE),
]
TASKS = [
    ("def predict", "def prediction", LOADED, "Mine does not define predict"),
    ("    DataOptions =", "    Options =", LOADED, "does not define DataOptions"),
    ("    default_protocol =", "    protocol =", LOADED, "the task mine names no default_protocol"),
]
SLOW_METHODS = [
    (LOSS, FROZEN + LOSS, "Gradients reach", r"no parameter of the codec trains \(requires_grad is off\)"),
    (LOSS, STOLEN + LOSS, "The recogniser is the same", "weights or statistics changed"),
    (LOSS, VAL + LOSS, "Training never asks", r"self.task.dataset\('val'\)"),
    ("loss = coded.bpp + ", "loss = 0 * coded.bpp.detach() + 0 * ", "Gradients reach", "sends no gradient to the codec"),
    ("loss = coded.bpp", COUNTED, "An interrupted training", "must be a buffer or a parameter"),
]
SLOW_TASKS = [
    ("self.segmenter.dataset(split)", "self.segmenter.dataset('val')", "The fingerprint of a split", "train and val both have"),
    ("tally = Mean", ODD, "What the images contribute", "no tally called 'odd' is found"),
    ('{"top1": 100', '{"top5": 100', "The metric gives", r"reports top1 \(evaluation.metric\), compute\(\) gives top5"),
    (', "top1": 100.0 * right}', "}", "What the images contribute", "the tally 'mean' reads the column 'top1' for top1"),
    ("(self.logits(images),", "(self.logits(images).detach(),", "The loss is", "the loss does not depend on the images"),
    ("return self.segmenter.branch_points", "return {}", "A light head", "must have 'mid_recognizer' .* there is none"),
]


@pytest.mark.parametrize(
    ("kind", "old", "new", "point", "said"),
    [
        *(("method", *case) for case in METHODS),
        *(("task", *case) for case in TASKS),
        *(pytest.param("method", *case, marks=pytest.mark.slow) for case in SLOW_METHODS),
        *(pytest.param("task", *case, marks=pytest.mark.slow) for case in SLOW_TASKS),
    ],
)
def test_a_mistake_is_said(kind: Kind, old: str, new: str, point: str, said: str, tmp_path: Path) -> None:
    source = write(kind, "mine", tmp_path, True, Plugins())[0]
    assert old in source.read_text()
    source.write_text(source.read_text().replace(old, new))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("subprocess.run", run_here)
        results = check(Plugins((source,)), "mine")
    failed = [result for result in results if result.problem]
    assert any(result.what.startswith(point) and re.search(said, result.problem) for result in failed), failed
    if point in (LOADED, TERMS):  # what depends on it is not tried
        number = (LOADED, TERMS).index(point)
        assert failed == [results[number]]
        assert not any(result.tried for result in results[number + 1 :])


def test_the_summary_counts() -> None:
    held, failed, untried = Result("one"), Result("two", "wrong"), Result("three", tried=False)
    assert summary([held, held]) == "2 of 2 points hold."
    assert summary([held, failed]) == "1 of 2 points fails."
    assert summary([held, failed, failed]) == "2 of 3 points fail."
    assert summary([held, failed, untried]) == "1 of 3 points fails, and 1 could not be tried because of that."
    assert summary([failed]) == "It cannot be loaded, so nothing else was tried."
