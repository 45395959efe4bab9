"""The files that a protocol needs on the machine, and which of them are missing."""

from dataclasses import dataclass
from pathlib import Path

from icmbench.base.errors import UserError
from icmbench.base.files import data_root
from icmbench.plugins.find import options
from icmbench.plugins.weights import local_path
from icmbench.schema.protocol import NeededFile, Protocol, Weights


@dataclass(frozen=True)
class Requirement:
    """A file or folder: its path, whether it is present, its size in bytes, its digest, and where it comes from."""

    path: Path
    present: bool
    bytes: int | None
    digest: str
    source: str
    fetched: bool = False  # downloaded when it is first needed


def requirements(protocol: Protocol) -> list[Requirement]:
    """Everything that the protocol needs besides the code: data, start codecs, and the recogniser's checkpoint."""
    data = [_file(needed) for needed in protocol.files]
    weights = {point.start.path: point.start for point in protocol.rates}
    checkpoint = protocol.recognizer.get("checkpoint")
    if checkpoint:
        recognizer: Weights = options(Weights, checkpoint, f"the checkpoint of {protocol.name}")
        weights[recognizer.path] = recognizer
    return data + [_weights(item) for item in weights.values()]


def _file(needed: NeededFile) -> Requirement:
    path = data_root() / needed.path
    return Requirement(path, path.exists(), needed.bytes, needed.digest or "", needed.source)


def _weights(weights: Weights) -> Requirement:
    path = local_path(weights)
    shipped = weights.path.startswith("weights:")
    fetched = weights.path.startswith("https://")
    source = "shipped with icmbench" if shipped else weights.path if fetched else "below $ICMBENCH_DATA"
    size = path.stat().st_size if path.exists() else None
    return Requirement(path, path.exists(), size, f"sha256 {weights.sha256}", source, fetched)


def require(protocol: Protocol) -> None:
    """Raises UserError naming every missing file; one that can be fetched does not count as missing."""
    missing = [item for item in requirements(protocol) if not item.present and not item.fetched]
    if missing:
        lines = "".join(f"\n  {item.path}  ({item.source})" for item in missing)
        raise UserError(
            f"{protocol.name} needs {len(missing)} file(s) or folder(s) that are missing (is ICMBENCH_DATA set?):{lines}"
        )
