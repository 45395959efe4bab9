"""Images made from a seed: `shapes` (objects told apart by texture) and `leaves` (natural-like)."""

import hashlib
from pathlib import Path


def origin(generator: str, *choices: object) -> str:
    """Names what a generator makes, by its source and its choices, alike on all machines."""
    sources = [Path(__file__).with_name(f"{name}.py").read_bytes() for name in (generator, "noise")]
    return hashlib.sha256(b"".join(sources) + repr((generator, *choices)).encode()).hexdigest()
