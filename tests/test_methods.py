"""The built-in training schemes: their losses, what trains and what stays, and what they need of a task."""

from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from cells import CPU, bound
from compressai.models import CompressionModel, FactorizedPrior
from compressai.registry import MODELS
from lightning_fabric import Fabric
from pytorch_msssim import ms_ssim
from torch import Tensor, nn

from icmbench.api.classes import make_task, method_class
from icmbench.api.method import TrainedMethod
from icmbench.api.taps import codec_taps
from icmbench.api.task import Batch, Task
from icmbench.base.errors import UserError
from icmbench.codecs.neural import NeuralCodec, build_model, code_for_training, load_weights
from icmbench.experiment.build import load_task
from icmbench.experiment.train import Batches, make_optimizer, memory_layout, train
from icmbench.extras.authoring.check import check
from icmbench.methods._adapter import Adapter
from icmbench.methods.feature_loss import relative_distance
from icmbench.methods.ms_ssim import similarity, window
from icmbench.plugins.find import Plugins, options
from icmbench.plugins.weights import verified_path
from icmbench.schema.protocol import CodecSpec
from icmbench.tasks._data.coco import Boxes
from icmbench.tasks.segmentation.task import IGNORED

PLUGINS = Plugins()
TASKS = ("detection", "segmentation")
WEIGHTED = ("ms_ssim", "feature_loss", "region_mse")
SCHEMES = (*WEIGHTED, "distill", "decoder_only", "encoder_only", "adapter")
FABRIC = Fabric(accelerator="cpu", devices=1)
TINY = {"training.batch_size": 2, "training.steps": 2}
PROTOCOLS = {task: bound(PLUGINS.default_protocol(task), TINY) for task in TASKS}
HYPERPRIOR = CodecSpec(architecture="mbt2018-mean", sizes={"N": 8, "M": 12})
ARCHITECTURES = {
    "bmshj2018-factorized": {"N": 8, "M": 12},
    "bmshj2018-hyperprior": {"N": 8, "M": 12},
    "mbt2018-mean": {"N": 8, "M": 12},
    "mbt2018": {"N": 8, "M": 12},
    "cheng2020-attn": {"N": 8},
    "elic2022-official": {"N": 8, "M": 160},
}


def task_of(name: str) -> Task:
    return load_task(PROTOCOLS[name], PLUGINS, CPU)


def start_codec(task: str = "detection") -> CompressionModel:
    model = build_model(PROTOCOLS[task].codec)
    load_weights(model, verified_path(PROTOCOLS[task].rates[-1].start))
    return model


def scheme(name: str, task: str = "detection", codec: CompressionModel | None = None, **parameters: Any) -> TrainedMethod:
    cls = method_class(PLUGINS, name)
    rules = PROTOCOLS[task].training
    made = cls(options(cls.Parameters, parameters, name), codec or start_codec(task), task_of(task), 0.5, rules)
    assert isinstance(made, TrainedMethod)
    return made


def batches(task: str) -> Batches:
    return Batches(task_of(task).batch, task_of(task).dataset("train"), PROTOCOLS[task].training, 3)


@cache
def batch_of(task: str) -> Batch:
    return batches(task)[0]


def terms_of(method: TrainedMethod, batch: Batch) -> dict[str, Tensor]:
    torch.manual_seed(0)  # the same quantisation noise and samples for all
    return method.loss(batch)


def copied(codec: CompressionModel) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in codec.state_dict().items()}


def changed_by_training(method: TrainedMethod, path: Path, task: str = "detection") -> set[str]:
    before = copied(method.codec)
    train(method, batches(task), FABRIC, path / "checkpoint", "test")
    return {name for name, value in method.codec.state_dict().items() if not torch.equal(value, before[name])}


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("name", SCHEMES)
def test_the_loss_is_rate_plus_weighted_distortion(name: str, task: str) -> None:
    method = scheme(name, task)
    terms = {key: value.item() for key, value in terms_of(method, batch_of(task)).items()}
    weight = method.options.weight if name in WEIGHTED else 1.0
    distortion = next(terms[key] for key in ("distance", "distortion", "task") if key in terms)
    assert distortion > 0
    assert terms["loss"] == pytest.approx(terms["rate"] + 0.5 * weight * distortion, rel=1e-5)


@pytest.mark.parametrize("name", ["ms_ssim", "feature_loss", "distill"])
def test_schemes_without_annotations_never_look_at_them(name: str) -> None:
    method, batch = scheme(name), batch_of("detection")
    blind = terms_of(method, Batch(batch.images, [None, None]))
    assert blind["loss"].item() == terms_of(method, batch)["loss"].item()


