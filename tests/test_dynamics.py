"""`icmbench dynamics`: probes that change nothing, gradients that add up, bit maps that lose no bit, figures, resuming."""

import json
import math
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import torch
from cells import CPU, INLINE, Refused, bound, folders
from PIL import Image
from torch import Tensor, nn

from builders import make_protocol
from icmbench.api.method import TrainedMethod
from icmbench.api.task import Batch, Sample, Task
from icmbench.base.errors import UserError
from icmbench.cli.main import main
from icmbench.codecs.neural import NeuralCodec, build_model
from icmbench.experiment.build import build_method, load_task
from icmbench.experiment.cell import Cell
from icmbench.experiment.compute import train_cell
from icmbench.experiment.folders import Share
from icmbench.experiment.train import Batches
from icmbench.extras.dynamics import dynamics as dynamics_job
from icmbench.extras.dynamics import watch
from icmbench.extras.dynamics.allocation import Allocation, allocate, bit_map
from icmbench.extras.dynamics.figures import START, ImageMaps, Study, cosine_maps, draw
from icmbench.extras.dynamics.watch import (
    PROBES,
    Dynamics,
    Gradients,
    Probed,
    WatchCell,
    gradient,
    layers_of,
    part_of,
    probe_steps,
)
from icmbench.plugins.find import Plugins
from icmbench.schema.protocol import CodecSpec
from icmbench.show import figure

ARCHITECTURES = ("bmshj2018-factorized", "mbt2018-mean")


class Toy(TrainedMethod):
    """Terms that are linear in an encoder's two weights, so that all gradients are known."""

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        weight = self.codec.g_a.weight[0]
        task, aux, rate = weight @ torch.tensor([3.0, 4.0]), weight @ torch.tensor([4.0, 3.0]), self.codec.h_s.weight.sum()
        return {"loss": rate + 2 * (task + 0.5 * aux), "rate": rate, "task": task, "aux": aux, "note": torch.tensor(7.0)}


def toy() -> Toy:
    codec = nn.ModuleDict({"g_a": nn.Linear(2, 1, bias=False), "h_s": nn.Linear(2, 2, bias=False)})
    return Toy(None, codec, None, 2.0, None)  # type: ignore[arg-type]


def test_norms_and_cosines_are_those_of_the_single_terms() -> None:
    probed = Probed(toy(), steps=2)
    for progress in (0.0, 0.5):
        probed.progress = progress
        probed.loss(Batch(torch.zeros(1, 3, 8, 8), [None]))
    parts = probed.by_part()
    assert set(parts) == {"encoder", "entropy model"}
    encoder = parts["encoder"]
    assert encoder.norms["task"] == [pytest.approx(5.0)] * 2
    assert encoder.norms["loss"] == [pytest.approx(math.hypot(2 * 3 + 4, 2 * 4 + 3))] * 2
    assert encoder.cosines["aux"] == [pytest.approx(24 / 25)] * 2
    for absent in (encoder.norms["rate"], encoder.norms["note"], encoder.cosines["rate"]):  # they do not reach the encoder
        assert absent == pytest.approx([math.nan] * 2, nan_ok=True)
    assert '"rate":[null,null]' in encoder.model_dump_json()
    assert parts["entropy model"].norms["rate"] == [pytest.approx(2.0)] * 2
    assert probed.by_layer()["g_a"].cosines["aux"] == encoder.cosines["aux"]


def test_the_wrapped_method_knows_how_far_the_training_is() -> None:
    method = toy()
    probed = Probed(method, steps=100)
    probed.progress = 0.25
    probed.loss(Batch(torch.zeros(1, 3, 8, 8), [None]))
    assert method.progress == 0.25
    assert probed.products == []  # 25 is no step that is probed
    assert 25 not in probe_steps(100)


