"""The training loop: resume to the bit, schedule, the guard against values that are not finite, bad checkpoints."""

import contextlib
from pathlib import Path

import numpy as np
import pytest
import torch
from lightning_fabric import Fabric
from torch import Tensor

from icmbench.codec import build_model
from icmbench.errors import UserError
from icmbench.method import Trainable
from icmbench.prepare import DistortionTraining, picture_batch
from icmbench.protocol import CodecSpec, Training
from icmbench.task import Batch, Dataset, Sample
from icmbench.train import Batches, Ledger, memory_layout, train

SPEC = CodecSpec(architecture="mbt2018-mean", sizes={"N": 8, "M": 12})
TRAINING = Training(steps=6, batch_size=2, crop=64, lr=1e-3)


class Noise(Dataset):
    """Four random pictures."""

    def __len__(self) -> int:
        return 4

    def __getitem__(self, index: int) -> Sample:
        image = torch.from_numpy(np.random.default_rng(index).integers(0, 256, (3, 80, 80), dtype=np.uint8))
        return Sample(image, None, str(index))


class Stop(Exception):
    pass


def run(
    checkpoint: Path, stop_at: int | None = None, training: Training = TRAINING, identity: str = "test"
) -> tuple[list[dict[str, float]], Ledger]:
    torch.manual_seed(0)
    seen: list[dict[str, float]] = []
    ledger = Ledger()

    def log(step: int, terms: dict[str, float]) -> None:
        if step == stop_at:
            raise Stop
        seen.append(terms)

    batches = Batches(picture_batch, Noise(), training, 7)
    fabric = Fabric(accelerator="cpu", devices=1, precision=training.precision)
    with contextlib.suppress(Stop):
        ledger = train(DistortionTraining(SPEC, 0.01), batches, fabric, checkpoint, identity, log, log_every=1, save_seconds=0)
    return seen, ledger


def test_an_interrupted_training_continues_with_the_same_numbers_to_the_bit(tmp_path: Path) -> None:
    whole, _ = run(tmp_path / "whole.safetensors")
    first, _ = run(tmp_path / "parts.safetensors", stop_at=3)
    rest, ledger = run(tmp_path / "parts.safetensors")
    assert first + rest == whole
    assert len(rest) == 3
    assert ledger.steps == 6
    assert ledger.images == 12
    assert (tmp_path / "whole.safetensors").exists()


def test_bf16_training_stays_close_to_float32(tmp_path: Path) -> None:
    exact, _ = run(tmp_path / "32.safetensors")
    mixed, _ = run(tmp_path / "16.safetensors", training=TRAINING.model_copy(update={"precision": "bf16-mixed"}))
    assert mixed != exact
    assert [terms["loss"] for terms in mixed] == pytest.approx([terms["loss"] for terms in exact], rel=0.05)


def test_a_finished_training_is_not_repeated(tmp_path: Path) -> None:
    run(tmp_path / "checkpoint.safetensors")
    again, ledger = run(tmp_path / "checkpoint.safetensors")
    assert again == []
    assert ledger.steps == 6


@pytest.mark.parametrize("content", [b"", b"garbage" * 100])
def test_a_damaged_checkpoint_starts_the_training_anew(tmp_path: Path, content: bytes) -> None:
    whole, _ = run(tmp_path / "whole.safetensors")
    (tmp_path / "damaged.safetensors").write_bytes(content)
    assert run(tmp_path / "damaged.safetensors")[0] == whole


def test_a_checkpoint_of_another_cell_is_not_used(tmp_path: Path) -> None:
    run(tmp_path / "checkpoint.safetensors", identity="one")
    seen, _ = run(tmp_path / "checkpoint.safetensors", identity="other")
    assert len(seen) == 6


def test_the_learning_rate_follows_the_schedule(tmp_path: Path) -> None:
    seen, _ = run(tmp_path / "checkpoint.safetensors")
    assert [terms["lr"] for terms in seen] == pytest.approx([1e-3 * TRAINING.lr_factor(step) for step in range(6)])
    assert seen[0]["lr"] > seen[-1]["lr"]


class Exploding(Trainable):
    """A loss that is infinite in its third step."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.ones(()))
        self.calls = 0

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        self.calls += 1
        return {"loss": self.weight * (float("inf") if self.calls == 3 else 1.0)}


def test_a_loss_that_is_not_finite_stops_with_a_sentence_and_keeps_the_last_checkpoint(tmp_path: Path) -> None:
    checkpoint = tmp_path / "checkpoint.safetensors"
    batches = Batches(picture_batch, Noise(), TRAINING, 7)
    with pytest.raises(UserError, match=r"diverged at step 2: loss.*last good checkpoint"):
        train(Exploding(), batches, Fabric(accelerator="cpu", devices=1), checkpoint, "test", save_seconds=0)
    assert checkpoint.exists()


def test_quantiles_train_apart_from_the_network(tmp_path: Path) -> None:
    torch.manual_seed(0)
    trainable = DistortionTraining(SPEC, 0.01)
    before = trainable.codec.entropy_bottleneck.quantiles.detach().clone()
    batches = Batches(picture_batch, Noise(), TRAINING, 7)
    train(trainable, batches, Fabric(accelerator="cpu", devices=1), tmp_path / "c.safetensors", "test")
    assert not torch.equal(before, trainable.codec.entropy_bottleneck.quantiles)


@pytest.mark.parametrize(
    ("architecture", "layout"), [("cheng2020-attn", torch.contiguous_format), ("mbt2018-mean", torch.channels_last)]
)
def test_the_layout_that_corrupts_memory_is_avoided(architecture: str, layout: torch.memory_format) -> None:
    sizes = {"N": 8} if architecture == "cheng2020-attn" else {"N": 8, "M": 12}
    assert memory_layout(build_model(CodecSpec(architecture=architecture, sizes=sizes)), torch.device("cpu")) is layout


def test_all_methods_see_the_same_batches_at_one_seed() -> None:
    one, other = (Batches(picture_batch, Noise(), TRAINING, 7)[3].images for _ in range(2))
    assert torch.equal(one, other)
    assert not torch.equal(one, Batches(picture_batch, Noise(), TRAINING, 8)[3].images)


def test_ranks_share_a_batch_without_overlap() -> None:
    whole = Batches(picture_batch, Noise(), TRAINING.model_copy(update={"flip": False, "crop": 80}), 7)
    shares = [Batches(picture_batch, Noise(), whole.training, 7, rank, 2)[0].images for rank in range(2)]
    together = torch.cat(shares).flatten(1).sum(1).sort().values
    assert torch.allclose(together, whole[0].images.flatten(1).sum(1).sort().values)
