"""Records: what a finished cell leaves, one JSON file each, under a path that spells its identity."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from icmbench.files import write_text
from icmbench.protocol import Protocol, describe_errors


class Environment(BaseModel):
    """Where a cell was computed. `device` names the hardware and, on a CPU, the number of threads."""

    icmbench: str
    commit: str
    python: str
    platform: str
    device: str
    packages: dict[str, str]


class Cost(BaseModel):
    """What training took, what coding takes, and what existed in training only.

    Seconds of training cover all attempts of a cell. Coding seconds are medians over the pictures, on the environment's device.
    """

    steps: int
    images: int
    train_seconds: float
    peak_memory_mib: float
    train_device: str
    train_devices: int
    codec_parameters: int
    training_only_parameters: int
    encode_seconds: float
    decode_seconds: float


class Record(BaseModel):
    """One cell: protocol x method x rate point x seed. Rates in bits per pixel, scores in percent.

    `bpp` is the sum of container bits over the sum of pixels; `bpp_mean` the mean of the pictures' own rates;
    `estimated_bpp` what the likelihoods promised. `ceiling` holds the scores on uncompressed pictures.
    """

    model_config = ConfigDict(frozen=True, ser_json_inf_nan="strings")

    schema_version: Literal[1] = 1
    protocol: Protocol
    protocol_hash: str
    method: str
    parameters: dict[str, Any]
    method_sha256: str
    rate_index: int
    lmbda: float
    start_sha256: str
    seed: int
    images: int
    bpp: float
    bpp_mean: float
    estimated_bpp: float
    psnr: float
    scores: dict[str, float]
    ceiling: dict[str, float]
    warnings: list[str]
    cost: Cost
    environment: Environment
    created: str

    @property
    def label(self) -> str:
        """Method with its parameters."""
        return method_label(self.method, self.parameters)

    @property
    def quality(self) -> float:
        """The protocol's primary score."""
        return self.scores[self.protocol.evaluation.metric]


def method_label(method: str, parameters: dict[str, Any]) -> str:
    """`method,key=value,...` with the keys in order: the name of a method's folder and of its row, so without slashes."""
    return ",".join([method, *(f"{key}={value}" for key, value in sorted(parameters.items()))]).replace("/", "%2F")


def impossible(record: Record) -> list[str]:
    """Reasons why the record cannot be true; empty for a sound one."""
    rules = record.protocol.evaluation
    rates = {"bpp": record.bpp, "bpp_mean": record.bpp_mean}
    ceilings = {f"the ceiling of {name}": value for name, value in record.ceiling.items()}
    values = rates | record.scores | ceilings
    found = [f"{name} is {value}" for name, value in values.items() if not math.isfinite(value)]
    found += [f"{name} is {value}" for name, value in rates.items() if value <= 0]
    if record.protocol_hash != record.protocol.hash:
        found.append(f"the protocol's hash is {record.protocol.hash}, the record says {record.protocol_hash}")
    if rules.metric not in record.scores:
        found.append(f"the score {rules.metric} is missing")
    if rules.metric not in record.ceiling:
        found.append(f"the ceiling of {rules.metric} is missing")
    for name, value in record.scores.items():
        if not -1e-6 <= value <= 100 + 1e-6:
            found.append(f"{name} is {value:.2f}")
    score, ceiling = record.scores.get(rules.metric, -math.inf), record.ceiling.get(rules.metric, math.inf)
    if score > ceiling + rules.score_noise:
        found.append(f"{rules.metric} is {score:.2f}, above the ceiling {ceiling:.2f} by more than noise")
    return found


@dataclass(frozen=True)
class Store:
    """A results folder."""

    folder: Path

    def path(self, protocol: Protocol, label: str, lmbda: float, seed: int) -> Path:
        """Where the record of a cell lies, whether it is there or not."""
        return self.folder / protocol.identity / label / f"lambda={lmbda:g},seed={seed}.json"

    def write(self, record: Record) -> Path:
        """Write a record at once, whole.

        Raises UserError where the folder cannot be written, ValueError for impossible values.
        """
        if problems := impossible(record):
            raise ValueError("; ".join(problems))
        path = self.path(record.protocol, record.label, record.lmbda, record.seed)
        write_text(path, record.model_dump_json(indent=1, by_alias=True) + "\n")
        return path

    def read(self) -> tuple[list[Record], dict[Path, str]]:
        """All sound records, and the files that are none with the reason."""
        records, broken = [], {}
        for path in self._files():
            try:
                record = Record.model_validate_json(path.read_text())
            except ValidationError as error:
                broken[path] = describe_errors(error)
            except (OSError, ValueError) as error:
                broken[path] = str(error)
            else:
                problems = impossible(record)
                if path != self.path(record.protocol, record.label, record.lmbda, record.seed):
                    problems.append("it lies where another cell's record belongs")
                if problems:
                    broken[path] = "; ".join(problems)
                else:
                    records.append(record)
        return records, broken

    def _files(self) -> Iterator[Path]:
        return (path for path in sorted(self.folder.glob("*@*/*/*.json")) if not path.name.startswith("."))
