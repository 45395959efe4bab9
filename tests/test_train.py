"""The training loop: resume to the bit, schedule, the guard against values that are not finite, bad checkpoints."""

import contextlib
import errno
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from lightning_fabric import Fabric
from lightning_fabric.strategies import DDPStrategy
from torch import Tensor

from icmbench.api.method import Trainable
from icmbench.api.task import Batch, Dataset, Sample
from icmbench.base.errors import UserError
from icmbench.codecs.neural import build_model, densities
from icmbench.experiment.checkpoint import Ledger, delete_checkpoints, previous
from icmbench.experiment.train import Batches, make_optimizer, memory_layout, parts, train
from icmbench.extras.prepare import DistortionTraining, image_batch
from icmbench.schema.protocol import CodecSpec, Training

SPEC = CodecSpec(architecture="mbt2018-mean", sizes={"N": 8, "M": 12})
TRAINING = Training(steps=6, batch_size=2, crop=64, lr=1e-3)


class Noise(Dataset):
    """Four random pictures."""

    def __len__(self) -> int:
        return 4

    def fingerprint(self) -> str:
        return "noise"

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

    batches = Batches(image_batch, Noise(), training, 7)
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


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-100])


def flip_a_bit(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)


@pytest.mark.parametrize("damage", [cut, flip_a_bit, Path.unlink])
def test_a_damaged_checkpoint_falls_back_to_the_one_before(
    damage: Callable[[Path], None], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    whole, _ = run(tmp_path / "whole.safetensors")
    path = tmp_path / "damaged.safetensors"
    run(path, stop_at=4)  # saved after each step
    damage(path)
    rest, _ = run(path)
    assert rest == whole[3:]  # the last checkpoint had 4 steps, the one before has 3
    said = [record.getMessage() for record in caplog.records if record.name == "icmbench"]
    assert len(said) == (damage is not Path.unlink)
    assert all(f"{path} is damaged" in text and "continuing from the previous one" in text for text in said)


def test_two_damaged_checkpoints_start_the_training_anew(tmp_path: Path) -> None:
    path = tmp_path / "damaged.safetensors"
    whole, _ = run(path)
    cut(path)
    flip_a_bit(previous(path))
    assert run(path)[0] == whole


def test_both_checkpoints_are_forgotten(tmp_path: Path) -> None:
    run(tmp_path / "c.safetensors")
    assert len(list(tmp_path.iterdir())) == 2
    delete_checkpoints(tmp_path / "c.safetensors")
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_spares_the_checkpoints_that_are_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "c.safetensors"
    whole, _ = run(path, stop_at=4)

    def full(self: Path, data: bytes) -> int:
        with self.open("wb") as stream:
            stream.write(data[:100])
        raise OSError(errno.ENOSPC, "No space left on device")

    before = {file.name: file.read_bytes() for file in tmp_path.iterdir()}
    with monkeypatch.context() as patch:
        patch.setattr(Path, "write_bytes", full)
        with pytest.raises(UserError, match=r"cannot write .*No space left on device"):
            run(path)
    assert {file.name: file.read_bytes() for file in tmp_path.iterdir()} == before
    assert whole + run(path)[0] == run(tmp_path / "whole.safetensors")[0]


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
    batches = Batches(image_batch, Noise(), TRAINING, 7)
    with pytest.raises(UserError, match=r"diverged at step 2: loss.*last good checkpoint"):
        train(Exploding(), batches, Fabric(accelerator="cpu", devices=1), checkpoint, "test", save_seconds=0)
    assert checkpoint.exists()


class Quadratic(Trainable):
    """The mean over the crops of (w·mean of the crop - 1)²; more than `room` crops at once do not fit into memory."""

    def __init__(self, room: int, words: str = "") -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.ones(3))
        self.room, self.words, self.sizes = room, words, list[int]()

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        self.sizes.append(len(batch.images))
        if len(batch.images) > self.room:
            raise RuntimeError(self.words) if self.words else torch.OutOfMemoryError("CUDA out of memory.")
        off = (batch.images.mean((2, 3)) * self.weight - 1).square().mean(1)
        return {"loss": off.mean(), "task": off.mean().sqrt()}


def quadratic(room: int, path: Path, batch_size: int = 6, words: str = "") -> tuple[Quadratic, list[dict[str, float]], Ledger]:
    trainable, seen = Quadratic(room, words), list[dict[str, float]]()
    batches = Batches(image_batch, Noise(), TRAINING.model_copy(update={"batch_size": batch_size}), 7)
    fabric = Fabric(accelerator="cpu", devices=1)
    ledger = train(trainable, batches, fabric, path, "test", lambda step, terms: seen.append(terms), log_every=1, save_seconds=0)
    return trainable, seen, ledger