# What trains


def belongs_to(*parts: str) -> Callable[[str], bool]:
    return lambda name: any(part in name.split(".") for part in parts)


@pytest.mark.parametrize(
    ("name", "expected"),
    [("decoder_only", belongs_to("g_s")), ("encoder_only", belongs_to("g_a", "h_a")), *((name, None) for name in WEIGHTED)],
)
def test_exactly_the_right_parts_train(name: str, expected: Callable[[str], bool] | None, tmp_path: Path) -> None:
    torch.manual_seed(0)
    method = scheme(name, codec=build_model(HYPERPRIOR))
    names = {key for key, parameter in method.codec.named_parameters() if not expected or expected(key)}
    assert {key for key, parameter in method.codec.named_parameters() if parameter.requires_grad} == names
    changed = changed_by_training(method, tmp_path)
    assert changed <= names
    assert {key.split(".")[0] for key in changed} == {key.split(".")[0] for key in names}


@pytest.mark.parametrize("task", TASKS)
def test_of_an_adapted_codec_only_the_adapters_train(task: str, tmp_path: Path) -> None:
    method = scheme("adapter", task)
    adapters = {f"{at}.{key}" for at, m in method.codec.named_modules() if isinstance(m, Adapter) for key in m.state_dict()}
    assert changed_by_training(method, tmp_path, task) == adapters


def refitted(codec: CompressionModel) -> NeuralCodec:
    made = NeuralCodec(codec, PROTOCOLS["detection"].codec)
    made.refit()
    return made


def test_decoder_only_codes_to_the_bits_of_the_start_codec(tmp_path: Path) -> None:
    method = scheme("decoder_only")
    changed_by_training(method, tmp_path)
    image = task_of("detection").dataset("val")[0].image
    trained, start = refitted(method.codec), refitted(start_codec())
    data = start.encode(image)
    assert trained.encode(image) == data
    assert not torch.equal(trained.decode(data), start.decode(data))


def test_encoder_only_is_decoded_by_the_start_codec(tmp_path: Path) -> None:
    method = scheme("encoder_only")
    changed_by_training(method, tmp_path)
    image = task_of("detection").dataset("val")[0].image
    trained, start = refitted(method.codec), refitted(start_codec())
    data = trained.encode(image)
    assert data != start.encode(image)
    assert torch.equal(start.decode(data), trained.decode(data))
    different = [
        name for name, value in trained.model.state_dict().items() if not torch.equal(value, start.model.state_dict()[name])
    ]
    assert {name.split(".")[0] for name in different} == {"g_a"}


@pytest.mark.parametrize("name", ["decoder_only", "encoder_only", "adapter", "prompt"])
def test_an_architecture_without_transforms_is_refused(name: str) -> None:
    with pytest.raises(UserError, match=r"has no separate encoder g_a and decoder g_s"):
        scheme(name, codec=MODELS["ssf2020"]())


# The branch of aux_loss


def test_the_branch_trains_at_its_own_rate_and_after_the_warm_up_reaches_the_encoder() -> None:
    method = scheme("aux_loss", branch_lr=2e-3, warmup=0.5, alpha_mode="uncertainty")
    (networks, _, branch, scale) = make_optimizer(method, PROTOCOLS["detection"].training).param_groups
    assert [group["lr"] for group in (networks, branch, scale)] == [5e-4, 2e-3, 1e-2]
    assert {id(p) for p in branch["params"]} == {id(p) for p in method.branch.parameters()}
    for progress, reaches in ((0.0, False), (0.49, False), (0.5, True)):
        method.progress = progress
        gradient = torch.autograd.grad(
            terms_of(method, batch_of("detection"))["aux"], method.codec.g_a[0].weight, allow_unused=True
        )[0]
        assert (gradient is not None and bool(gradient.abs().sum() > 0)) == reaches


@pytest.mark.slow
@pytest.mark.parametrize(("task", "metric"), [("detection", "AP50"), ("segmentation", "mIoU")])
def test_a_trained_branch_is_assessed_and_reads_more_than_a_fresh_one(task: str, metric: str, tmp_path: Path) -> None:
    method = scheme("aux_loss", task)
    with torch.no_grad():
        fresh = method.eval().assess()
    rules = PROTOCOLS[task].training.model_copy(update={"steps": 25, "batch_size": 8})
    train(method, Batches(task_of(task).batch, task_of(task).dataset("train"), rules, 3), FABRIC, tmp_path / "c", "test")
    with torch.no_grad():
        trained = method.eval().assess()
    assert set(fresh) <= set(trained)
    assert trained[metric] > fresh[metric]


