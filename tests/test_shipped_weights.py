"""The weights that come with icmbench are what their descriptions say, and published protocols never change."""

import json
from pathlib import Path

import pytest

from icmbench.api.classes import make_task
from icmbench.base.files import sha256
from icmbench.codecs.neural import NeuralCodec, build_model, load_weights
from icmbench.experiment.evaluate import Evaluation, code_dataset, evaluate_uncompressed
from icmbench.extras.prepare import CodecRecipe, find_recipe, read_recipe
from icmbench.plugins.find import Plugins
from icmbench.plugins.weights import shipped_folder
from icmbench.tasks._data import shapes

NAMES = sorted(path.stem for path in shipped_folder().glob("*.safetensors"))
PUBLISHED = {
    "shapes-detection-v2": "f3921a530925",
    "shapes-detection-deep-v1": "253543cb7e19",
    "shapes-segmentation-v2": "0f6ac770a257",
    "coco128-nanodet-v1": "3c2da140c4c2",
    "camvid-deeplabv3plus-v1": "807cad56a0e0",
    "coco2017-fasterrcnn-v1": "9524447c662a",
    "pascalcontext59-deeplabv3plus-v1": "330e1480528f",
}


def described(name: str) -> dict[str, object]:
    content: dict[str, object] = json.loads((shipped_folder() / f"{name}.json").read_text())
    return content


def test_published_protocols_never_change() -> None:
    plugins = Plugins()
    assert {name: plugins.protocol(name).hash for name in plugins.protocols()} == PUBLISHED


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
        ("shapes-detection-v2", "shapes-detector"),
        ("shapes-detection-deep-v1", "shapes-detector-deep"),
        ("shapes-segmentation-v2", "shapes-segmenter"),
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
