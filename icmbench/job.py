"""What a user asks `icmbench run` for, checked as far as that goes without importing torch."""

from dataclasses import dataclass
from typing import Any

from icmbench.errors import UserError, unknown
from icmbench.plugins import Plugins
from icmbench.protocol import Protocol, override


@dataclass(frozen=True)
class Job:
    """What the user asked for. `rates`: λ values separated by commas, or None for all of the protocol's."""

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
        for kind, name in (("method", self.method), ("task", self.task)):
            if name not in (found := self.plugins.find("methods" if kind == "method" else "tasks")):
                raise unknown(kind, name, found)
        name = self.protocol or self.plugins.default_protocol(self.task)
        protocol = override(self.plugins.protocol(name), self.fields)
        if protocol.task != self.task:
            raise UserError(f"{protocol.name} is a protocol of the task {protocol.task}, not of {self.task}.")
        return protocol

    def rate_indices(self, protocol: Protocol) -> list[int]:
        """Numbers of the rate points that were asked for. Raises UserError for a λ that the protocol does not have."""
        known = {point.lmbda: number for number, point in enumerate(protocol.rates)}
        if self.rates is None:
            return list(known.values())
        try:
            return sorted({known[float(text)] for text in self.rates.split(",")})
        except (ValueError, KeyError) as error:
            choices = ", ".join(f"{lmbda:g}" for lmbda in known)
            raise UserError(f"--rates takes rate points of the protocol ({choices}), not '{self.rates}'.") from error