# Adapters


def adapted(architecture: str, width: int = 4) -> CompressionModel:
    torch.manual_seed(0)
    model = build_model(CodecSpec(architecture=architecture, sizes=ARCHITECTURES[architecture])).eval()
    cls = method_class(PLUGINS, "adapter")
    assert issubclass(cls, TrainedMethod)
    cls.extend(model, options(cls.Parameters, {"width": width}, "adapter"))
    return model


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_adapters_change_nothing_before_training(architecture: str) -> None:
    torch.manual_seed(0)
    plain = build_model(CodecSpec(architecture=architecture, sizes=ARCHITECTURES[architecture])).eval()
    model, x = adapted(architecture), torch.rand(1, 3, 64, 64)
    assert sum(isinstance(module, Adapter) for module in model.modules()) >= 6
    with torch.no_grad():
        assert torch.equal(plain(x)["x_hat"], model(x)["x_hat"])
    places = {name: (tap.channels, tap.stride) for name, tap in codec_taps(model).items()}
    assert places == {name: (tap.channels, tap.stride) for name, tap in codec_taps(plain).items()}
    assert memory_layout(model, torch.device("cpu")) is memory_layout(plain, torch.device("cpu"))


def test_a_trained_adapter_is_saved_with_the_codec(tmp_path: Path) -> None:
    method = scheme("adapter", width=4)
    changed_by_training(method, tmp_path)
    codec = refitted(method.codec)
    codec.save(tmp_path / "codec.safetensors")
    cls = method_class(PLUGINS, "adapter")
    assert issubclass(cls, TrainedMethod)
    again = NeuralCodec.load(
        tmp_path / "codec.safetensors", torch.device("cpu"), extend=lambda model: cls.extend(model, method.options)
    )
    image = task_of("detection").dataset("val")[0].image
    data = codec.encode(image)
    assert data != refitted(start_codec()).encode(image)
    assert again.encode(image) == data
    assert torch.equal(again.decode(data), codec.decode(data))
    with pytest.raises(UserError, match="cannot load codec weights"):
        NeuralCodec.load(tmp_path / "codec.safetensors", torch.device("cpu"))


# Prompts


class Attention(nn.Module):
    """Self-attention over all places of a feature map."""

    def __init__(self, channels: int, batch_first: bool) -> None:
        super().__init__()
        self.layer = nn.MultiheadAttention(channels, 2, batch_first=batch_first)

    def forward(self, x: Tensor) -> Tensor:
        tokens = x.flatten(2).permute(0, 2, 1) if self.layer.batch_first else x.flatten(2).permute(2, 0, 1)
        found = self.layer(tokens, tokens, tokens, need_weights=False)[0]
        return x + (found.permute(0, 2, 1) if self.layer.batch_first else found.permute(1, 2, 0)).reshape(x.shape)


class TinyTransformer(FactorizedPrior):
    """A factorised-prior codec with an attention layer on each side of the latent."""

    def __init__(self, **sizes: int) -> None:
        super().__init__(**sizes)
        self.g_a.append(Attention(self.M, True))
        self.g_s.insert(0, Attention(self.M, False))


@pytest.fixture
def transformer(monkeypatch: pytest.MonkeyPatch) -> CompressionModel:
    monkeypatch.setitem(MODELS, "tiny-transformer", TinyTransformer)
    torch.manual_seed(0)
    return build_model(CodecSpec(architecture="tiny-transformer", sizes={"N": 8, "M": 12}))


def test_of_a_prompted_codec_only_the_prompts_train(transformer: CompressionModel, tmp_path: Path) -> None:
    method = scheme("prompt", codec=transformer, tokens=3)
    prompts = {name: value for name, value in method.codec.state_dict().items() if name.endswith("prompts")}
    assert [tuple(value.shape) for value in prompts.values()] == [(3, 12), (3, 12)]
    assert changed_by_training(method, tmp_path) == set(prompts)


