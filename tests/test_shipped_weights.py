"""The weights that come with icmbench are what their descriptions say, and published protocols never change."""

import hashlib
import json
from pathlib import Path

import pytest
from cells import bound

from icmbench.api.classes import make_task
from icmbench.base.files import sha256
from icmbench.codecs.neural import NeuralCodec, build_model, load_weights
from icmbench.experiment.evaluate import Evaluation, code_dataset, evaluate_uncompressed
from icmbench.extras.prepare import CodecRecipe, find_recipe, read_recipe
from icmbench.plugins.find import Plugins
from icmbench.plugins.weights import shipped_folder
from icmbench.schema.protocol import Protocol
from icmbench.tasks._data import shapes

NAMES = sorted(path.stem for path in shipped_folder().glob("*.safetensors"))
PUBLISHED = {  # digest of the fields that a trained codec depends on
    "coco128-nanodet-v1": "8b6183540120",
    "coco2017-fasterrcnn-v1": "2ef44772585e",
    "shapes-detection-deep-v2": "9469ef209827",
    "shapes-detection-v3": "2d9bfb0c53a2",
    "camvid-deeplabv3plus-v1": "12fbc155a4a9",
    "pascalcontext59-deeplabv3plus-v1": "492296efbb47",
    "shapes-segmentation-v3": "16af591290f8",
}
EMBEDDED = {
    "shapes-detection-deep-v2": "4fa1471d025f",
    "shapes-detection-v3": "3c46b6a52533",
    "shapes-segmentation-v3": "6b0e64a12c67",
}


def described(name: str) -> dict[str, object]:
    content: dict[str, object] = json.loads((shipped_folder() / f"{name}.json").read_text())
    return content


def digest(protocol: Protocol) -> str:
    """Of all fields that a trained codec depends on: the hash covers the content of the data, too, which may not be here."""
    return hashlib.sha256(json.dumps(protocol.trained_on(), sort_keys=True).encode()).hexdigest()[:12]


def test_published_protocols_never_change() -> None:
    plugins = Plugins()
    assert {name: digest(plugins.protocol(name)) for name in plugins.protocols()} == PUBLISHED


def test_the_embedded_protocols_have_the_same_hash_on_every_machine() -> None:
    assert {name: bound(name).hash for name in EMBEDDED} == EMBEDDED


@pytest.mark.parametrize("name", NAMES)
def test_weights_are_the_described_file_of_the_current_recipe(name: str) -> None:
    content = described(name)
    assert content["sha256"] == sha256(shipped_folder() / f"{name}.safetensors")
    recipe = read_recipe(find_recipe(name))
    assert type(recipe).model_validate(content["recipe"]) == recipe
    assert (shipped_folder() / f"{name}.safetensors").stat().st_size < 8_000_000


@pytest.mark.slow
@pytest.mark.parametrize(
    ("protocol", "weights"),
    [
        ("shapes-detection-v3", "shapes-detector"),
        ("shapes-detection-deep-v2", "shapes-detector-deep"),
        ("shapes-segmentation-v3", "shapes-segmenter"),
    ],
)
def test_recognizers_reach_their_recorded_accuracy(protocol: str, weights: str) -> None:
    rules = Plugins().protocol(protocol)
    scores = evaluate_uncompressed(make_task(Plugins(), rules.task, rules.data, rules.recognizer))
    reached = described(weights)["reached"]
    assert scores == pytest.approx(reached, abs=0.3)
    assert scores[rules.evaluation.metric] > 70


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in NAMES if name.startswith("shapes-codec")])
def test_shapes_codecs_reach_their_recorded_rate_and_psnr(name: str) -> None:
    recipe = read_recipe(find_recipe(name))
    assert isinstance(recipe, CodecRecipe)
    model = build_model(recipe.codec)
    load_weights(model, Path(shipped_folder() / f"{name}.safetensors"))
    rows = [row for _, _, row in code_dataset(NeuralCodec(model, recipe.codec), shapes.pictures("val"))]
    result = Evaluation({}, rows)
    reached = described(name)["reached"]
    assert {"bpp": result.bpp, "psnr": result.psnr} == pytest.approx(reached, rel=0.01)
    assert result.bpp / result.estimated_bpp == pytest.approx(1, abs=0.02)
