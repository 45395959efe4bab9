"""The contracts of methods and tasks, point by point, tested with a few steps of real training and a few images."""

from typing import Any

from torch import Tensor

from icmbench.schema.protocol import Strict

STEPS = 3


class Broken(Exception):
    """A point of the contract is not kept; the text says how."""


def require(holds: bool, problem: str) -> None:
    """Raise Broken with the problem unless the condition holds."""
    if not holds:
        raise Broken(problem)


def require_defined(kind: type[Any]) -> None:
    """Raise Broken if the class leaves an abstract member undefined."""
    absent = sorted(getattr(kind, "__abstractmethods__", ()))
    require(not absent, f"{kind.__name__} does not define {', '.join(absent)}")


def require_strict(name: str, options: Any) -> None:
    """Raise Broken unless the class of options `name` is derived from Strict."""
    strict = isinstance(options, type) and issubclass(options, Strict)
    require(strict, f"{name} must be a class derived from Strict (from icmbench.api import Strict)")


def has_gradient(tensor: Tensor) -> bool:
    """Whether a gradient other than zero has reached the tensor."""
    return tensor.grad is not None and bool(tensor.grad.abs().sum() > 0)
