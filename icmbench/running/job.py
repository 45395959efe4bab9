"""A user's request to `icmbench run`. Imports no torch."""

from dataclasses import dataclass
from typing import Any

from icmbench.base.errors import UserError, unknown
from icmbench.plugins.find import Plugins
from icmbench.schema.protocol import Protocol, override


@dataclass(frozen=True)
class Job:
    """The user's request. `rates`: λ values separated by commas, or None for all of the protocol's."""

    plugins: Plugins
    method: str
    task: str
    protocol: str | None
    parameters: dict[str, Any]
    fields: dict[str, Any]
    rates: str | None
    seeds: int
    anchor: bool

    def resolved(self) -> Protocol:
        """The protocol with its changed fields. Raises UserError for unknown names and a protocol of another task."""
        if self.method not in (methods := self.plugins.find("methods")):
            raise unknown("method", self.method, methods)
        return override(self.plugins.resolve(self.task, self.protocol), self.fields)

    def rate_indices(self, protocol: Protocol) -> list[int]:
        """Numbers of the requested rate points. Raises UserError for a λ that the protocol does not have."""
        known = {point.lmbda: number for number, point in enumerate(protocol.rates)}
        if self.rates is None:
            return list(known.values())
        try:
            return sorted({known[float(text)] for text in self.rates.split(",")})
        except (ValueError, KeyError) as error:
            choices = ", ".join(f"{lmbda:g}" for lmbda in known)
            raise UserError(f"--rates takes rate points of the protocol ({choices}), not '{self.rates}'.") from error
