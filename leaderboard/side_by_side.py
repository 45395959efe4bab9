"""One image as two codecs show it: decoded, with what the recogniser finds in it, and where the bits go, as PNG files.

The app only shows the files. They are made in a process of their own, `python -m icmbench.leaderboard.side_by_side`, because
codecs and recognisers need torch.
"""

import colorsys
import json
import os
import subprocess
import sys
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from html import escape
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from PIL import Image, ImageDraw

from icmbench.base.cache import clear_away, key, place
from icmbench.base.errors import UserError
from icmbench.base.files import build_once
from icmbench.leaderboard.classes import names as names_of
from icmbench.leaderboard.compare_views import read
from icmbench.leaderboard.pages import command
from icmbench.plugins.find import INSTALLED
from icmbench.schema.record import LAMBDA, Record, method_label, point_name
from icmbench.schema.store import rows_path

if TYPE_CHECKING:
    from torch import Tensor

    from icmbench.api.task import Sample, Task
    from icmbench.codecs.neural import Codec
    from icmbench.schema.protocol import Protocol

MOST = 1000  # folders that are kept
SIDES = ("a", "b")
ORIGINAL, FOUND, TRUTH, BITS, FACTS = "original", "found", "truth", "bits", "facts.json"
SURE = 0.5  # least score of a detection that is drawn
LARGE = 512  # a smaller image is enlarged before boxes and names are drawn
PATIENCE = 600  # seconds
IGNORED = 255  # in a mask: annotated as no class


@dataclass(frozen=True)
class Wanted:
    """The image files of one image by the codecs of two records. `a` and `b`: the records' paths below `results`."""

    results: Path
    runs: Path
    a: str
    b: str
    image: str

    @cached_property
    def records(self) -> tuple[Record, Record]:
        """Both records. Raises UserError where one cannot be read."""
        return read(self.results / self.a), read(self.results / self.b)

    @cached_property
    def folder(self) -> Path:
        """Where the files lie once they are made: another codec file or record makes another folder."""
        content = [[record.rows_sha256, record.label, _seen(codec_path(self.runs, record))] for record in self.records]
        return place("side_by_side", key(self.records[0].protocol.identity, self.image, content))

    def file(self, name: str) -> Path:
        """The PNG called so: original, a, b, their -found, the truth and the -bits."""
        return self.folder / f"{name}.png"

    def facts(self) -> dict[str, Any]:
        """What was measured when the files were made."""
        content: dict[str, Any] = json.loads((self.folder / FACTS).read_text())
        return content


def _seen(path: Path | None) -> list[int]:
    if path is None or not path.is_file():
        return []
    found = path.stat()
    return [found.st_size, found.st_mtime_ns]


def codec_path(runs: Path, record: Record) -> Path | None:
    """Where the record's codec lies; None for a classical codec, which has no file."""
    if LAMBDA not in record.rate_point:
        return None
    label = method_label(record.method, record.parameters)
    cell = f"{point_name(record.rate_point)},seed={record.seed}"
    return runs / (record.trained_under or record.protocol.identity) / label / cell / "codec.safetensors"


def lacking(wanted: Wanted) -> list[tuple[str, str]]:
    """What is missing to make the images, each in a sentence, with the command that makes it."""
    found = [] if find_spec("torch") else [("PyTorch is not installed here.", "pip install torch torchvision")]
    for record in wanted.records:
        path = codec_path(wanted.runs, record)
        if path is not None and not path.is_file():
            found.append((f"The codec {path} is not there.", _command(wanted.runs, record)))
    return found


def _command(runs: Path, record: Record) -> str:
    """What trains a record's codec again: into other results, because a cell that has its record is not run."""
    protocol, rate, seeds = (
        record.trained_under or record.protocol.identity,
        f"{record.rate_point[LAMBDA]:g}",
        str(record.seed + 1),
    )
    more = ["--rates", rate, "--seeds", seeds, "--no-anchor", "--results", "results-again", "--runs", str(runs)]
    return command(record.method, record.protocol.task, protocol, record.parameters, *more)


def make(wanted: Wanted) -> Path:
    """Make the images in a process of their own; returns their folder. Raises UserError with its last words on failure."""
    text = json.dumps(asdict(wanted), default=str)
    try:
        done = subprocess.run(
            [sys.executable, "-m", "icmbench.leaderboard.side_by_side", text],
            capture_output=True, text=True, timeout=PATIENCE, check=False,
        )  # fmt: skip
    except subprocess.TimeoutExpired as error:
        raise UserError(f"the images were not made within {PATIENCE} seconds.") from error
    if done.returncode:
        raise UserError((done.stderr.strip() or "the images could not be made.").splitlines()[-1])
    return wanted.folder