def test_probes_are_evenly_spaced_with_both_ends() -> None:
    steps = probe_steps(200)
    assert (steps[0], steps[-1], len(steps)) == (0, 199, PROBES)
    assert set(np.diff(steps)) <= {10, 11}
    assert probe_steps(3) == [0, 1, 2]
    assert probe_steps(1) == [0]


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_every_parameter_but_the_quantiles_has_a_layer_and_a_part(architecture: str) -> None:
    model = build_model(CodecSpec(architecture=architecture, sizes={"N": 8, "M": 12}))
    model.g_s.requires_grad_(False)
    layers = layers_of(model)
    found = {id(p) for own in layers.values() for p in own}
    expected = {id(p) for name, p in model.named_parameters() if not name.endswith("quantiles") and not name.startswith("g_s")}
    assert found == expected
    parts = [part_of(name) for name in ("h_a.0", "h_s.0", "g_s.1", "context_prediction")]
    assert parts == ["encoder", "entropy model", "decoder", "entropy model"]


def small_codec(architecture: str) -> NeuralCodec:
    torch.manual_seed(0)
    spec = CodecSpec(architecture=architecture, sizes={"N": 8, "M": 12})
    codec = NeuralCodec(build_model(spec), spec)
    codec.refit()
    return codec


def picture(height: int, width: int, seed: int = 0) -> Tensor:
    """Noise at the right, nothing at the left."""
    image = torch.from_numpy(np.random.default_rng(seed).integers(0, 256, (3, height, width), dtype=np.uint8))
    image[:, :, : width // 2] = 128
    return image


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_a_map_spreads_each_position_over_its_pixels_and_leaves_the_padding_out(architecture: str) -> None:
    codec, whole, image = small_codec(architecture), picture(64, 128), picture(50, 70)
    assert float(bit_map(codec, whole).sum()) == pytest.approx(codec.estimated_bits(whole), rel=1e-5)
    found = bit_map(codec, image)
    with torch.no_grad():
        latents = codec.model(codec.padded(image))["likelihoods"].values()
    assert found.shape == (50, 70)
    for y, x in ((0, 0), (17, 40), (49, 69)):
        expected = 0.0
        for p in latents:
            stride = 64 // p.shape[2]  # padded to 64 x 128
            assert stride == 128 // p.shape[3]
            expected += float(-p[0, :, y // stride, x // stride].log2().sum()) / stride**2
        assert float(found[y, x]) == pytest.approx(expected, rel=1e-5)
    assert float(found.sum()) < codec.estimated_bits(image)


class Pictures(Task):
    """Two pictures whose objects, if the task says where they are, are the right half."""

    def __init__(self, says: bool) -> None:
        self.says = says

    def dataset(self, split: str) -> Any:
        return [Sample(picture(64, 64, seed), seed, str(seed)) for seed in range(2)]

    def object_masks(self, targets: Sequence[Any], size: tuple[int, int]) -> Tensor:
        if not self.says:
            return super().object_masks(targets, size)
        masks = torch.zeros(len(targets), 1, *size)
        masks[..., size[1] // 2 :] = 1
        return masks


Pictures.__abstractmethods__ = frozenset()


def test_the_share_of_bits_inside_objects() -> None:
    codec = small_codec("bmshj2018-factorized")
    found = allocate(codec, Pictures(says=True))
    maps = [bit_map(codec, picture(64, 64, seed)) for seed in range(2)]
    assert found.bits == [pytest.approx(float(bits.sum())) for bits in maps]
    assert found.bits_inside == [pytest.approx(float(bits[:, 32:].sum())) for bits in maps]
    assert found.area_share == 0.5
    assert found.bits_share == pytest.approx(sum(found.bits_inside) / sum(found.bits))
    assert found.bpp == pytest.approx(sum(found.bits) / (2 * 64 * 64))
    unsaid = allocate(codec, Pictures(says=False))
    assert unsaid.bits == found.bits
    assert math.isnan(unsaid.bits_share)
    assert math.isnan(unsaid.area_share)


def result(label: str, seed: int, masks: bool) -> Dynamics:
    """A made-up result."""
    rng = np.random.default_rng(seed)
    terms = ["loss", "rate", "task"] + ["aux"] * (label == "aux_loss")
    series = {term: [float(v) for v in rng.uniform(1, 2, 3)] for term in terms}
    reached = Gradients(norms=series, cosines={t: series[t] for t in terms if t != "task"})
    absent = {term: [math.nan] * 3 for term in ("rate", "aux") if term in terms}
    apart = Gradients(norms=series | absent, cosines={"loss": series["loss"]} | absent)
    bits = Allocation(pixels=[64], bits=[30.0 + seed], pixels_inside=[16.0] * masks, bits_inside=[10.0] * masks)
    return Dynamics(
        identity="", label=label, lmbda=0.3, seed=seed, steps=list(range(3)), curves=series | {"lr": [1.0] * 3}, probed=[0, 1, 2],
        parts={"encoder": reached, "decoder": apart}, layers={"g_a.0": reached, "g_s.0": apart}, before=bits, after=bits,
        train_seconds=3.0, probe_seconds=1.0,
    )  # fmt: skip


def made_up(labels: Sequence[str], seeds: int, masks: bool) -> Study:
    mask = np.zeros((8, 8))
    mask[2:5, 3:6] = 1
    maps = {name: np.full((8, 8), 0.5) for name in (START, *labels)}
    pictures = [ImageMaps(np.zeros((8, 8, 3), np.uint8), mask if masks else None, maps)]
    return Study("tiny@0", 0.3, {label: [result(label, seed, masks) for seed in range(seeds)] for label in labels}, pictures)


BOTH = ["task_loss", "aux_loss"]
FIGURES = {f"{name}.{form}" for name in ("losses", "gradients", "cosines", "bits") for form in ("png", "svg", "pdf")}


@pytest.mark.parametrize(("labels", "seeds", "masks"), [(BOTH, 2, True), (["task_loss"], 1, True), (BOTH, 1, False)])
def test_figures_of_methods_seeds_and_tasks_without_masks(
    labels: list[str], seeds: int, masks: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    forms = ("png", "svg", "pdf") if seeds > 1 else ("png",)  # all of them once, as that takes seconds
    monkeypatch.setattr(figure, "DATES", {form: figure.DATES[form] for form in forms})
    study = made_up(labels, seeds, masks)
    assert {path.name for path in draw(study, tmp_path)} == {name for name in FIGURES if name.endswith(forms)}
    for path in tmp_path.glob("*.png"):
        with Image.open(path) as image:
            image.verify()
            assert min(image.size) > 200
    numbers = dynamics_job.summary(study)
    assert numbers["area_inside"] == pytest.approx(0.25 if masks else math.nan, nan_ok=True)
    assert set(numbers["methods"]) == set(labels)
    said = dynamics_job.describe(numbers)
    assert ("objects cover 25.0% of the area" in said) == masks
    assert ("does not say where objects are" in said) == (not masks)
    assert "aux_loss: mean cosine" in said or "aux_loss" not in labels


def test_seeds_are_averaged() -> None:
    study = made_up(BOTH, 2, True)
    one, other = study.results["aux_loss"]
    found = cosine_maps(study)
    assert list(found) == ["rate, task_loss", "rate, aux_loss", "auxiliary loss, aux_loss"]
    expected = (np.array(one.layers["g_a.0"].cosines["aux"]) + np.array(other.layers["g_a.0"].cosines["aux"])) / 2
    aux = found["auxiliary loss, aux_loss"]
    assert list(aux.index) == ["g_a.0"]  # no term but the total meets the task's gradient in the decoder
    assert aux.loc["g_a.0"].to_numpy() == pytest.approx(expected)
    numbers = dynamics_job.summary(study)["methods"]["aux_loss"]
    assert numbers["bpp"] == pytest.approx((30 + 31) / 2 / 64)
    assert numbers["cosines"]["encoder"]["aux"] == pytest.approx(expected.mean())


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["mse", "detection"], "mse is not trained"),
        (["aux_los", "detection"], "did you mean 'aux_loss'"),
        (["aux_loss", "detection", "--rates", "7"], "rate points of the protocol"),
    ],
)
def test_refusals(words: list[str], expected: str, refused: Refused) -> None:
    refused(["dynamics", *words], expected)


@pytest.mark.slow
def test_the_gradient_of_the_loss_is_the_sum_of_its_terms(tmp_path: Path) -> None:
    plugins = Plugins()
    protocol = bound("shapes-detection-v3", {"training.batch_size": 2})
    method, task = build_method(Cell(protocol, "aux_loss", (), 1, 0), plugins, CPU), load_task(protocol, plugins, CPU)
    assert isinstance(method, TrainedMethod)
    terms = method.loss(Batches(task.batch, task.dataset("train"), protocol.training, 0)[0])
    parameters = [p for own in layers_of(method.codec).values() for p in own]
    of = SimpleNamespace(**{name: gradient(term, parameters) for name, term in terms.items()})
    for total, rate, task, aux in zip(of.loss, of.rate, of.task, of.aux, strict=True):
        expected = rate + method.lmbda * (task + 0.5 * aux)
        assert float((total - expected).norm()) <= 1e-4 * float(total.norm()) + 1e-7


WATCHED = {"training.steps": 8, "training.batch_size": 2}


@pytest.mark.slow
def test_a_watched_training_is_that_of_run_and_is_not_repeated(
    small_protocol: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(watch, "PROBES", 4)
    changes = [word for name, value in WATCHED.items() for word in ("--set", f"{name}={value}")]
    words = ["dynamics", "aux_loss", "segmentation", "--protocol", str(small_protocol), *changes, *INLINE]
    words += ["--runs", str(tmp_path / "runs")]
    assert main(words) == 0
    assert "2 cells, 0 already there" in capsys.readouterr().out

    protocol, plugins = bound(small_protocol, WATCHED), Plugins()
    middle = len(protocol.rates) // 2
    watched, plain = WatchCell(plugins, folders(tmp_path), CPU), folders(tmp_path / "elsewhere")
    both = [Cell(protocol, name, (), middle, 0) for name in ("task_loss", "aux_loss")]
    for cell in both:
        logged: dict[int, dict[str, float]] = {}
        train_cell(cell, plugins, plain, CPU, Share(), lambda phase, done, total, terms, to=logged: to.update({done - 1: terms}))
        found = watched.result(cell)
        assert found is not None
        for step, terms in logged.items():  # run logs only some steps
            assert {name: curve[step] for name, curve in found.curves.items()} == terms
        assert 7 in logged
        codec = watched.folders.codec(cell)
        one, other = (safetensors.torch.load_file(path) for path in (plain.codec(cell), codec))
        assert one.keys() == other.keys()
        assert all(torch.equal(one[name], other[name]) for name in one)
        assert len(found.probed) == 4 < len(found.steps) == 8
        assert len(found.after.bits_inside) == len(found.before.bits) == 4

    figures = tmp_path / "runs" / protocol.identity / "dynamics" / "aux_loss" / f"lambda={protocol.rates[middle].lmbda:g}"
    assert {path.name for path in figures.iterdir()} == FIGURES | {"numbers.json"}

    path, codec = watched.path(both[1]), watched.folders.codec(both[1])
    fields = json.loads(path.read_text())
    path.write_text(json.dumps(fields | {"identity": "another"}))
    codec_written = codec.stat().st_mtime_ns
    assert main(words) == 0
    assert "2 cells, 1 already there" in capsys.readouterr().out
    again = json.loads(path.read_text())
    assert {k: v for k, v in again.items() if "seconds" not in k} == {k: v for k, v in fields.items() if "seconds" not in k}
    assert codec.stat().st_mtime_ns == codec_written  # the same codec: the one of the first time stays


@pytest.mark.slow
def test_a_result_that_is_damaged_or_without_its_codec_is_made_anew(small_protocol: Path, tmp_path: Path) -> None:
    cell = Cell(bound(small_protocol, {"training.steps": 1}), "task_loss", (), 0, 0)
    work = WatchCell(Plugins(), folders(tmp_path), CPU)
    assert work.result(cell) is None
    assert work(cell)
    assert work.result(cell) is not None
    assert not work(cell)  # it is there
    codec = work.folders.codec(cell)
    codec.rename(codec.with_name("kept"))
    assert work.result(cell) is None
    codec.with_name("kept").rename(codec)
    work.path(cell).write_text("{")
    assert work.result(cell) is None


def test_untrained_anchors_are_refused_too() -> None:
    protocol = make_protocol(anchor="mse")
    job = SimpleNamespace(plugins=Plugins(), method="aux_loss", parameters={}, rates=None, seeds=1)
    with pytest.raises(UserError, match="mse is not trained"):
        dynamics_job.run(job, protocol, None)  # type: ignore[arg-type]
