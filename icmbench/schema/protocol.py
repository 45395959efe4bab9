"""Protocols: frozen, versioned descriptions of one comparable experiment.

A protocol is a TOML file. Before anything is computed it is bound to the content of the data and configs that it names. Its
hash covers everything that a trained codec depends on, so results with the same hash come from the same experiment. How the
codec is evaluated (metric, tolerances, val images) is not in the hash: it is compared where results are compared.
"""

import hashlib
import json
import tomllib
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from icmbench.base.errors import UserError

Fraction = Annotated[float, Field(ge=0, le=1)]
Quantisation = Literal["noise", "rounding"]
Model = TypeVar("Model", bound=BaseModel)

NOT_TRAINED_ON = {"name", "summary", "anchor", "evaluation", "files", "assumed"}  # changing these retrains nothing
VAL = "val"
CHANGED = "+changed"  # suffix of the name of an experiment that differs from its protocol


class Strict(BaseModel):
    """A frozen model without unknown fields."""

    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True, allow_inf_nan=False)


class CodecSpec(Strict):
    """A CompressAI architecture with its sizes (N, M, ...) and how images are padded for it."""

    architecture: str
    sizes: dict[str, int]
    pad_multiple: Annotated[int, Field(ge=1)] = 64
    padding: Literal["replicate", "reflect", "constant"] = "replicate"


class Weights(Strict):
    """A weights file: `weights:NAME` (shipped), a path (absolute, or below `$ICMBENCH_DATA`) or an https URL.

    `sha256` may be the whole digest or, for files that publish only that, its first 8 digits.
    """

    path: str
    sha256: Annotated[str, Field(pattern="^([0-9a-f]{8}|[0-9a-f]{64})$")]


class RatePoint(Strict):
    """One point of the curve: λ of L = R + λ·E (R in bits per pixel) and the codec that training starts from."""

    lmbda: Annotated[float, Field(gt=0, alias="lambda")]
    start: Weights


class Training(Strict):
    """The step budget and how each step is made. Learning rate: warm up, hold, then fall linearly (fractions of the steps).

    `lr` is the rate of the networks. `prior_lr` is that of the densities of the entropy models (factorised priors): they must
    follow latents that change their scale within a short training, and Adam moves a parameter by at most about the sum of its
    learning rates. `quantisation`: what the decoder gets in training, latents with additive noise or rounded ones (gradients
    straight through); the rate is always that of the noisy ones. `clip_norm`: the largest norm of each group's gradient.
    """

    steps: Annotated[int, Field(ge=1)]
    batch_size: Annotated[int, Field(ge=1)]
    crop: Annotated[int, Field(ge=1)]
    flip: bool = True
    optimizer: Literal["adam", "adamw"] = "adam"
    lr: Annotated[float, Field(gt=0)]
    weight_decay: Annotated[float, Field(ge=0)] = 0.0
    prior_lr: Annotated[float, Field(gt=0)] = 5e-3
    quantisation: Quantisation = "noise"
    warmup: Fraction = 0.0
    hold: Fraction = 0.3
    final: Fraction = 0.02
    clip_norm: Annotated[float, Field(gt=0)] = 1.0
    precision: Literal["32-true", "bf16-mixed"] = "32-true"

    def lr_factor(self, step: int) -> float:
        """Learning rate at `step` over the peak rate."""
        done = step / self.steps
        if done < self.warmup:
            return (step + 1) / (self.warmup * self.steps + 1)
        if done < self.hold:
            return 1.0
        return 1 - (1 - self.final) * (done - self.hold) / (1 - self.hold) if self.hold < 1 else 1.0


class Evaluation(Strict):
    """Which score is reported, and when a record is marked or rejected.

    `rate_tolerance`: largest |real / estimated - 1| of the summed bits. `score_noise`: points by which a score may exceed the
    ceiling before it counts as impossible. `score_tolerance`: points by which the scores of a submission may differ from those
    that its bitstreams give elsewhere. `submitted_bitstreams`: for how many images, chosen by the protocol's hash, a submission
    contains the bitstreams; None: for all. `ceiling`: the score on uncompressed images where it is known, in percent. Data or a
    recogniser that give another one, by more than `score_noise`, are refused before anything is trained.
    """

    metric: str
    ceiling: Annotated[float, Field(gt=0, le=100)] | None = None
    rate_tolerance: Annotated[float, Field(gt=0)] = 0.05
    score_noise: Annotated[float, Field(ge=0)] = 1.0
    score_tolerance: Annotated[float, Field(gt=0)] = 0.5
    submitted_bitstreams: Annotated[int, Field(ge=1)] | None = None


class NeededFile(Strict):
    """A file that the machine needs: path below `$ICMBENCH_DATA`, bytes and digest where published, and where to get it."""

    path: str
    bytes: int | None = None
    digest: str | None = None
    source: str


class Content(Strict):
    """SHA-256 digests of what a protocol names but does not contain.

    `train`, `val`: annotations and image lists of the two splits. `recognizer`: the recogniser's config. `task`: the source of a
    task that does not come with icmbench ("" for one that does).
    """

    train: str
    val: str
    recognizer: str
    task: str = ""


