"""Makes the weights that protocols start with: MSE-pretrained codecs and small recognisers.

A recipe is a TOML file with all settings. Beside the weights, a JSON file describes how they were made and their results.
"""

import json
from collections.abc import Callable, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any, Literal

import numpy as np
import safetensors.torch
import torch
from lightning_fabric import Fabric
from torch import Tensor
from torch.nn import functional as F

from icmbench import __version__
from icmbench.api import crops
from icmbench.api.classes import make_task
from icmbench.api.method import Trainable
from icmbench.api.task import Batch, Dataset, Task
from icmbench.base import seeds
from icmbench.base.errors import UserError, unknown
from icmbench.base.files import replacing, sha256, write_text
from icmbench.codecs.neural import NeuralCodec, build_model, code_for_training, load_weights
from icmbench.experiment.devices import seed_torch
from icmbench.experiment.evaluate import Evaluation, code_dataset, evaluate_uncompressed
from icmbench.experiment.report import Report, no_report
from icmbench.experiment.train import Batches, Log, train
from icmbench.plugins.find import Plugins
from icmbench.plugins.weights import shipped_folder, verified_path
from icmbench.schema.protocol import CodecSpec, Strict, Training, Weights, read_toml, validated


class CodecRecipe(Strict):
    """A codec trained for L = R + λ·255²·MSE (R in bits per pixel) on images.

    `pictures` names a callable, "package.module:name", that takes a split and returns a data set. `start`: weights
    to begin with, for example those of the neighbouring quality, which saves steps; none: from scratch.
    """

    kind: Literal["codec"]
    start: Weights | None = None
    pictures: str
    codec: CodecSpec
    mse_lambda: float
    training: Training
    seed: int = 0


class RecognizerRecipe(Strict):
    """A task's recogniser trained with the task's own loss on uncompressed images; `data` and `recognizer` as in a protocol."""

    kind: Literal["recognizer"]
    task: str
    data: dict[str, Any]
    recognizer: dict[str, Any]
    training: Training
    seed: int = 0


class DistortionTraining(Trainable):
    """L = R + λ·255²·MSE (CompressAI's convention)."""

    def __init__(self, spec: CodecSpec, mse_lambda: float) -> None:
        super().__init__()
        self.codec, self.mse_lambda = build_model(spec), mse_lambda

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        coded = code_for_training(self.codec, batch.images)
        mse = F.mse_loss(coded.images, batch.images)
        psnr = -10 * torch.log10(mse.detach())
        return {"loss": coded.bpp + self.mse_lambda * 255**2 * mse, "rate": coded.bpp, "psnr": psnr}


class RecognizerTraining(Trainable):
    """The task's own loss, with the recogniser thawed."""

    def __init__(self, task: Task) -> None:
        super().__init__()
        self.task, self.recognizer = task, task.recognizer.requires_grad_(True)

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        return {"loss": self.task.loss(batch.images, batch.targets)}


def image_batch(dataset: Dataset, indices: Sequence[int], size: int, flip: bool, rng: np.random.Generator) -> Batch:
    """Crops of images, without targets."""
    pieces = []
    for index in indices:
        image = dataset[index].image
        top, left = crops.window(image.shape[1], image.shape[2], size, rng)
        pieces.append(crops.cut(image, top, left, size, flip and rng.random() < 0.5, 0))
    return Batch(torch.stack(pieces).float() / 255, [None] * len(pieces))


def prepare_codec(recipe: CodecRecipe, path: Path, checkpoint: Path, fabric: Fabric, log: Log) -> dict[str, Any]:
    """Train the codec and write it to `path`; returns the ledger and the codec's results on the `val` images."""
    module, name = recipe.pictures.split(":")
    open_split: Callable[[str], Dataset] = getattr(import_module(module), name)
    seed_torch("prepare", recipe.seed)
    trainable = DistortionTraining(recipe.codec, recipe.mse_lambda)
    if recipe.start:
        load_weights(trainable.codec, verified_path(recipe.start))
    batches = Batches(image_batch, open_split("train"), recipe.training, seeds.derive("prepare", recipe.seed))
    ledger = train(trainable, batches, fabric, checkpoint, recipe.model_dump_json(), log)
    codec = NeuralCodec(trainable.codec, recipe.codec)
    codec.refit()
    with replacing(path) as temporary:
        codec.save(temporary)
    result = Evaluation({}, [row for _, _, row in code_dataset(codec, open_split("val"))])
    return {"ledger": ledger.__dict__, "reached": {"bpp": result.bpp, "psnr": result.psnr}}


def prepare_recognizer(recipe: RecognizerRecipe, path: Path, checkpoint: Path, fabric: Fabric, log: Log) -> dict[str, Any]:
    """Train the recogniser and write it to `path` (16-bit floats); returns the ledger and its scores on uncompressed images."""
    seed_torch("prepare", recipe.seed)
    task = make_task(Plugins(), recipe.task, recipe.data, recipe.recognizer)
    batches = Batches(task.batch, task.dataset("train"), recipe.training, seeds.derive("prepare", recipe.seed))
    ledger = train(RecognizerTraining(task), batches, fabric, checkpoint, recipe.model_dump_json(), log)
    state = task.recognizer.state_dict()
    half = {k: (v.half() if v.is_floating_point() else v).contiguous() for k, v in state.items()}
    with replacing(path) as temporary:
        temporary.write_bytes(safetensors.torch.save(half))
    task.recognizer.load_state_dict(half)
    task.freeze()
    return {"ledger": ledger.__dict__, "reached": evaluate_uncompressed(task)}


def find_recipe(name: str) -> Path:
    """The file of a recipe, by the name of a shipped one or by its path. Raises UserError if there is none."""
    if name.endswith(".toml"):
        return Path(name)
    shipped = {path.stem: path for path in (shipped_folder().parent / "recipes").glob("*.toml")}
    if name not in shipped:
        raise unknown("recipe", name, shipped)
    return shipped[name]


def read_recipe(path: Path) -> CodecRecipe | RecognizerRecipe:
    """A recipe from its TOML file. Raises UserError naming every wrong field."""
    fields = read_toml(path)
    if fields.get("kind") not in ("codec", "recognizer"):
        raise UserError(f"{path}: kind must be 'codec' or 'recognizer'.")
    problem = f"{path} is not a valid recipe"
    return validated(CodecRecipe, fields, problem) if fields["kind"] == "codec" else validated(RecognizerRecipe, fields, problem)


def prepare(recipe_file: Path, out: Path, runs: Path, device: str, report: Report = no_report) -> dict[str, Any]:
    """Carry out a recipe: write NAME.safetensors and NAME.json below `out` and return the content of the latter.

    Raises UserError if the recipe is wrong. After an interruption, the same call continues.
    """
    recipe = read_recipe(recipe_file)
    fabric = Fabric(accelerator=device, devices=1, precision=recipe.training.precision)
    path = out / f"{recipe_file.stem}.safetensors"
    checkpoint, steps = runs / "prepare" / path.name, recipe.training.steps

    def log(step: int, terms: dict[str, float]) -> None:
        report("train", step + 1, steps, terms)

    train_recipe: Any = prepare_codec if isinstance(recipe, CodecRecipe) else prepare_recognizer
    results = train_recipe(recipe, path, checkpoint, fabric, log)
    content = {
        "command": f"icmbench prepare {recipe_file.stem} --device {device}",
        "recipe": recipe.model_dump(mode="json"),
        "sha256": sha256(path),
        **results,
        "versions": {"icmbench": __version__, "torch": torch.__version__},
    }
    write_text(path.with_suffix(".json"), json.dumps(content, indent=1) + "\n")
    return content