@pytest.mark.parametrize(
    ("room", "tried", "words"),
    [
        (6, [6], ""),
        (5, [6, 3, 3], ""),
        (2, [6, 3, 2, 2, 2], ""),
        (1, [6, 3, 2, *[1] * 6], ""),
        (3, [6, 3, 3], "DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes."),
    ],
)
def test_a_batch_that_does_not_fit_goes_through_in_halves_with_the_same_gradient(
    room: int, tried: list[int], words: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    whole, expected, _ = quadratic(6, tmp_path / "whole.safetensors")
    trainable, seen, ledger = quadratic(room, tmp_path / "parts.safetensors", words=words)
    assert trainable.sizes[: len(tried)] == tried
    assert [terms["loss"] for terms in seen] == pytest.approx([terms["loss"] for terms in expected], rel=1e-6)
    assert [terms["gradient_norm"] for terms in seen] == pytest.approx([t["gradient_norm"] for t in expected], rel=1e-5)
    assert torch.allclose(trainable.weight, whole.weight, rtol=1e-5)
    said = [record.getMessage() for record in caplog.records if "out of memory at step 0" in record.getMessage()]
    assert len(said) == tried.index(tried[-1])  # each halving is said once, and kept for all steps that follow
    assert ledger.images == 36
    assert (ledger.micro_batch, bool(ledger.warnings)) == ((tried[-1], True) if room < 6 else (0, False))


def test_crops_weigh_the_same_in_parts_of_different_size(tmp_path: Path) -> None:
    _, expected, _ = quadratic(5, tmp_path / "whole.safetensors", batch_size=5)
    trainable, seen, _ = quadratic(3, tmp_path / "parts.safetensors", batch_size=5)
    assert trainable.sizes[:3] == [5, 3, 2]
    assert [terms["loss"] for terms in seen] == pytest.approx([terms["loss"] for terms in expected], rel=1e-6)


def test_a_resumed_training_keeps_its_parts(tmp_path: Path) -> None:
    quadratic(3, path := tmp_path / "c.safetensors")
    path.unlink()  # the one before has all steps but the last
    trainable, seen, ledger = quadratic(3, path)
    assert (trainable.sizes, len(seen), ledger.micro_batch, ledger.split_from) == ([3, 3], 1, 3, 0)


def test_memory_for_less_than_one_crop_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="a training step on one crop does not fit"):
        quadratic(0, tmp_path / "c.safetensors")


def test_other_errors_are_not_taken_for_a_lack_of_memory(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="shapes do not fit"):
        quadratic(1, tmp_path / "c.safetensors", words="shapes do not fit")


@pytest.mark.parametrize(("size", "sizes"), [(0, [5]), (5, [5]), (9, [5]), (2, [2, 2, 1]), (1, [1] * 5)])
def test_parts_of_a_batch(size: int, sizes: list[int]) -> None:
    batch = Batch(torch.arange(5.0).reshape(5, 1, 1, 1), list("abcde"))
    found = list(parts(batch, size))
    assert [len(part.images) for part in found] == sizes
    assert torch.equal(torch.cat([part.images for part in found]), batch.images)
    assert "".join(target for part in found for target in part.targets) == "abcde"


class Grouped(DistortionTraining):
    """A codec with a part of its own learning rate, which notes when its hooks are called."""

    def __init__(self) -> None:
        torch.manual_seed(0)
        super().__init__(SPEC, 0.01)
        self.extra, self.calls = torch.nn.Linear(1, 1), list[str]()

    def parameter_groups(self) -> list[dict[str, Any]]:
        return [{"params": self.extra.parameters(), "lr": 0.5}]

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        self.calls.append("loss")
        terms = super().loss(batch)
        return terms | {"loss": terms["loss"] + self.extra.weight.square().sum()}

    def after_step(self) -> None:
        assert not torch.is_grad_enabled()
        self.calls.append("step")

    def finish(self) -> None:
        assert not torch.is_grad_enabled()
        self.calls.append("finish")


def trained(trainable: Trainable, folder: Path, training: Training = TRAINING) -> Ledger:
    fabric = Fabric(accelerator="cpu", devices=1)
    return train(trainable, Batches(image_batch, Noise(), training, 7), fabric, folder / "c.safetensors", "test")


def test_networks_densities_and_own_parts_have_their_own_learning_rates() -> None:
    trainable = Grouped()
    optimizer = make_optimizer(trainable, TRAINING.model_copy(update={"prior_lr": 0.02}))
    networks, priors, own = optimizer.param_groups
    assert [group["lr"] for group in (networks, priors, own)] == [1e-3, 0.02, 0.5]
    assert {id(p) for p in own["params"]} == {id(p) for p in trainable.extra.parameters()}
    names = {id(p): name for name, p in trainable.named_parameters()}
    assert {names[id(p)].split(".")[1] for p in priors["params"]} == {"entropy_bottleneck"}
    trained_parameters = [names[id(p)] for group in optimizer.param_groups for p in group["params"]]
    assert sorted(trained_parameters) == sorted(name for name in names.values() if not name.endswith("quantiles"))


