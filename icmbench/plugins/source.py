"""A plugin's whole source: its files and their digest. Imports nothing of the plugin."""

import ast
import hashlib
from collections.abc import Iterator, Mapping
from pathlib import Path

from icmbench.plugins.find import Plugin


def source_files(plugin: Plugin) -> list[Path]:
    """The Python files of the plugin, in order.

    For a loose plugin its file, for an installed one its top-level package, for a built-in one its file or package with the
    modules and packages beside it that it imports, directly or indirectly. Empty for a plugin without a file.
    """
    if plugin.path is None:
        return []
    if plugin.loose:
        return [plugin.path]
    root, top = source_root(plugin), plugin.module.split(".")
    if not plugin.built_in:
        return _files(root, top[0])
    files_of, waiting = dict[str, list[Path]](), [top[2]]
    while waiting:
        name = waiting.pop()
        if name not in files_of:
            files_of[name] = _files(root, name)
            waiting += [sibling for path in files_of[name] for sibling in _siblings(path, ".".join(top[:2]))]
    return sorted(path for files in files_of.values() for path in files)


def source_root(plugin: Plugin) -> Path:
    """The folder that the plugin's file names are relative to; for a built-in one, the folder of its kind."""
    assert plugin.path is not None
    if plugin.loose:
        return plugin.path.parent
    depth = plugin.module.count(".") + (plugin.path.name == "__init__.py")
    return plugin.path.parents[depth - 2 if plugin.built_in else depth]


def source_digest(plugin: Plugin) -> str:
    """SHA-256 over the names and contents of the source files: an edit of any of them gives another digest."""
    return digest({path.relative_to(source_root(plugin)).as_posix(): path.read_bytes() for path in source_files(plugin)})


def digest(contents: Mapping[str, bytes]) -> str:
    """The same from the contents of the files by their names below the source's root."""
    whole = hashlib.sha256()
    for name in sorted(contents):
        whole.update(f"{name}\0".encode() + hashlib.sha256(contents[name]).digest())
    return whole.hexdigest()


def _files(root: Path, name: str) -> list[Path]:
    """The Python files of the module or package `name` in a folder; none if there is no such module."""
    alone = root / f"{name}.py"
    return [alone] if alone.is_file() else sorted((root / name).rglob("*.py"))


def _siblings(path: Path, package: str) -> Iterator[str]:
    """The names in a package that a file imports from it by their full names."""
    for node in ast.walk(ast.parse(path.read_text())):
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        if isinstance(node, ast.ImportFrom) and node.module:
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        for name in names:
            if name.startswith(f"{package}."):
                yield name.removeprefix(f"{package}.").split(".")[0]