def main(text: str) -> int:
    """The process: make what is not there yet."""
    os.nice(10)
    warnings.filterwarnings("ignore")
    given = json.loads(text)
    wanted = Wanted(Path(given["results"]), Path(given["runs"]), given["a"], given["b"], given["image"])
    try:
        build_once(wanted.folder, lambda made: _build(wanted, made))
        clear_away("side_by_side", MOST)
    except UserError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


def _build(wanted: Wanted, made: Path) -> None:
    rows = [_row(wanted.results / path, wanted.image) for path in (wanted.a, wanted.b)]  # before torch, which takes long
    import torch

    from icmbench.experiment.build import load_task
    from icmbench.experiment.folders import Device

    torch.set_num_threads(1)
    rules = wanted.records[0].protocol
    task = load_task(rules, INSTALLED, Device())
    sample = _sample(task, wanted.image, int(rows[0]["number"]))
    names = _class_names(task, rules)
    images, facts, maps = {ORIGINAL: sample.image}, {}, {}
    for side, record, row in zip(SIDES, wanted.records, rows, strict=True):
        codec = _codec(wanted.runs, record)
        facts[side], images[side] = _coded(codec, sample, row)
        if (bits := _bit_map(codec, sample)) is not None:
            maps[side] = bits
    found = {name: task.predict(image, sample) for name, image in images.items()}
    for name, image in images.items():
        _save(_picture(image), made / f"{name}.png")
        _save(drawn(image, found[name], names), made / f"{name}-{FOUND}.png")
    _save(drawn(sample.image, sample.target, names), made / f"{TRUTH}.png")
    legend = colours_in([*found.values(), sample.target], sample.image, names)
    (made / FACTS).write_text(json.dumps({"sides": facts, "top": _save_maps(maps, made), "legend": legend}))


def _row(path: Path, image: str) -> Mapping[str, Any]:
    rows = pd.read_parquet(rows_path(path), columns=["image", "bits", "decoded_sha256"])
    rows = rows.reset_index(names="number")
    found = rows[rows["image"] == image]
    if found.empty:
        raise UserError(f"the record has no image {image}.")
    return {str(name): value for name, value in found.iloc[0].items()}


def _sample(task: "Task", image: str, number: int) -> "Sample":
    """The image, which lies where its row does."""
    dataset = task.dataset("val")
    sample = dataset[number] if number < len(dataset) else None
    if sample is None or sample.name != image:
        raise UserError(f"the data of this machine have no image {image} at its place.")
    return sample


def _class_names(task: "Task", rules: "Protocol") -> Sequence[str]:
    """The classes' names by number, as the data set has them, else as far as the protocol tells them."""
    return [str(category["name"]) for category in getattr(task.dataset("val"), "categories", ())] or names_of(rules.data)


def _codec(runs: Path, record: Record) -> "Codec":
    import torch

    from icmbench.api import ClassicalMethod
    from icmbench.experiment.build import build_method, load_codec
    from icmbench.experiment.cell import Cell
    from icmbench.experiment.folders import Device

    path = codec_path(runs, record)
    if path is not None:
        return load_codec(path, INSTALLED, torch.device("cpu"))
    (rate,) = record.rate_point.items()
    cell = Cell(record.protocol, record.method, tuple(record.parameters.items()), record.rate_index, record.seed, rate)
    method = build_method(cell, INSTALLED, Device())
    if not isinstance(method, ClassicalMethod):
        raise UserError(f"the method {record.method} is no classical codec here.")
    return method


def _coded(codec: "Codec", sample: "Sample", row: Mapping[str, Any]) -> tuple[dict[str, Any], "Tensor"]:
    """Through real bytes, held against what the record's row says."""
    from icmbench.experiment.evaluate import pixels_sha256, psnr

    data = codec.encode(sample.image)
    decoded = codec.decode(data)
    same = 8 * len(data) == int(row["bits"]) and pixels_sha256(decoded) == row["decoded_sha256"]
    facts = {"bits": 8 * len(data), "recorded": int(row["bits"]), "same": same, "psnr": psnr(decoded, sample.image)}
    return facts, decoded


def _bit_map(codec: "Codec", sample: "Sample") -> np.ndarray[Any, Any] | None:
    from icmbench.codecs.neural import NeuralCodec
    from icmbench.extras.dynamics.allocation import bit_map

    return bit_map(codec, sample.image).numpy() if isinstance(codec, NeuralCodec) else None


