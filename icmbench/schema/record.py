"""Records: the results of finished cells, one JSON file each, under a path that spells the cell's identity."""

import hashlib
import json
import math
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, field_validator

from icmbench.schema.protocol import Protocol

SCHEMA: Literal[4] = 4
MEASUREMENT = 1  # raise it whenever evaluation or scoring changes meaning: older records are then not compared with newer ones
LAMBDA = "lambda"
PASSES_MORE = 0.05  # passes per crop beyond the first that are not reported: a split batch repeats some


class Environment(BaseModel):
    """Where a cell was computed. `device` names the hardware and, on a CPU, the number of threads."""

    icmbench: str
    commit: str
    python: str
    platform: str
    device: str
    packages: dict[str, str]


class Network(BaseModel):
    """The cost of one use of a network: parameters that it reads, and multiply-accumulates per pixel of the image.

    A classical codec has no parameters, and its operations are not counted (None).
    """

    parameters: int
    macs_per_pixel: float | None


class Coding(Network):
    """The cost of encoding or decoding. Seconds per image: median, and first and third quartile, on the environment's device."""

    seconds: float
    quartiles: tuple[float, float]


class Cost(BaseModel):
    """The cost of training, coding and recognising, and the size of what existed in training only.

    Seconds and energy of training cover all attempts of a cell; `train_joules` is None if the device does not report
    energy. `steps` is 0 for a codec that is not trained. Memory is the process's resident peak on a CPU, what torch
    allocated on a GPU. `optimizer_steps`: of all optimisers that train anything but densities; `prior_steps`: of those that
    train densities alone. `codec_crops` and `recognizer_crops`: crops that went through the two networks in training.
    """

    steps: int
    optimizer_steps: int = 0
    prior_steps: int = 0
    codec_crops: int = 0
    recognizer_crops: int = 0
    images: int
    train_seconds: float
    train_joules: float | None
    peak_memory_mib: float
    train_device: str
    train_devices: int
    packed: int = 1
    codec_parameters: int
    training_only_parameters: int
    encoder: Coding
    decoder: Coding
    recognizer: Network
    coding_peak_memory_mib: float


class Record(BaseModel):
    """One cell: protocol x method x rate point x seed. Rates in bits per pixel, scores in percent.

    `parameters` are those that differ from the method's defaults, `defaults` the others. `rate_point` is λ with its value, or
    the rate parameter of a classical codec, which has no start codec. `curve_points`: how many rate points the method's whole
    curve has. `trained_under`: the identity of another protocol that trained the codec, which is scored under this one.
    `measurement`: the version of evaluation and scoring (`MEASUREMENT`). `method_sha256`: the digest of the method's source.
    `quantisation`: the method's own in training, "" for the protocol's. `assessed`: scores on `val`, in percent, of parts that
    existed in training only, such as a branch.
    `bpp` is the sum of container bits over the sum of pixels; `bpp_mean` the mean of the images' own rates;
    `estimated_bpp` the estimate of the likelihoods. `ceiling` holds the scores on uncompressed images. `tally` is the
    name of the tally in the rows of the images ("" for none), `rows_sha256` their file's digest. Its file also
    has `content_sha256`, its `seal`, which does not match a record that was edited by hand.
    """

    model_config = ConfigDict(frozen=True, ser_json_inf_nan="strings")

    schema_version: Literal[4] = SCHEMA
    measurement: int = MEASUREMENT
    protocol: Protocol
    protocol_hash: str
    method: str
    parameters: dict[str, Any]
    defaults: dict[str, Any] = {}
    method_sha256: str
    rate_index: int
    curve_points: int
    rate_point: dict[str, float]
    start_sha256: str
    trained_under: str = ""
    quantisation: str = ""
    assessed: dict[str, float] = {}
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
    tally: str
    rows_sha256: str

    @field_validator("protocol")
    @classmethod
    def _names_its_data(cls, protocol: Protocol) -> Protocol:
        if protocol.content is None:
            raise ValueError("content is missing: the digests of the data that the record was made from")
        return protocol

    @property
    def label(self) -> str:
        """Method with its parameters, and the protocol that the codec was trained under if that is another one."""
        return method_label(self.method, self.parameters, self.trained_under)

    @property
    def trained(self) -> bool:
        """Whether the codec was trained for this cell, so that another seed would have given another codec."""
        return self.cost.steps > 0

    @property
    def point(self) -> str:
        """The rate point as people read it."""
        return point_label(self.rate_point)

    @property
    def metric(self) -> str:
        """The name of the protocol's primary score."""
        return self.protocol.evaluation.metric


def method_label(method: str, parameters: dict[str, Any], trained_under: str = "") -> str:
    """`method,key=value,...` with the keys in order: the name of a method's folder and of its row, so without slashes."""
    pairs = [*sorted(parameters.items()), *([("trained_under", trained_under)] if trained_under else [])]
    return ",".join([method, *(f"{key}={value}" for key, value in pairs)]).replace("/", "%2F")


