"""Finding methods, tasks, protocols and tallies by name.

Built-in plugins are the modules of `icmbench.methods` and `icmbench.tasks`; others come from the entry-point groups of
the same names or from loose files. Listing reads source text and imports nothing, so it is quick, and a broken plugin is
listed with the reason.
"""

import ast
import importlib
import importlib.util
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from importlib.metadata import EntryPoint, entry_points
from itertools import chain
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, Literal

from icmbench.base.errors import UserError, unknown
from icmbench.schema.protocol import Protocol, Strict, parse, read_toml, validated

if TYPE_CHECKING:  # imports pandas, and listing plugins does not need it
    from icmbench.stats.tally import Tally

Kind = Literal["methods", "tasks"]
LOOSE = "icmbench_plugin_"  # begins the module name of a loose file


@dataclass(frozen=True)
class Plugin:
    """A plugin: its module's name, its source file, the first line of its docstring, and why it cannot be used."""

    name: str
    module: str
    path: Path | None
    summary: str = ""
    problem: str = ""

    @property
    def folder(self) -> Path | None:
        """The plugin's own folder, if it is a package; its class may be in the package's `task.py` or `method.py`."""
        if self.path is None or self.loose or self.path.name not in ("__init__.py", "task.py", "method.py"):
            return None
        return self.path.parent

    @property
    def loose(self) -> bool:
        """Whether the plugin is a file that the user named."""
        return self.module.startswith(LOOSE)

    @property
    def built_in(self) -> bool:
        """Whether the plugin comes with icmbench."""
        return self.module.startswith(("icmbench.methods.", "icmbench.tasks."))


@dataclass(frozen=True)
class Plugins:
    """All plugins: built-in, installed, the loose `files` named by the user, and `entries` as if they were installed."""

    files: Sequence[Path] = field(default=())
    entries: Sequence[EntryPoint] = field(default=())

    def find(self, kind: Kind) -> dict[str, Plugin]:
        """The plugins of a kind by name; a loose file wins over an installed one, which wins over a built-in one."""
        plugins = {plugin.name: plugin for plugin in _built_in(kind)}
        entries = (entry for entry in self.entries if entry.group == f"icmbench.{kind}")
        for entry in (*entry_points(group=f"icmbench.{kind}"), *entries):
            plugins[entry.name] = _inspected(entry.name, entry.value.split(":")[0], None)
        for path in self.files:
            plugin = _inspected(path.stem, LOOSE + path.stem, path)
            if plugin.problem or _kind(path) == kind:
                plugins[plugin.name] = plugin
        return plugins

    def get(self, kind: Kind, name: str) -> Plugin:
        """The plugin of that name. Raises UserError if there is none."""
        plugins = self.find(kind)
        if name not in plugins:
            raise unknown(kind.removesuffix("s"), name, plugins)
        return plugins[name]

    def protocols(self) -> dict[str, Path]:
        """Files of the tasks' protocols, by name."""
        folders = [plugin.folder for plugin in self.find("tasks").values() if plugin.folder]
        return {path.stem: path for folder in folders for path in sorted((folder / "protocols").glob("*.toml"))}

    def protocol(self, name: str) -> Protocol:
        """A protocol by name or by the path of its file. Raises UserError if there is none or it is not valid."""
        path = Path(name)
        if path.suffix != ".toml":
            known = self.protocols()
            if name not in known:
                raise unknown("protocol", name, known)
            path = known[name]
        protocol = parse(read_toml(path), str(path))
        if protocol.task not in (tasks := self.find("tasks")):
            raise unknown("task", protocol.task, tasks)
        return protocol

    def default_protocol(self, task: str) -> str:
        """The default protocol of a task: its name, or the path of its file (which the task gives relative to its folder).

        It is read from the task's source, because importing a task takes seconds. Raises UserError if the task names none.
        """
        plugin = self.get("tasks", task)
        name = _default_protocol(plugin) or _inherited_default_protocol(plugin)
        if not name:
            raise UserError(f"the task {task} names no default_protocol; choose a protocol with --protocol.")
        return str(plugin.path.parent / name) if plugin.path is not None and name.endswith(".toml") else name

    def resolve(self, task: str, name: str | None) -> Protocol:
        """The protocol `name` of a task, or its default one. Raises UserError for unknown names and another task's protocol."""
        self.get("tasks", task)
        protocol = self.protocol(name or self.default_protocol(task))
        if protocol.task != task:
            raise UserError(f"{protocol.name} is a protocol of the task {protocol.task}, not of {task}.")
        return protocol

    def tally(self, name: str) -> "type[Tally] | None":
        """The tally called `name` in records; None if there is none or it cannot be imported.

        It is searched for in the loose files, the entry-point group `icmbench.tallies` and the `tally.py` of the built-in tasks.
        Torch is imported only if one of these files imports it.
        """
        from icmbench.stats.tally import Mean

        known: Iterator[type[Tally]] = chain(self._tallies(name), [Mean])
        return next((kind for kind in known if kind.name == name), None)

    def _tallies(self, name: str) -> "Iterator[type[Tally]]":
        """The tallies that may have that name; the first one that does is taken."""
        for path in self.files:
            if _bases(path) & {"Tally", "Mean"}:
                yield from _tallies_in(Plugin(path.stem, LOOSE + path.stem, path))
        for entry in (*entry_points(group="icmbench.tallies"), *self.entries):
            if (entry.group, entry.name) == ("icmbench.tallies", name):
                yield from _tallies_in(Plugin(entry.name, entry.value.split(":")[0], None))
        for plugin in _built_in("tasks"):
            if plugin.folder and (plugin.folder / "tally.py").exists():
                yield from _tallies_in(Plugin(plugin.name, f"icmbench.tasks.{plugin.name}.tally", None))


