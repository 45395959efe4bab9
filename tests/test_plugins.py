"""Plugins: built-in, installed and loose ones are found; a broken one is listed with its reason and harms no other."""

import subprocess
import sys
from pathlib import Path

import pytest

from builders import protocol_fields
from icmbench.api.classes import make_task, method_class, task_class
from icmbench.base.errors import UserError
from icmbench.plugins.find import Kind, Plugins, options
from icmbench.plugins.source import source_digest, source_files
from icmbench.schema.protocol import Strict

METHOD = '''"""A method of one's own.

More about it.
"""

from icmbench.api import TrainedMethod


class Mine(TrainedMethod):
    pass
'''
TASK = '''"""A task of one's own."""

from icmbench.api import Task


class Mine(Task):
    default_protocol = "mine-v1"
'''


def loose(folder: Path, source: str, name: str = "mine.py") -> Plugins:
    path = folder / name
    path.write_text(source)
    return Plugins((path,))


def run(code: str) -> str:
    """What a fresh Python process prints."""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_the_built_in_plugins_are_found_whole() -> None:
    methods, tasks = Plugins().find("methods"), Plugins().find("tasks")
    assert {"task_loss", "aux_loss"} <= set(methods)
    assert {"detection", "segmentation"} <= set(tasks)
    for plugin in (*methods.values(), *tasks.values()):
        assert plugin.problem == ""
        assert plugin.name[0] not in "_."
        assert plugin.summary
        assert plugin.path is not None


def test_listing_imports_no_torch_and_no_plugin() -> None:
    code = (
        "import sys; from icmbench.plugins.find import Plugins; p = Plugins(); "
        "names = [*p.find('methods'), *p.find('tasks'), *p.protocols()]; p.default_protocol('detection'); "
        "p.protocol('shapes-detection-v3'); "
        "print(len(names) > 4, [m for m in ('torch', 'compressai', 'icmbench.tasks.detection') if m in sys.modules])"
    )
    assert run(code) == "True []"


def test_every_protocol_of_a_task_is_valid_and_named_after_its_file() -> None:
    plugins = Plugins()
    known = plugins.protocols()
    for task in plugins.find("tasks"):
        assert plugins.default_protocol(task) in known
    for name, path in known.items():
        assert plugins.protocol(name) == plugins.protocol(str(path))
        assert plugins.protocol(name).name == name


def test_a_loose_method_is_listed_and_loaded(tmp_path: Path) -> None:
    plugins = loose(tmp_path, METHOD)
    found = plugins.find("methods")["mine"]
    assert (found.summary, found.problem) == ("A method of one's own.", "")
    assert "mine" not in plugins.find("tasks")
    assert method_class(plugins, "mine").__name__ == "Mine"


def test_a_loose_task_is_listed_with_its_default_protocol(tmp_path: Path) -> None:
    plugins = loose(tmp_path, TASK)
    assert plugins.find("tasks")["mine"].summary == "A task of one's own."
    assert "mine" not in plugins.find("methods")
    assert plugins.default_protocol("mine") == "mine-v1"
    assert task_class(plugins, "mine").__name__ == "Mine"


def test_a_loose_file_wins_over_a_built_in_plugin(tmp_path: Path) -> None:
    plugins = loose(tmp_path, METHOD, "task_loss.py")
    assert method_class(plugins, "task_loss").__name__ == "Mine"
    assert method_class(Plugins(), "task_loss").__name__ == "TaskLoss"


@pytest.mark.parametrize("kind", ["methods", "tasks"])
@pytest.mark.parametrize(
    ("source", "reason"),
    [
        ("'''Half.'''\ndef broken(:\n", "syntax error in line 2"),
        ("import no_such_package_anywhere.part\n", "no module named no_such_package_anywhere"),
        ("from no_such_package_anywhere import x\n", "no module named no_such_package_anywhere"),
        ("x = '\0'\n", "null bytes"),
    ],
)
def test_a_broken_file_is_listed_with_its_reason(tmp_path: Path, kind: Kind, source: str, reason: str) -> None:
    plugins = loose(tmp_path, source)
    assert reason in plugins.find(kind)["mine"].problem
    assert {"task_loss", "detection"} & set(plugins.find(kind))
    with pytest.raises(UserError, match=f"mine cannot be imported: .*{reason}"):
        method_class(plugins, "mine") if kind == "methods" else task_class(plugins, "mine")


def test_a_file_that_is_missing_or_no_text_is_listed_with_its_reason(tmp_path: Path) -> None:
    (tmp_path / "binary.py").write_bytes(b"\xff\xfe\x00")
    found = Plugins((tmp_path / "missing.py", tmp_path / "binary.py")).find("methods")
    assert "No such file" in found["missing"].problem
    assert found["binary"].problem


@pytest.mark.parametrize("statement", ["raise RuntimeError('bad luck')", "1 / 0", "from icmbench.api import Nothing"])
def test_a_plugin_that_fails_while_it_is_imported_is_a_sentence(tmp_path: Path, statement: str) -> None:
    with pytest.raises(UserError, match=r"the plugin mine cannot be imported: .*(bad luck|ZeroDivision|Nothing)"):
        method_class(loose(tmp_path, METHOD + statement), "mine")


