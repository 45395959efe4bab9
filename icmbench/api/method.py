"""The method contract: how a codec is made.

A method plugin is a module with one class derived from `TrainedMethod`, `UntrainedMethod` or `ClassicalMethod`.
"""

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any, ClassVar

from torch import Tensor, nn

from icmbench.api.taps import Tap, codec_taps
from icmbench.api.task import Batch, Task
from icmbench.base.errors import unknown
from icmbench.codecs.neural import Coded, code_for_training
from icmbench.schema.protocol import Quantisation, Strict, Training

if TYPE_CHECKING:  # takes seconds to import, and classical codecs do not need it
    from compressai.models import CompressionModel


class Trainable(nn.Module):
    """What the training loop trains: parameters, and a loss for a batch. `progress`: the used part of the budget, 0 to 1."""

    progress: float = 0.0

    def parameter_groups(self) -> list[dict[str, Any]]:
        """Parameters with a learning rate of their own: `[{"params": [...], "lr": 5e-3}]`, as torch's optimisers take them.

        All others train at the protocol's rates. All rates follow the same schedule, and each group's gradient is clipped
        apart, so a group does not change the steps of the others.
        """
        return []

    def after_step(self) -> None:
        """Called after each optimiser step, without gradients; for example for an average of the weights."""

    def finish(self) -> None:
        """Called once after the last step, without gradients, before the codec is saved."""

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        """Named scalar terms; `loss` is minimised, every term is logged."""
        raise NotImplementedError


class ClassicalMethod(ABC):
    """A codec with its own rate parameter: nothing is trained, and its rate points are not the protocol's.

    `rates`: the values of `rate_parameter` that make a curve, from the lowest rate to the highest. Images are coded
    in several threads at once, so the two methods share no state that changes. `decode` needs nothing but the bytes, neither
    the parameters nor the rate.
    """

    Parameters: ClassVar[type[Strict]] = Strict
    rate_parameter: ClassVar[str]
    rates: ClassVar[tuple[float, ...]]

    def __init__(self, parameters: Any, rate: float) -> None:
        self.options, self.rate = parameters, rate

    @abstractmethod
    def encode(self, image: Tensor) -> bytes:
        """Image uint8 [3, H, W] to the bytes of a whole file."""

    @abstractmethod
    def decode(self, data: bytes) -> Tensor:
        """Bytes to the image uint8 [3, H, W]. Raises UserError if they are not such a file."""


class UntrainedMethod:
    """The unchanged start codec of every rate point: nothing is trained, and λ only names the rate point."""

    Parameters: ClassVar[type[Strict]] = Strict

    def __init__(self, parameters: Any, codec: "CompressionModel", task: Task, lmbda: float, rules: Training) -> None:
        self.options, self.codec = parameters, codec


class TrainedMethod(Trainable):
    """A codec fine-tuned through a frozen recogniser.

    `codec` is what is evaluated and saved. Other submodules that the method assigns in `build` train
    jointly and are thrown away.
    `options` (an instance of `Parameters`), `task`, `lmbda` (λ, the weight of the task loss) and `rules` (the protocol's
    training section) are there to be used in `loss`. `quantisation` replaces the protocol's where it is set, and the method's
    row says so.
    """

    Parameters: ClassVar[type[Strict]] = Strict
    quantisation: Quantisation | None = None

    def __init__(self, parameters: Any, codec: "CompressionModel", task: Task, lmbda: float, rules: Training) -> None:
        super().__init__()
        self.options, self.codec, self.task, self.lmbda, self.rules = parameters, codec, task, lmbda, rules
        self.extend(codec, parameters)
        self.build()

    @classmethod
    def extend(cls, codec: "CompressionModel", parameters: Any) -> None:
        """Add to the codec, in place, modules that stay in it and take part in coding; their cost is counted.

        Also called when a trained codec is loaded. Raises UserError for an architecture that cannot take them.
        """

    def build(self) -> None:
        """Create what exists in training only; runs on the method's own random stream."""

    def code(self, images: Tensor) -> Coded:
        """The codec's differentiable pass over images float [B, 3, H, W] in 0..1."""
        return code_for_training(self.codec, images, self.quantisation or self.rules.quantisation)

    def tap(self, position: str) -> Tap:
        """The tap called `position` in the codec or the recogniser. Raises UserError if there is none."""
        points = dict(self.task.branch_points) if position in self.task.branch_points else codec_taps(self.codec)
        if position not in points:
            raise unknown("position", position, [*self.task.branch_points, *points])
        return points[position]

    def assess(self) -> dict[str, float]:
        """Scores on `val`, in percent, of parts that are thrown away, such as a branch. Called once, after training."""
        return {}


Method = TrainedMethod | UntrainedMethod | ClassicalMethod
