"""The classes of plugins by name, and tasks made of them."""

from typing import Any

from icmbench.api.method import ClassicalMethod, Method, TrainedMethod, UntrainedMethod
from icmbench.api.task import Task
from icmbench.plugins.find import Plugins, class_of, options


def method_class(plugins: Plugins, name: str) -> type[Method]:
    """The method's class. Raises UserError if there is none or it cannot be imported."""
    cls: type[Method] = class_of(plugins.get("methods", name), TrainedMethod, UntrainedMethod, ClassicalMethod)
    return cls


def task_class(plugins: Plugins, name: str) -> type[Task]:
    """The task's class. Raises UserError if there is none or it cannot be imported."""
    cls: type[Task] = class_of(plugins.get("tasks", name), Task)
    return cls


def make_task(plugins: Plugins, name: str, data: dict[str, Any], recognizer: dict[str, Any]) -> Task:
    """The task with its options checked. Raises UserError naming every wrong option."""
    cls = task_class(plugins, name)
    return cls(
        options(cls.DataOptions, data, f"the data options of task {name}"),
        options(cls.RecognizerOptions, recognizer, f"the recogniser options of task {name}"),
    )