def _save_maps(maps: Mapping[str, np.ndarray[Any, Any]], made: Path) -> float | None:
    """Both maps in the same colours; returns the bits a pixel at which they end: few pixels take more."""
    from matplotlib import colormaps

    if not maps:
        return None
    top = float(np.percentile(np.concatenate([bits.ravel() for bits in maps.values()]), 99.5))
    for side, bits in maps.items():
        colours = colormaps["viridis"](np.clip(bits / max(top, 1e-12), 0, 1))[..., :3]
        _save(Image.fromarray((255 * colours).round().astype(np.uint8)), made / f"{side}-{BITS}.png")
    return top


def _picture(image: "Tensor") -> Image.Image:
    return Image.fromarray(image.permute(1, 2, 0).contiguous().numpy())


def _save(picture: Image.Image, path: Path) -> None:
    picture.save(path, "PNG")


def drawn(image: "Tensor", found: Any, names: Sequence[str] = ()) -> Image.Image:
    """The image with what was found in it: boxes with names, or classes as colours; as it is for other kinds of findings.

    `found`: (boxes, scores, labels), an object with `boxes` and `labels`, or class numbers [H, W].
    """
    picture = _picture(image)
    if isinstance(found, tuple) and len(found) == 3:
        boxes, scores, labels = (value.numpy() for value in found)
        sure = scores >= SURE
        return _with_boxes(picture, boxes[sure], labels[sure], names)
    if hasattr(found, "boxes") and hasattr(found, "labels"):
        return _with_boxes(picture, found.boxes.numpy(), found.labels.numpy(), names)
    if _is_mask(found, image):
        return _with_classes(picture, found.numpy())
    return picture


def _is_mask(found: Any, image: "Tensor") -> bool:
    return getattr(found, "shape", None) == image.shape[1:]


def colours_in(findings: Sequence[Any], image: "Tensor", names: Sequence[str]) -> list[tuple[str, str]]:
    """The classes in those findings that are masks of the image: name and colour (#rrggbb) of each, by number."""
    masks = [found.numpy() for found in findings if _is_mask(found, image)]
    labels = sorted({int(label) for mask in masks for label in np.unique(mask)})
    return [(_name_of(label, names), "#{:02x}{:02x}{:02x}".format(*colour_of(label))) for label in labels]


def legend(colours: Sequence[tuple[str, str]]) -> str:
    """Which class has which colour (#rrggbb), as HTML."""
    swatch = '<li><span style="background-color: {}"></span> {}</li>'
    items = "".join(swatch.format(escape(colour), escape(name)) for name, colour in colours)
    return f'<ul class="icm-legend" aria-label="Colours of the classes, mixed with the image">{items}</ul>'


def _name_of(label: int, names: Sequence[str]) -> str:
    return "not annotated" if label == IGNORED else names[label] if label < len(names) else str(label)


def _with_boxes(
    picture: Image.Image, boxes: np.ndarray[Any, Any], labels: np.ndarray[Any, Any], names: Sequence[str]
) -> Image.Image:
    scale = max(1, round(LARGE / max(picture.size)))
    large = picture.resize((scale * picture.width, scale * picture.height), Image.Resampling.NEAREST)
    draw = ImageDraw.Draw(large)
    for box, label in zip((scale * boxes).tolist(), labels.tolist(), strict=True):
        colour, name = colour_of(label), _name_of(label, names)
        draw.rectangle(box, outline=colour, width=3)
        place = draw.textbbox((box[0] + 4, max(0, box[1] - 14)), name)
        draw.rectangle((place[0] - 3, place[1] - 2, place[2] + 3, place[3] + 2), fill=colour)
        draw.text((box[0] + 4, max(0, box[1] - 14)), name, fill="white")
    return large


def _with_classes(picture: Image.Image, classes: np.ndarray[Any, Any]) -> Image.Image:
    colours = np.zeros((*classes.shape, 3), np.uint8)
    for label in np.unique(classes).tolist():
        colours[classes == label] = colour_of(label)
    return Image.blend(picture, Image.fromarray(colours), 0.55)


def colour_of(label: int) -> tuple[int, int, int]:
    """A class's colour; black for what is ignored. Neighbouring numbers are far apart."""
    if label == IGNORED:
        return 0, 0, 0
    value = (0.85, 0.55)[label // 5 % 2]
    red, green, blue = (round(255 * part) for part in colorsys.hsv_to_rgb(label * 0.618034 % 1, 0.85, value))
    return red, green, blue


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1]))
