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
    for path in [into / path for path in files] if single else [into / name]:
        if path.exists():
            raise UserError(f"{path} exists already; choose another name or folder.")
    if reason := _unusable(kind, name, plugins):
        raise UserError(reason)
    environment = Environment(undefined=StrictUndefined, keep_trailing_newline=True, trim_blocks=True)
    words = {
        "kind": kind,
        "name": name,
        "cls": _class_name(name),
        "single": single,
        "protocol": f"{name}.toml" if single else f"{name}-v1",
        "run": commands(kind, name, single)[1],
    }
    texts = {into / path: environment.from_string(_source(template)).render(words) for path, template in files.items()}
    for path, text in texts.items():
        write_text(path, text)
    return list(texts)


def commands(kind: Kind, name: str, single: bool) -> list[str]:
    """The commands to type once the plugin is installed or, with `single`, in its folder: the contract and a run."""
    loose = f" --plugin {name}.py" if single else ""
    pair = f"{name} segmentation" if kind == "method" else f"aux_loss {name}"
    return [f"icmbench check {name}{loose}", f"icmbench run {pair}{loose}"]


def _files(kind: Kind, name: str, single: bool) -> dict[str, str]:
    """Path of each file, and its template."""
    if single:
        source, protocol, files = f"{name}.py", f"{name}.toml", {f"test_{name}.py": "test.py"}
    else:
        folder = f"{name}/src/{name}"
        source, protocol = f"{folder}/__init__.py", f"{folder}/protocols/{name}-v1.toml"
        files = {f"{name}/{file}": file for file in ("pyproject.toml", "README.md")} | {f"{name}/tests/test_{name}.py": "test.py"}
    return {source: f"{kind}.py"} | files | ({protocol: "protocol.toml"} if kind == "task" else {})


def _unusable(kind: Kind, name: str, plugins: Plugins) -> str:
    """Why a plugin cannot have this name; "" if it can."""
    cls = _class_name(name)
    if not re.fullmatch("[a-z][a-z0-9_]{1,39}", name):
        return f"'{name}' cannot be a name: use 2 to 40 of a-z, 0-9 and _, a letter first."
    if keyword.iskeyword(name) or keyword.issoftkeyword(name) or keyword.iskeyword(cls):
        return f"'{name}' cannot be a name: it is a keyword of Python."
    for known in ("method", "task"):
        if name in plugins.find("methods" if known == "method" else "tasks"):
            return f"there is a {known} called {name} already; take another name."
    spec = importlib.util.find_spec(name)
    if name in sys.stdlib_module_names or (spec and spec.origin):  # a mere folder has no origin
        return f"there is a Python module called {name} already; take another name."
    if re.search(rf"\b{cls}\b", _source(f"{kind}.py")):
        return f"'{name}' cannot be a name: the {kind}'s template uses the word {cls} itself."
    return ""


def _class_name(name: str) -> str:
    return "".join(part.capitalize() for part in name.split("_"))


def _source(template: str) -> str:
    return (resources.files(__package__) / "skeletons" / f"{template}.jinja").read_text()
