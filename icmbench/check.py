"""`icmbench check`: the contract that every plugin must keep."""

import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from icmbench.errors import UserError, unknown
from icmbench.plugins import Plugins
from icmbench.protocol import override
from icmbench.trials import STEPS, Broken
from icmbench.trials.method import MethodTrial
from icmbench.trials.task import TaskTrial

TINY = {"training.steps": STEPS, "training.batch_size": 2}


@dataclass(frozen=True)
class Result:
    """One point of the contract, and what is wrong with it (empty: nothing)."""

    what: str
    problem: str = ""


def check(plugins: Plugins, name: str, task: str) -> list[Result]:
    """Try the contract of the method or task `name`; a method is tried with `task`'s default protocol, shortened.

    Raises UserError where no plugin has that name.
    """
    methods, tasks = plugins.find("methods"), plugins.find("tasks")
    if name not in methods and name not in tasks:
        raise unknown("method or task", name, [*methods, *tasks])
    with tempfile.TemporaryDirectory() as folder:
        return list(_results(plugins, name, name in methods, task, Path(folder)))


def _results(plugins: Plugins, name: str, is_method: bool, task: str, folder: Path) -> Iterator[Result]:
    try:
        protocol = override(plugins.protocol(plugins.default_protocol(task if is_method else name)), TINY)
        trial = MethodTrial(plugins, name, protocol, folder) if is_method else TaskTrial(plugins, protocol)
        points = trial.points()
    except UserError as error:
        yield Result("can be loaded", str(error))
        return
    yield Result("can be loaded")
    for point in points:
        what = (point.__doc__ or point.__name__).rstrip(".")
        try:
            point()
        except (Broken, UserError) as error:
            yield Result(what, str(error))
        except Exception as error:  # a plugin may raise anything
            yield Result(what, f"{type(error).__name__}: {error}")
        else:
            yield Result(what)
