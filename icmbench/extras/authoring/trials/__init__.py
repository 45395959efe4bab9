"""The contracts of methods and tasks, point by point, tested with a few steps of real training and a few images."""

STEPS = 3


class Broken(Exception):
    """A point of the contract is not kept; the text says how."""


def require(holds: bool, problem: str) -> None:
    """Raise Broken with the problem unless the condition holds."""
    if not holds:
        raise Broken(problem)