def test_adam_moves_a_density_by_about_the_sum_of_its_own_learning_rates(tmp_path: Path) -> None:
    moved = {}
    for prior_lr in (1e-4, 1e-2):
        trainable = Grouped()
        before = [p.detach().clone() for p in densities(trainable)]
        trained(trainable, tmp_path / str(prior_lr), TRAINING.model_copy(update={"prior_lr": prior_lr}))
        moved[prior_lr] = max(float((p - b).abs().max()) for p, b in zip(densities(trainable), before, strict=True))
    total = sum(TRAINING.lr_factor(step) for step in range(TRAINING.steps))
    assert all(0.2 * rate * total < distance < 2 * rate * total for rate, distance in moved.items())


def test_hooks_are_called_after_each_step_and_once_at_the_end(tmp_path: Path) -> None:
    trained(trainable := Grouped(), tmp_path)
    assert trainable.calls == [*["loss", "step"] * 6, "finish"]


def test_a_part_of_its_own_does_not_change_the_steps_of_the_codec(tmp_path: Path) -> None:
    class Alone(Grouped):
        def parameter_groups(self) -> list[dict[str, Any]]:
            return []

        def loss(self, batch: Batch) -> dict[str, Tensor]:
            return DistortionTraining.loss(self, batch)

    codecs = []
    for number, kind in enumerate((Grouped, Alone)):
        trained(trainable := kind(), tmp_path / str(number), TRAINING.model_copy(update={"clip_norm": 1e-3}))
        codecs.append(trainable.codec.state_dict())
    assert all(torch.equal(value, codecs[1][name]) for name, value in codecs[0].items())


class Greedy(Grouped):
    """Takes more than its budget: an optimiser of its own, one on the densities, and a second pass through the codec."""

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        for parameters in ([self.extra.bias], densities(self.codec)):
            torch.optim.SGD(parameters, 0.0).step()
        self.codec(batch.images)
        return super().loss(batch)


def test_all_that_a_training_takes_is_counted(tmp_path: Path) -> None:
    honest, greedy = trained(Grouped(), tmp_path / "honest"), trained(Greedy(), tmp_path / "greedy")
    assert (honest.optimizer_steps, honest.prior_steps, honest.codec_crops) == (6, 0, 12)
    assert (greedy.optimizer_steps, greedy.prior_steps, greedy.codec_crops) == (12, 6, 24)


@pytest.mark.parametrize(
    ("architecture", "layout"), [("cheng2020-attn", torch.contiguous_format), ("mbt2018-mean", torch.channels_last)]
)
def test_the_layout_that_corrupts_memory_is_avoided(architecture: str, layout: torch.memory_format) -> None:
    sizes = {"N": 8} if architecture == "cheng2020-attn" else {"N": 8, "M": 12}
    assert memory_layout(build_model(CodecSpec(architecture=architecture, sizes=sizes)), torch.device("cpu")) is layout


def test_all_methods_see_the_same_batches_at_one_seed() -> None:
    one, other = (Batches(image_batch, Noise(), TRAINING, 7)[3].images for _ in range(2))
    assert torch.equal(one, other)
    assert not torch.equal(one, Batches(image_batch, Noise(), TRAINING, 8)[3].images)


def test_ranks_share_the_batch_that_one_device_gets() -> None:
    whole = Batches(image_batch, Noise(), TRAINING.model_copy(update={"batch_size": 5}), 7)[0]
    shares = [Batches(image_batch, Noise(), TRAINING.model_copy(update={"batch_size": 5}), 7, rank, 2)[0] for rank in (0, 1)]
    assert torch.equal(shares[0].images, whole.images[[0, 2, 4]])
    assert torch.equal(shares[1].images, whole.images[[1, 3]])


BATCH_SIZES = (4, 5)


def share(fabric: Fabric, folder: Path) -> None:
    """One of the devices of a data-parallel training with each batch size."""
    for size in BATCH_SIZES:
        trainable, training = Quadratic(size), TRAINING.model_copy(update={"batch_size": size})
        batches = Batches(image_batch, Noise(), training, 7, fabric.global_rank, fabric.world_size)
        train(trainable, batches, fabric, folder / f"{size}.safetensors", "test")
        torch.save([trainable.weight.detach(), trainable.sizes], folder / f"{size}-{fabric.global_rank}.pt")


@pytest.mark.slow
def test_two_devices_train_as_one_does(tmp_path: Path) -> None:
    fabric = Fabric(accelerator="cpu", devices=2, strategy=DDPStrategy(start_method="spawn", process_group_backend="gloo"))
    fabric.launch(share, tmp_path)
    for size in BATCH_SIZES:
        (one, few), (other, fewer) = (torch.load(tmp_path / f"{size}-{rank}.pt") for rank in (0, 1))
        assert (few, fewer) == ([size - size // 2] * 6, [size // 2] * 6)
        assert torch.equal(one, other)
        alone, _, _ = quadratic(size, tmp_path / f"alone-{size}.safetensors", size)
        assert torch.allclose(one, alone.weight, rtol=1e-6)
        assert not torch.allclose(one, torch.ones(3), atol=1e-3)
