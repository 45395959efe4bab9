"""`icmbench check`: tests of the contract that every plugin must keep."""

import contextlib
import tempfile
import traceback
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch

from icmbench.base.errors import UserError, unknown
from icmbench.extras.authoring.trials import Broken
from icmbench.extras.authoring.trials.method import method_points
from icmbench.extras.authoring.trials.task import task_points
from icmbench.plugins.find import Plugin, Plugins

LONGEST = 400  # characters of a reported error
Point = Callable[[], None]  # its docstring is what it tests


@dataclass(frozen=True)
class Result:
    """One point of the contract, and its problem (empty: none). Not `tried`: a point that it depends on failed."""

    what: str
    problem: str = ""
    tried: bool = True


def check(plugins: Plugins, name: str, task: str = "segmentation") -> list[Result]:
    """Test the contract of the method or task `name`; a method is tested with `task`'s default protocol, shortened.

    Raises UserError if there is no such plugin or no such task.
    """
    methods, tasks = plugins.find("methods"), plugins.find("tasks")
    if name not in methods and name not in tasks:
        raise unknown("method or task", name, [*methods, *tasks])
    if name in methods and task not in tasks:
        raise unknown("task", task, tasks)
    with tempfile.TemporaryDirectory() as folder:
        if name in methods:
            return list(_results(methods[name], partial(method_points, plugins, name, task, Path(folder))))
        return list(_results(tasks[name], partial(task_points, plugins, name)))


def report(plugins: Plugins, name: str, task: str) -> int:
    """Check a plugin and print which points hold and which do not. Returns the exit status."""
    torch.set_num_threads(1)  # as in the workers of a run; with batches this small, more threads are several times slower
    results = check(plugins, name, task)
    for result in results:
        verdict = "FAIL" if result.problem else "ok  " if result.tried else "-   "
        print(f"{verdict} {result.what}" + (f": {result.problem}" if result.problem else ""))
    print(summary(results))
    return 1 if any(result.problem for result in results) else 0


def summary(results: Sequence[Result]) -> str:
    """How many points hold, in one line."""
    if results[0].problem:
        return "It cannot be loaded, so nothing else was tried."
    failed, untried = sum(bool(r.problem) for r in results), sum(not r.tried for r in results)
    if not failed:
        return f"{len(results)} of {len(results)} points hold."
    rest = f", and {untried} could not be tried because of that" if untried else ""
    return f"{failed} of {len(results)} points fail{'s' if failed == 1 else ''}{rest}."


def _results(plugin: Plugin, load: Callable[[], list[Point]]) -> Iterator[Result]:
    """The result of every point. If the first one fails, the others, which depend on it, are not tested."""
    points: list[Point] = []
    yield Result("can be loaded", _problem(plugin, lambda: points.extend(load())))
    basic = True
    for number, point in enumerate(points):
        result = Result((point.__doc__ or "").rstrip("."), _problem(plugin, point) if basic else "", basic)
        basic = basic and (number > 0 or not result.problem)
        yield result


def _problem(plugin: Plugin, trial: Point) -> str:
    """The error, with the line of the plugin where it happened; empty if there was none."""
    try:
        trial()
    except (Broken, UserError) as error:
        return str(error)
    except Exception as error:  # a plugin may raise anything
        text = " ".join(f"{type(error).__name__}: {error}".rstrip(": ").split())[:LONGEST]
        lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if _same_file(frame.filename, plugin)]
        return f"line {lines[-1]} of {plugin.path.name}: {text}" if lines and plugin.path else text
    return ""


def _same_file(name: str, plugin: Plugin) -> bool:
    with contextlib.suppress(OSError):
        return plugin.path is not None and Path(name).samefile(plugin.path)
    return False