@pytest.mark.parametrize("batch_first", [True, False])
@pytest.mark.parametrize("hidden", [True, False])
def test_prompts_are_keys_and_values_before_the_others(batch_first: bool, hidden: bool) -> None:
    torch.manual_seed(0)
    model = build_model(CodecSpec(architecture="bmshj2018-factorized", sizes={"N": 8, "M": 12}))
    model.g_a.append(Attention(12, batch_first))
    layer, x = model.g_a[-1].layer, torch.rand(2, 5, 12)
    mask = torch.zeros(2, 5, dtype=torch.bool)
    mask[:, 2:] = hidden
    scheme("prompt", codec=model, tokens=3)
    longer = torch.cat([layer.prompts.expand(2, 3, 12), x], 1)
    plain = nn.MultiheadAttention(12, 2, batch_first=True)
    plain.load_state_dict({name: value for name, value in layer.state_dict().items() if name != "prompts"})
    expected = plain(x, longer, longer, key_padding_mask=torch.cat([torch.zeros(2, 3, dtype=torch.bool), mask], 1))[0]
    given = x if batch_first else x.transpose(0, 1)
    found = layer(given, given, given, mask)[0]
    assert torch.allclose(found if batch_first else found.transpose(0, 1), expected, atol=1e-6)


def test_prompts_need_attention_layers() -> None:
    with pytest.raises(UserError, match="has no attention layers"):
        scheme("prompt")


def test_the_check_of_a_refused_method_is_one_sentence() -> None:
    results = check(PLUGINS, "prompt", "detection")
    assert [result.what for result in results] == ["can be loaded"]
    assert "has no attention layers" in results[0].problem


# Distances


def test_the_feature_distance_of_equal_images_is_0_and_that_of_blank_maps_is_1() -> None:
    maps = task_of("detection").features(batch_of("detection").images)
    assert relative_distance(maps, maps).item() == 0
    assert relative_distance(maps, tuple(map(torch.zeros_like, maps))).item() == pytest.approx(1)
    scaled = (maps[0] * 100, *maps[1:])
    shaken = tuple(level * 1.1 for level in scaled)
    assert relative_distance(scaled, shaken).item() == pytest.approx(0.01, rel=1e-4)


@pytest.mark.parametrize(("side", "width"), [(97, 7), (128, 7), (160, 9), (161, 11), (256, 11)])
def test_the_window_of_ms_ssim_fits_the_crops(side: int, width: int) -> None:
    assert window(side) == width
    images = torch.rand(1, 3, side, side)
    assert similarity(images, images).item() == pytest.approx(1)


def test_ms_ssim_is_the_usual_one_where_the_usual_window_fits() -> None:
    images = torch.rand(2, 3, 176, 192)
    noisy = images + 0.1 * torch.randn_like(images)
    assert similarity(noisy, images).item() == pytest.approx(ms_ssim(noisy, images, data_range=1.0).item())


def test_crops_too_small_for_ms_ssim_are_refused() -> None:
    with pytest.raises(UserError, match="more than 96 pixels, these have 64"):
        scheme("ms_ssim").loss(Batch(torch.rand(1, 3, 64, 64), [None]))


def test_region_mse_weighs_each_pixel_and_not_the_share_of_objects() -> None:
    images = torch.rand(1, 3, 64, 64)
    half = Boxes(torch.tensor([[0.0, 0, 32, 64]]), torch.tensor([1]), (64, 64), 0)
    whole = Boxes(torch.tensor([[0.0, 0, 64, 64]]), torch.tensor([1]), (64, 64), 0)

    def distortion(target: Boxes, background: float) -> float:
        return terms_of(scheme("region_mse", background=background), Batch(images, [target]))["distortion"].item()

    codec = start_codec().train()
    torch.manual_seed(0)
    coded = code_for_training(codec, images, PROTOCOLS["detection"].training.quantisation)
    error = 255**2 * (coded.images - images).square().detach()
    assert distortion(whole, 0.0) == pytest.approx(error.mean().item(), rel=1e-4)
    assert distortion(half, 1.0) == pytest.approx(error.mean().item(), rel=1e-4)
    assert distortion(half, 0.0) == pytest.approx(error[..., :32].sum().item() / error.numel(), rel=1e-4)
    assert distortion(half, 0.25) == pytest.approx(0.25 * distortion(half, 1.0) + 0.75 * distortion(half, 0.0), rel=1e-4)


# What the tasks say