INSTALLED = Plugins()  # the built-in and installed plugins, without the user's loose files


def options(model: type[Strict], values: dict[str, Any], what: str) -> Any:
    """Typed options from plain values. Raises UserError naming every wrong one."""
    return validated(model, values, f"{what} are not valid")


def _built_in(kind: Kind) -> Iterator[Plugin]:
    spec = importlib.util.find_spec(f"icmbench.{kind}")
    for folder in spec.submodule_search_locations or () if spec else ():
        for path in sorted(Path(folder).iterdir()):
            name = f"icmbench.{kind}.{path.stem}"
            main = kind.removesuffix("s")
            source, module = (path / f"{main}.py", f"{name}.{main}") if path.is_dir() else (path, name)
            if not path.name.startswith(("_", ".")) and source.suffix == ".py" and source.exists():
                yield _inspected(path.stem, module, source)


def _inspected(name: str, module: str, path: Path | None) -> Plugin:
    """Look at a plugin's source without running it."""
    try:
        if path is None:
            spec = importlib.util.find_spec(module)
            if spec is None or spec.origin is None:
                return Plugin(name, module, None, problem=f"no module named {module}")
            path = Path(spec.origin)
        tree = ast.parse(path.read_text())
    except SyntaxError as error:
        return Plugin(name, module, path, problem=f"syntax error in line {error.lineno}: {error.msg}")
    except Exception as error:  # finding a module runs the package around it, which may raise anything
        return Plugin(name, module, path, problem=str(error) or type(error).__name__)
    summary = (ast.get_docstring(tree) or "").partition("\n")[0]
    return Plugin(name, module, path, summary, _missing_import(tree))


def _missing_import(tree: ast.Module) -> str:
    """A sentence about the first top-level import whose package is not installed; "" if there is none."""
    for node in tree.body:
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        if isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names = [node.module]
        for name in names:
            package = name.split(".")[0]
            if package not in sys.modules and importlib.util.find_spec(package) is None:
                return f"no module named {package}"
    return ""


def _default_protocol(plugin: Plugin) -> str:
    """The value that the plugin's source assigns to default_protocol; "" if there is no such line."""
    if plugin.path is not None and not plugin.problem:
        for node in ast.walk(ast.parse(plugin.path.read_text())):
            if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "default_protocol":
                return str(ast.literal_eval(node.value))
    return ""


def _inherited_default_protocol(plugin: Plugin) -> str:
    """The default_protocol that the plugin's class inherits; "" if it has none."""
    names = [getattr(value, "default_protocol", "") for value in _own_classes(load(plugin))]
    return next((str(name) for name in names if name), "")


def _bases(path: Path) -> set[str]:
    """The names of the base classes of a Python file's classes; none for a file that cannot be read."""
    try:
        classes = [node for node in ast.parse(path.read_text()).body if isinstance(node, ast.ClassDef)]
    except (OSError, SyntaxError, ValueError):
        return set()
    return {ast.unparse(base).split(".")[-1] for node in classes for base in node.bases}


def _kind(path: Path) -> Kind | None:
    """The kind of a loose file, by the classes in it; None for a file with nothing but a tally."""
    bases = _bases(path)
    return "tasks" if "Task" in bases else None if bases & {"Tally", "Mean"} else "methods"


def load(plugin: Plugin) -> ModuleType:
    """The plugin's module, imported. Raises UserError, whatever the plugin raises."""
    if plugin.problem:
        raise UserError(f"the plugin {plugin.name} cannot be imported: {plugin.problem}.")
    try:
        if not plugin.loose:
            return importlib.import_module(plugin.module)
        if plugin.path is None:
            raise ImportError("no file")
        spec = importlib.util.spec_from_file_location(plugin.module, plugin.path)
        if spec is None or spec.loader is None:
            raise ImportError("not a Python file")
        module = sys.modules[plugin.module] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        return module
    except Exception as error:  # a plugin may raise anything
        raise UserError(f"the plugin {plugin.name} cannot be imported: {type(error).__name__}: {error}.") from error


def class_of(plugin: Plugin, *bases: type) -> Any:
    """The one class of the plugin that derives from any of `bases`. Raises UserError unless there is exactly one."""
    own = [value for value in _own_classes(load(plugin)) if issubclass(value, bases)]
    if len(own) != 1:
        *most, last = (base.__name__ for base in bases)
        names = f"{', '.join(most)} or {last}" if most else last
        raise UserError(f"the plugin {plugin.name} must define one class derived from {names}, not {_counted(own)}.")
    return own[0]


def _own_classes(module: ModuleType) -> list[type]:
    """The classes that a module defines itself."""
    return [value for value in vars(module).values() if isinstance(value, type) and value.__module__ == module.__name__]


def _tallies_in(plugin: Plugin) -> "list[type[Tally]]":
    """The tallies that a module defines; none if it cannot be imported."""
    from icmbench.stats.tally import Tally

    try:
        return [value for value in _own_classes(load(plugin)) if issubclass(value, Tally) and hasattr(value, "name")]
    except UserError:
        return []


def _counted(classes: list[type]) -> str:
    return f"{len(classes)} ({', '.join(cls.__name__ for cls in classes)})" if classes else "0"
