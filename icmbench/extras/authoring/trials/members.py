"""Checks of a plugin's class before it is used: members that are missing or of the wrong kind."""

import inspect
from typing import Any

from icmbench.api.method import ClassicalMethod, Method, Trainable, TrainedMethod
from icmbench.api.task import Task
from icmbench.extras.authoring.trials import require
from icmbench.schema.protocol import Strict


def require_method(kind: type[Method]) -> None:
    """Raises Broken if members of a method's class are missing or have the wrong form."""
    _require_all_defined(kind)
    _require_parameters(kind)
    _require_constructor(kind)
    if issubclass(kind, TrainedMethod):
        require(kind.loss is not Trainable.loss, f"{kind.__name__} does not define loss(self, batch)")
        form = inspect.getattr_static(kind, "extend")
        require(
            isinstance(form, classmethod), "extend must be a class method: @classmethod above def extend(cls, codec, parameters)"
        )
    if issubclass(kind, ClassicalMethod):
        absent = [name for name in ("rate_parameter", "rates") if not hasattr(kind, name)]
        require(not absent, f"{kind.__name__} does not define {' and '.join(absent)}")
        require(len(kind.rates) > 0, "rates is empty; it lists the values that make a curve, from the lowest rate to the highest")


def require_task(kind: type[Task]) -> None:
    """Raises Broken if members of a task's class are missing or have the wrong form."""
    _require_all_defined(kind)
    for name in ("DataOptions", "RecognizerOptions"):
        require(hasattr(kind, name), f"{kind.__name__} does not define {name}, a class derived from icmbench.api.Strict")
        _require_strict(name, getattr(kind, name))


def _require_all_defined(kind: type[Any]) -> None:
    absent = sorted(getattr(kind, "__abstractmethods__", ()))
    require(not absent, f"{kind.__name__} does not define {', '.join(absent)}")


def _require_parameters(kind: type[Method]) -> None:
    _require_strict("Parameters", kind.Parameters)
    bare = [name for name, field in kind.Parameters.model_fields.items() if field.is_required()]
    require(not bare, f"{', '.join(bare)} in Parameters has no default; every parameter needs one")


def _require_constructor(kind: type[Method]) -> None:
    names = ("parameters", "rate") if issubclass(kind, ClassicalMethod) else ("parameters", "codec", "task", "lmbda")
    try:
        inspect.signature(kind).bind(*names)
    except TypeError:
        instead = "; what it needs is made in build(self)" if issubclass(kind, TrainedMethod) else ""
        require(False, f"__init__ must take (self, {', '.join(names)}), or be left out{instead}")


def _require_strict(name: str, options: Any) -> None:
    strict = isinstance(options, type) and issubclass(options, Strict)
    require(strict, f"{name} must be a class derived from Strict (from icmbench.api import Strict)")
