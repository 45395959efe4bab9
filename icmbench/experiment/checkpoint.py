"""Checkpoints of a training: the last two, each with a digest of its tensors."""

import hashlib
import json
import logging
from collections import defaultdict
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from safetensors import safe_open
from torch import Tensor

from icmbench.api.method import Trainable
from icmbench.base.files import replacing
from icmbench.experiment.budget import Spent

LOGGER = logging.getLogger("icmbench")


@dataclass
class Ledger(Spent):
    """The cost of a training: steps of the loop, images seen, seconds in it, peak memory in MiB, energy in joules.

    Seconds and energy are those of all attempts; `joules` is None if a device does not report it. `micro_batch`: the crops
    that last went through the network at once because memory did not hold a whole batch; else 0. `split_from`: the first
    step with split batches.
    """

    steps: int = 0
    images: int = 0
    seconds: float = 0.0
    peak_memory_mib: float = 0.0
    device: str = ""
    joules: float | None = None
    micro_batch: int = 0
    split_from: int = 0

    @property
    def warnings(self) -> list[str]:
        """Warnings for readers of the result."""
        if not self.micro_batch:
            return []
        where = f"from step {self.split_from} on its batches went through in parts of at most {self.micro_batch}"
        return [f"the training ran out of the device's memory: {where}, averaged over the crops"]


def save(path: Path, trainable: Trainable, optimizer: Any, ledger: Ledger, identity: str) -> None:
    """Write a checkpoint; the existing one becomes the previous one."""
    tensors = {f"model.{name}": value for name, value in trainable.state_dict().items()}
    for index, slots in optimizer.state_dict()["state"].items():
        tensors |= {f"optimizer.{index}.{slot}": value for slot, value in slots.items()}
    tensors = {name: value.cpu().contiguous() for name, value in tensors.items()}
    metadata = {"identity": identity, "ledger": json.dumps(asdict(ledger)), "digest": _digest(tensors)}
    with replacing(path) as temporary:
        temporary.write_bytes(safetensors.torch.save(tensors, metadata))
        if path.exists():
            path.replace(previous(path))


def previous(checkpoint: Path) -> Path:
    """The path of the previous checkpoint."""
    return checkpoint.with_stem(f"{checkpoint.stem}-previous")


def delete_checkpoints(checkpoint: Path) -> None:
    """Delete both checkpoints."""
    for path in (checkpoint, previous(checkpoint)):
        path.unlink(missing_ok=True)


def _digest(tensors: dict[str, Tensor]) -> str:
    """SHA-256 of contiguous CPU tensors with their names: safetensors does not notice a changed value."""
    digest = hashlib.sha256()
    for name, value in sorted(tensors.items()):
        digest.update(name.encode())
        digest.update(value.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def _read(path: Path, identity: str) -> tuple[dict[str, Tensor], Ledger] | None:
    """The tensors and the ledger of a checkpoint; None if it is absent or has another identity.

    Raises ValueError for a damaged one.
    """
    try:
        with safe_open(path, "pt") as file:
            metadata = file.metadata() or {}
        if metadata.get("identity") != identity:
            return None
        tensors = safetensors.torch.load_file(path)
    except FileNotFoundError:
        return None
    except (OSError, safetensors.SafetensorError) as error:
        raise ValueError(str(error)) from error
    digest = _digest(tensors)
    if metadata["digest"] != digest:
        raise ValueError("its content does not match its digest")
    return tensors, Ledger(**json.loads(metadata["ledger"]))


def resume(path: Path, trainable: Trainable, optimizer: Any, identity: str) -> Ledger:
    """Restore the last sound checkpoint of this identity, with a warning for each damaged one; else start anew."""
    for candidate in (path, previous(path)):
        try:
            saved = _read(candidate, identity)
        except ValueError as error:
            LOGGER.warning(
                "the checkpoint %s is damaged (%s): continuing from the previous one, or from the start", candidate, error
            )
            continue
        if saved:
            tensors, ledger = saved
            _restore(tensors, trainable, optimizer)
            return ledger
    return Ledger()


def _restore(tensors: dict[str, Tensor], trainable: Trainable, optimizer: Any) -> None:
    trainable.load_state_dict({k.removeprefix("model."): v for k, v in tensors.items() if k.startswith("model.")})
    state: defaultdict[int, dict[str, Tensor]] = defaultdict(dict)
    for key, value in tensors.items():
        if key.startswith("optimizer."):
            _, index, slot = key.split(".")
            state[int(index)][slot] = value
    optimizer.load_state_dict({"state": dict(state), "param_groups": optimizer.state_dict()["param_groups"]})
