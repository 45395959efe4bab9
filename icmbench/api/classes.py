"""From the names of plugins to their classes."""

from typing import Any

from icmbench.api.method import Method
from icmbench.api.task import Task
from icmbench.plugins.find import Plugins


def method_class(plugins: Plugins, name: str) -> type[Method]:
    return plugins.method(name)


def task_class(plugins: Plugins, name: str) -> type[Task]:
    return plugins.task_class(name)


def make_task(plugins: Plugins, name: str, data: dict[str, Any], recognizer: dict[str, Any]) -> Task:
    return plugins.task(name, data, recognizer)