@pytest.mark.parametrize("task", TASKS)
def test_feature_maps_are_those_of_the_head_and_differentiable(task: str) -> None:
    images = batch_of(task).images.clone().requires_grad_(True)
    maps = task_of(task).features(images)
    strides = {"detection": [4, 8, 16, 32], "segmentation": [4, 8, 8, 8]}[task]
    assert [128 // level.shape[3] for level in maps] == strides
    torch.autograd.backward(torch.stack([level.square().mean() for level in maps]).sum())
    assert images.grad is not None
    assert images.grad.abs().sum() > 0


def test_own_detections_are_near_the_annotations_of_easy_pictures() -> None:
    batch = batch_of("detection")
    own = task_of("detection").own_targets(batch.images)
    for found, annotated in zip(own, batch.targets, strict=True):
        assert found.size == (128, 128)
        assert not found.boxes.requires_grad
        for box, label in zip(annotated.boxes, annotated.labels, strict=True):
            same = found.boxes[found.labels == label]
            assert (same - box).abs().amax(1).min() < 8


def test_own_masks_are_the_most_likely_classes() -> None:
    batch = batch_of("segmentation")
    own = task_of("segmentation").own_targets(batch.images)
    for found, annotated in zip(own, batch.targets, strict=True):
        assert found.shape == annotated.shape
        assert found.dtype == torch.int64
        assert (found == annotated)[annotated != IGNORED].float().mean() > 0.9


def test_own_targets_are_those_of_whole_pictures_at_their_own_size() -> None:
    task = task_of("segmentation")
    sample = task.dataset("val")[0]
    own = task.own_targets(sample.image[None].float() / 255)
    assert torch.equal(own[0], task.predict(sample.image, sample))


def test_the_masks_of_detection_cover_the_boxes() -> None:
    task = task_of("detection")
    sample = task.dataset("val")[0]
    height, width = sample.image.shape[1:]
    mask = task.object_masks([sample.target], (height, width))
    painted = torch.zeros(height, width)
    for left, top, right, bottom in sample.target.boxes.tolist():
        painted[round(top) : round(bottom), round(left) : round(right)] = 1
    assert mask.shape == (1, 1, height, width)
    assert 0 < mask.mean() < 1
    assert torch.equal(mask[0, 0], painted)
    nothing = Boxes(torch.zeros(0, 4), torch.zeros(0, dtype=torch.int64), (8, 8), 0)
    assert task.object_masks([nothing], (8, 8)).sum() == 0
    assert task.object_masks([], (8, 8)).shape == (0, 1, 8, 8)


def test_the_masks_of_segmentation_are_the_classes_that_are_no_background() -> None:
    task = task_of("segmentation")
    target = torch.tensor([[0, 1, 4], [IGNORED, 0, 2]])
    assert task.object_masks([target], (2, 3)).tolist() == [[[[0, 1, 1], [0, 0, 1]]]]
    assert task.object_masks([], (2, 3)).shape == (0, 1, 2, 3)


def test_segmentation_without_a_background_has_no_objects() -> None:
    protocol = PROTOCOLS["segmentation"]
    task: Any = make_task(PLUGINS, "segmentation", protocol.data, protocol.recognizer)
    task.data = task.data.model_copy(update={"classes": ("sky", "stripes", "checker", "dots", "grain")})
    with pytest.raises(UserError, match="no class of this segmentation data is called 'background'"):
        task.object_masks([], (8, 8))
    cls = method_class(PLUGINS, "region_mse")
    with pytest.raises(UserError, match="background"):
        cls(cls.Parameters(), start_codec("segmentation"), task, 1.0, protocol.training)


@pytest.mark.parametrize(
    ("name", "missing"), [("feature_loss", "features"), ("distill", "own_targets"), ("region_mse", "object_masks")]
)
def test_a_task_that_lacks_what_a_method_needs_is_refused_before_training(
    name: str, missing: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(type(task_of("detection")), missing, getattr(Task, missing))
    with pytest.raises(UserError, match="the task Detection does not say"):
        scheme(name)


def test_an_average_of_the_weights_is_a_method_of_ten_lines(tmp_path: Path) -> None:
    plugins = Plugins((Path(__file__).parent / "plugins" / "ema.py",))
    cls = method_class(plugins, "ema")
    method = cls(cls.Parameters(), start_codec(), task_of("detection"), 0.5, PROTOCOLS["detection"].training)
    assert isinstance(method, TrainedMethod)
    before = copied(method.codec)
    train(method, batches("detection"), FABRIC, tmp_path / "c", "test")
    plain = scheme("task_loss")
    train(plain, batches("detection"), FABRIC, tmp_path / "plain", "test")
    name = "g_a.0.weight"
    last, average = plain.codec.state_dict()[name], method.codec.state_dict()[name]
    assert not torch.equal(average, last)
    assert (average - before[name]).norm() < (last - before[name]).norm()
