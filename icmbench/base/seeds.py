"""Random choices that depend only on their named axes.

No generator state is carried from step to step: every step seeds its own stream from (cell axes, step).
So a cell gives the same numbers whatever else runs, and a resumed training needs no saved generator.
"""

import hashlib

import numpy as np
from numpy.typing import NDArray


def derive(*axes: object) -> int:
    """A seed in 0 .. 2^63 - 1 from the printed axes, for example `derive("batch", protocol_hash, 0, step)`."""
    digest = hashlib.sha256("\x1f".join(map(str, axes)).encode()).digest()
    return int.from_bytes(digest[:8], "little") >> 1


def generator(*axes: object) -> np.random.Generator:
    """NumPy generator of the stream that the axes name."""
    return np.random.default_rng(derive(*axes))


def batch_indices(seed: int, step: int, batch_size: int, length: int) -> NDArray[np.int64]:
    """Indices of the samples of batch `step`: an endless concatenation of seeded permutations of 0 .. length - 1."""
    positions = np.arange(step * batch_size, (step + 1) * batch_size)
    epochs = {int(epoch): generator(seed, "epoch", epoch).permutation(length) for epoch in set(positions // length)}
    return np.array([epochs[int(p // length)][p % length] for p in positions])