@pytest.mark.parametrize(
    ("source", "count"),
    [("x = 1\n", 0), ("from icmbench.api import TrainedMethod\n", 0), (METHOD + "class Other(Mine): pass\n", 2)],
)
def test_a_method_module_must_define_exactly_one_class(tmp_path: Path, source: str, count: int) -> None:
    with pytest.raises(UserError, match=f"one class derived from TrainedMethod, UntrainedMethod or ClassicalMethod, not {count}"):
        method_class(loose(tmp_path, source), "mine")


def test_an_unknown_name_gives_the_nearest_known_one(tmp_path: Path) -> None:
    plugins = Plugins()
    with pytest.raises(UserError, match=r"no method is called 'tsk_loss'; did you mean 'task_loss'\?"):
        method_class(plugins, "tsk_loss")
    with pytest.raises(UserError, match=r"no task is called 'detecton'; did you mean 'detection'\?"):
        task_class(plugins, "detecton")
    with pytest.raises(UserError, match=r"no protocol is called .*; did you mean 'shapes-detection-v3'\?"):
        plugins.protocol("shapes-detectoin-v2")
    with pytest.raises(UserError, match=r"no method is called 'qqqqq'; known: .*task_loss"):
        method_class(plugins, "qqqqq")


def test_a_protocol_of_an_unknown_task_is_refused(tmp_path: Path) -> None:
    start = Plugins().protocols()["shapes-detection-v3"].read_text()
    path = tmp_path / "mine.toml"
    path.write_text(start.replace('task = "detection"', 'task = "detektion"'))
    with pytest.raises(UserError, match=r"no task is called 'detektion'; did you mean 'detection'\?"):
        Plugins().protocol(str(path))
    with pytest.raises(UserError, match="cannot read"):
        Plugins().protocol(str(tmp_path / "nowhere.toml"))


def test_wrong_options_are_named() -> None:
    class Some(Strict):
        alpha: float = 0.5

    assert options(Some, {"alpha": 1}, "x") == Some(alpha=1.0)
    with pytest.raises(UserError, match=r"the parameters are not valid: alpha: .*; beta: "):
        options(Some, {"alpha": "much", "beta": 1}, "the parameters")
    data = protocol_fields()["data"] | {"sedd": 1}
    with pytest.raises(UserError, match="data options of task detection are not valid: sedd: "):
        make_task(Plugins(), "detection", data, {})


ENTRY_POINTS = """[icmbench.methods]
installed = some_plugins.good
broken = some_plugins.half
nowhere = no_such_package_anywhere.method
in_ruins = raising_package.method
renamed = some_plugins.good:Mine
"""


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of sys.path as pip would leave it: two packages and the metadata of a distribution."""
    for package, source in (("some_plugins", ""), ("raising_package", "raise RuntimeError('bad luck')\n")):
        (tmp_path / package).mkdir()
        (tmp_path / package / "__init__.py").write_text(source)
        (tmp_path / package / "good.py").write_text(METHOD)
        (tmp_path / package / "half.py").write_text("def broken(:\n")
    metadata = tmp_path / "some_plugins-1.0.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: some-plugins\nVersion: 1.0\n")
    (metadata / "entry_points.txt").write_text(ENTRY_POINTS)
    monkeypatch.syspath_prepend(tmp_path)
    for name in ("some_plugins", "some_plugins.good"):  # of another test
        monkeypatch.delitem(sys.modules, name, raising=False)
    return tmp_path


@pytest.mark.usefixtures("installed")
def test_installed_plugins_are_found_and_loaded_through_their_entry_points() -> None:
    found = Plugins().find("methods")
    assert [found[name].summary for name in ("installed", "renamed")] == ["A method of one's own."] * 2
    assert [found[name].problem for name in ("installed", "renamed", "task_loss")] == [""] * 3
    for name, problem in (
        ("broken", "syntax error in line 1"),
        ("nowhere", "no_such_package_anywhere"),
        ("in_ruins", "bad luck"),
    ):
        assert problem in found[name].problem
    assert method_class(Plugins(), "installed").__module__ == "some_plugins.good"


def test_the_source_of_a_built_in_plugin_is_all_of_icmbench_that_it_imports() -> None:
    names = {name: [path.name for path in source_files(plugin)] for name, plugin in Plugins().find("methods").items()}
    assert names["hevc"] == ["_ffmpeg.py", "_pillow.py", "hevc.py"]
    assert names["adapter"] == ["_adapter.py", "_partial.py", "adapter.py", "task_loss.py"]
    detection = Plugins().find("tasks")["detection"]
    assert {"task.py", "tally.py", "nanodet.py", "coco.py", "shapes.py"} <= {path.name for path in source_files(detection)}
    assert not [path for path in source_files(detection) if "segmentation" in path.parts]
    assert detection.built_in


def test_the_digest_of_a_loose_plugin_is_that_of_its_file(tmp_path: Path) -> None:
    plugin = loose(tmp_path, METHOD).find("methods")["mine"]
    before = source_digest(plugin)
    (tmp_path / "other.py").write_text("x = 1\n")
    assert (source_files(plugin), source_digest(plugin), plugin.built_in) == ([tmp_path / "mine.py"], before, False)
    (tmp_path / "mine.py").write_text(METHOD + "\n")
    assert source_digest(plugin) != before


def test_the_digest_of_an_installed_plugin_is_that_of_its_whole_package(installed: Path) -> None:
    plugin = Plugins().find("methods")["installed"]
    assert [path.name for path in source_files(plugin)] == ["__init__.py", "good.py", "half.py"]
    before = source_digest(plugin)
    (installed / "some_plugins" / "half.py").rename(installed / "some_plugins" / "whole.py")
    assert source_digest(plugin) != before