def point_name(rate_point: dict[str, float]) -> str:
    """A rate point as it is written in paths: `lambda=0.3`, `quality=10`."""
    return ",".join(f"{name}={value:g}" for name, value in rate_point.items())


def point_label(rate_point: dict[str, float]) -> str:
    """A rate point as people read it: `λ=0.3`, `quality=10`."""
    return point_name(rate_point).replace(LAMBDA, "λ")


def seal(fields: dict[str, Any]) -> str:
    """SHA-256 of a record's JSON fields without `content_sha256`, in canonical JSON."""
    content = {name: value for name, value in fields.items() if name != "content_sha256"}
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def impossible(record: Record) -> list[str]:
    """Reasons why the record cannot be true; empty for a valid one."""
    return [*_wrong_rates(record), *_wrong_scores(record), *_other_experiment(record)]


def _wrong_rates(record: Record) -> list[str]:
    rates = {"bpp": record.bpp, "bpp_mean": record.bpp_mean}
    problems = [f"{name} is {value}" for name, value in rates.items() if not (math.isfinite(value) and value > 0)]
    if record.estimated_bpp <= 0:  # nan for a codec without likelihoods
        problems.append(f"estimated_bpp is {record.estimated_bpp}")
    if not 0 <= record.psnr <= 100:
        problems.append(f"psnr is {record.psnr}")
    if record.images < 1:
        problems.append(f"images is {record.images}")
    return problems


def _wrong_scores(record: Record) -> list[str]:
    metric, noise = record.protocol.evaluation.metric, record.protocol.evaluation.score_noise
    groups = {"the score": record.scores, "the ceiling of": record.ceiling}
    problems = [f"{what} {metric} is missing" for what, values in groups.items() if metric not in values]
    for what, values in groups.items():
        problems += [f"{what} {name} is {value}" for name, value in values.items() if not -1e-6 <= value <= 100 + 1e-6]
    score, ceiling = record.scores.get(metric, -math.inf), record.ceiling.get(metric, math.inf)
    if score > ceiling + noise:
        problems.append(f"{metric} is {score:.2f}, above the ceiling {ceiling:.2f} by more than noise")
    return problems


def beyond_budget(record: Record) -> list[str]:
    """What the training took beyond its protocol's budget, and where it left the protocol's rules."""
    rules, cost = record.protocol.training, record.cost
    crops = rules.steps * rules.batch_size
    texts = []
    if cost.optimizer_steps > rules.steps:
        texts.append(f"took {cost.optimizer_steps} optimiser steps; the protocol's budget is {rules.steps}")
    if cost.prior_steps:
        texts.append(f"took {cost.prior_steps} more steps on the entropy model alone")
    passes = {"codec": cost.codec_crops / crops, "recogniser": cost.recognizer_crops / crops}
    texts += [f"each crop went through the {name} {n:.1f} times" for name, n in passes.items() if n > 1 + PASSES_MORE]
    if record.quantisation:
        texts.append(f"trained with quantisation '{record.quantisation}'; the protocol's is '{rules.quantisation}'")
    return texts


def _other_experiment(record: Record) -> list[str]:
    """Contradictions to the record's own protocol, because of which it must not be compared with others of that protocol."""
    protocol, cost = record.protocol, record.cost
    if record.protocol_hash != protocol.hash:
        return [f"the protocol's hash is {protocol.hash}, the record has {record.protocol_hash}"]
    if LAMBDA not in record.rate_point or record.trained_under:
        return []
    lmbda = record.rate_point[LAMBDA]
    if not 0 <= record.rate_index < len(protocol.rates) or protocol.rates[record.rate_index].lmbda != lmbda:
        return [f"the protocol has no rate point number {record.rate_index} with λ={lmbda:g}"]
    problems = []
    if record.curve_points != len(protocol.rates):
        problems.append(f"its curve has {record.curve_points} rate points, the protocol {len(protocol.rates)}")
    start = protocol.rates[record.rate_index].start.sha256
    if not record.start_sha256.startswith(start):
        problems.append(f"the start codec is {record.start_sha256}, the protocol's is {start}")
    if cost.steps not in (0, protocol.training.steps):  # 0: a codec that is not trained
        problems.append(f"trained for {cost.steps} steps, the protocol's budget is {protocol.training.steps}")
    return problems


def flaws(record: Record, fields: dict[str, Any]) -> list[str]:
    """Reasons why the record that was read from JSON `fields` must not be used; empty for a valid one."""
    unsealed = fields.get("content_sha256") != seal(fields)
    changed = ["it was changed after it was written: its content does not match its hash"] if unsealed else []
    return [*impossible(record), *changed]