class Protocol(Strict):
    """One comparable experiment. `data` and `recognizer` are checked by the task, the rest here.

    `content` is None until `icmbench.running.runner.bind` fills it.
    """

    name: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9._+-]*$")]
    task: str
    summary: str
    anchor: str = "task_loss"
    data: dict[str, Any]
    recognizer: dict[str, Any]
    codec: CodecSpec
    training: Training
    rates: Annotated[list[RatePoint], Field(min_length=1)]
    evaluation: Evaluation
    files: list[NeededFile] = []
    assumed: dict[str, str] = {}
    content: Content | None = None

    @model_validator(mode="after")
    def _crop_fits_padding(self) -> "Protocol":
        if self.training.crop % self.codec.pad_multiple:
            raise ValueError(f"training.crop must be a multiple of codec.pad_multiple ({self.codec.pad_multiple})")
        if len({f"{point.lmbda:g}" for point in self.rates}) < len(self.rates):  # as in the paths of records
            raise ValueError("two rate points have the same lambda")
        return self

    @property
    def bound(self) -> Content:
        """The content of the data. Raises ValueError if the protocol was not bound to its data."""
        if self.content is None:
            raise ValueError(f"{self.name} is not bound to its data")
        return self.content

    @property
    def hash(self) -> str:
        """First 12 hexadecimal digits of the SHA-256 of everything that a trained codec depends on, in canonical JSON.

        Fields at their default are left out, so a field that is added later does not change published hashes. The default of a
        field must therefore never change. Raises ValueError if the protocol was not bound to its data.
        """
        fields = self.trained_on() | {"content": self.bound.model_dump(exclude={VAL})}
        return hashlib.sha256(json.dumps(fields, sort_keys=True).encode()).hexdigest()[:12]

    def trained_on(self) -> dict[str, Any]:
        """The fields, without their defaults, that a trained codec depends on."""
        fields = self.model_dump(mode="json", by_alias=True, exclude=NOT_TRAINED_ON | {"content"}, exclude_defaults=True)
        return fields | {"data": {key: value for key, value in self.data.items() if key != VAL}}

    @property
    def identity(self) -> str:
        """`name@hash`."""
        return f"{self.name}@{self.hash}"


def doubled(protocol: Protocol) -> Protocol:
    """The protocol with twice the step budget, under which the anchor's convergence is judged."""
    return override(protocol, {"training.steps": 2 * protocol.training.steps})


def describe_errors(error: ValidationError) -> str:
    """One sentence that names every wrong field."""
    parts = []
    for item in error.errors():
        where = ".".join(map(str, item["loc"]))
        parts.append(f"{where}: {item['msg']}" if where else item["msg"])
    return "; ".join(parts)


def validated(model: type[Model], fields: dict[str, Any], problem: str) -> Model:
    """The fields as a model. Raises UserError that begins with `problem` and names every wrong field."""
    try:
        return model.model_validate(fields)
    except ValidationError as error:
        raise UserError(f"{problem}: {describe_errors(error)}.") from error


def parse(fields: dict[str, Any], origin: str) -> Protocol:
    """Check the fields of a protocol. Raises UserError naming every wrong field."""
    return validated(Protocol, fields, f"{origin} is not a valid protocol")


def read_toml(path: Path) -> dict[str, Any]:
    """Fields of a TOML file. Raises UserError if it cannot be read or parsed."""
    try:
        return tomllib.loads(path.read_text())
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror or error}.") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UserError(f"{path} is not valid TOML: {error}.") from error


def override(protocol: Protocol, changes: dict[str, Any]) -> Protocol:
    """The protocol with dotted fields replaced (`training.steps`).

    If a trained codec depends on the change, it is a new experiment whose name ends in `+changed`. A change of the data or of
    the recogniser unbinds the protocol, and its ceiling is no longer known.
    Raises UserError for an unknown field or a wrong value.
    """
    fields = protocol.model_dump(mode="json", by_alias=True)
    for dotted, value in changes.items():
        _set_field(protocol.name, fields, dotted, value)
    other_data = any(dotted.startswith(("data.", "recognizer.")) for dotted in changes)
    if other_data:
        fields["content"] = None
    if (other_data or "evaluation.metric" in changes) and "evaluation.ceiling" not in changes:
        fields["evaluation"]["ceiling"] = None
    changed = parse(fields, f"{protocol.name} with {', '.join(f'{k}={v}' for k, v in changes.items())}")
    if changed.trained_on() == protocol.trained_on():
        return changed
    return changed.model_copy(update={"name": protocol.name.removesuffix(CHANGED) + CHANGED})


def _set_field(name: str, fields: dict[str, Any], dotted: str, value: Any) -> None:
    target: Any = fields
    *parents, last = dotted.split(".")
    try:
        for key in parents:
            target = target[int(key)] if isinstance(target, list) else target.setdefault(key, {})
        target[int(last) if isinstance(target, list) else last] = value
    except (AttributeError, IndexError, TypeError, ValueError) as error:
        raise UserError(f"the protocol {name} has no field {dotted}.") from error
