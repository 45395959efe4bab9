"""Scores of single classes that records do not carry, from the tallies of the images."""

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from icmbench.base.cache import key, place
from icmbench.base.files import write_text
from icmbench.plugins.find import INSTALLED
from icmbench.schema.record import Record
from icmbench.stats.tally import Tally

SHAPES = ("stripes", "checker", "dots", "grain")
COCO_FILE = re.compile(r"instances_(train|val)20\d\d\.json")
COCO = tuple(
    """
    person,bicycle,car,motorcycle,airplane,bus,train,truck,boat,traffic light,fire hydrant,stop sign,parking meter,bench,bird,cat,
    dog,horse,sheep,cow,elephant,bear,zebra,giraffe,backpack,umbrella,handbag,tie,suitcase,frisbee,skis,snowboard,sports ball,
    kite,baseball bat,baseball glove,skateboard,surfboard,tennis racket,bottle,wine glass,cup,fork,knife,spoon,bowl,banana,apple,
    sandwich,orange,broccoli,carrot,hot dog,pizza,donut,cake,chair,couch,potted plant,bed,dining table,toilet,tv,laptop,mouse,
    remote,keyboard,cell phone,microwave,oven,toaster,sink,refrigerator,book,clock,vase,scissors,teddy bear,hair drier,toothbrush
    """.replace(",\n", ",").replace("    ", "").strip().split(",")
)  # fmt: skip


def scores(record: Record, rows: Path, metric: str) -> dict[str, float]:
    """The score in percent for every class with objects: "AP.person". Empty where the tally knows no classes.

    `rows`: the file of the images' rows. What is computed once is kept in the cache folder.
    """
    tally = INSTALLED.tally(record.tally)
    if tally is None or tally.per_class is Tally.per_class or not rows.is_file():
        return {}
    path = place("classes", f"{key(record.rows_sha256, record.tally, metric)}.json")
    try:
        found = json.loads(path.read_text())
    except (OSError, ValueError):  # not there, or not whole
        found = tally(pd.read_parquet(rows, columns=list(tally.columns))).per_class(metric)
        write_text(path, json.dumps(found))
    known = names(record.protocol.data)
    return {f"{metric}.{_name(int(label), known)}": score for label, score in found.items()}


def names(data: Mapping[str, Any]) -> Sequence[str]:
    """The classes' names by number, as far as a protocol's data options tell them."""
    if "classes" in data:
        return [str(name) for name in data["classes"]]
    if data.get("source") == "shapes":
        return SHAPES
    split = data.get("val")
    annotations = Path(str(split.get("annotations", ""))).name if isinstance(split, Mapping) else ""
    return COCO if COCO_FILE.fullmatch(annotations) else ()


def _name(label: int, known: Sequence[str]) -> str:
    return known[label] if label < len(known) else f"class {label}"
