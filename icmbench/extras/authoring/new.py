"""`icmbench new`: a working plugin with its test, to be changed into your own.

The files come from the templates in `skeletons`. Either all files are written or none.
"""

import importlib.util
import keyword
import re
import sys
from importlib import resources
from pathlib import Path
from typing import Literal

from jinja2 import Environment, StrictUndefined

from icmbench.base.errors import UserError
from icmbench.base.files import write_text
from icmbench.plugins.find import Plugins

Kind = Literal["method", "task"]


def write(kind: Kind, name: str, into: Path, single: bool, plugins: Plugins) -> list[Path]:
    """Write a package called `name`, or with `single` one file and its test, into the folder `into`; returns the files written.

    Raises UserError for a name that cannot be used, for existing files, and if files cannot be written.
    """
    files = _files(kind, name, single)
    _require_free([into / (path if single else name) for path in files])
    _require_usable(name, plugins)
    texts = _rendered(kind, name, single, files)
    for path, text in texts.items():
        write_text(into / path, text)
    return [into / path for path in texts]


def commands(kind: Kind, name: str, single: bool) -> list[str]:
    """The commands to type once the plugin is installed or, with `single`, in its folder: the contract and a run."""
    loose = f" --plugin {name}.py" if single else ""
    return [f"icmbench check {name}{loose}", f"icmbench run {_pair(kind, name)}{loose}"]


def _pair(kind: Kind, name: str) -> str:
    return f"{name} segmentation" if kind == "method" else f"aux_loss {name}"


def _files(kind: Kind, name: str, single: bool) -> dict[str, str]:
    """Path of each file, and its template."""
    if single:
        files = {f"{name}.py": kind + ".py", f"test_{name}.py": "test.py"}
        return files | ({f"{name}.toml": "protocol.toml"} if kind == "task" else {})
    source = f"{name}/src/{name}"
    files = {f"{name}/pyproject.toml": "pyproject.toml", f"{name}/README.md": "README.md", f"{source}/__init__.py": kind + ".py"}
    files |= {f"{source}/protocols/{name}-v1.toml": "protocol.toml"} if kind == "task" else {}
    return files | {f"{name}/tests/test_{name}.py": "test.py"}


def _require_free(paths: list[Path]) -> None:
    for path in paths:
        if path.exists():
            raise UserError(f"{path} exists already; choose another name or folder.")


def _require_usable(name: str, plugins: Plugins) -> None:
    if not re.fullmatch("[a-z][a-z0-9_]{1,39}", name):
        raise UserError(f"'{name}' cannot be a name: use 2 to 40 of a-z, 0-9 and _, a letter first.")
    if keyword.iskeyword(name) or keyword.issoftkeyword(name) or keyword.iskeyword(_class_name(name)):
        raise UserError(f"'{name}' cannot be a name: it is a keyword of Python.")
    for kind in ("method", "task"):
        if name in plugins.find("methods" if kind == "method" else "tasks"):
            raise UserError(f"there is a {kind} called {name} already; take another name.")
    if name in sys.stdlib_module_names or _importable(name):
        raise UserError(f"there is a Python module called {name} already; take another name.")


def _importable(name: str) -> bool:
    spec = importlib.util.find_spec(name)
    return spec is not None and spec.origin is not None  # a mere folder has no origin


def _class_name(name: str) -> str:
    return "".join(part.capitalize() for part in name.split("_"))


def _source(template: str) -> str:
    return (resources.files(__package__) / "skeletons" / template).read_text()


def _rendered(kind: Kind, name: str, single: bool, files: dict[str, str]) -> dict[str, str]:
    """The text of each file. Raises UserError for a class name that the template uses itself."""
    environment = Environment(undefined=StrictUndefined, keep_trailing_newline=True, trim_blocks=True)
    cls = _class_name(name)
    if re.search(rf"\b{cls}\b", _source(f"{kind}.py.jinja")):
        raise UserError(f"'{name}' cannot be a name: the {kind}'s template uses the word {cls} itself.")
    words = {
        "kind": kind,
        "name": name,
        "cls": cls,
        "single": single,
        "protocol": f"{name}.toml" if single else f"{name}-v1",
        "run": commands(kind, name, single)[1],
    }
    return {path: environment.from_string(_source(f"{template}.jinja")).render(words) for path, template in files.items()}
