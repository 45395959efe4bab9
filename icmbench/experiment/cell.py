"""A cell: the identity of one unit of work."""

from dataclasses import dataclass, replace
from typing import Any

from icmbench.base import seeds
from icmbench.schema.protocol import Protocol, RatePoint
from icmbench.schema.record import LAMBDA, method_label, point_label


@dataclass(frozen=True)
class Cell:
    """Protocol x method x rate point x seed. `parameters` are those that differ from the method's defaults.

    `own_rate`: the rate parameter of a classical codec and its value, instead of the protocol's λ. `trained_under`: the other
    protocol that trained the codec, which is scored under this one.
    """

    protocol: Protocol
    method: str
    parameters: tuple[tuple[str, Any], ...]
    rate_index: int
    seed: int
    own_rate: tuple[str, float] | None = None
    trained_under: Protocol | None = None

    @property
    def rate(self) -> RatePoint:
        """The protocol's rate point, for a codec without its own rate parameter."""
        return (self.trained_under or self.protocol).rates[self.rate_index]

    @property
    def rate_point(self) -> dict[str, float]:
        """λ, or a classical codec's rate parameter, with its value."""
        return dict([self.own_rate or (LAMBDA, self.rate.lmbda)])

    @property
    def label(self) -> str:
        """Method with its parameters, and the protocol that it was trained under if that is another one."""
        elsewhere = self.trained_under.identity if self.trained_under else ""
        return method_label(self.method, dict(self.parameters), elsewhere)

    @property
    def name(self) -> str:
        """Short name for people."""
        return f"{self.label} {point_label(self.rate_point)} seed={self.seed}"

    @property
    def origin(self) -> "Cell":
        """The cell that trains the codec: this one, or that of the protocol `trained_under`."""
        return replace(self, protocol=self.trained_under, trained_under=None) if self.trained_under else self

    def derive_seed(self, *axes: object) -> int:
        """A seed that depends on the axes and is the same for all methods at this rate point and seed index."""
        return seeds.derive(self.protocol.hash, self.rate_index, self.seed, *axes)
