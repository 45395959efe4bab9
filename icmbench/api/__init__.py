"""Everything that a method, a task or a tally imports from icmbench: `from icmbench.api import Task, Sample`."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from icmbench.base.errors import UserError
from icmbench.base.files import build_once, cache_root, data_root, fingerprint, sha256
from icmbench.codecs import container
from icmbench.plugins.weights import verified_path
from icmbench.schema.protocol import Fraction, Strict, Weights
from icmbench.stats.tally import Array, Mean, Tally

if TYPE_CHECKING:
    from icmbench.api import crops
    from icmbench.api.method import ClassicalMethod, Method, Trainable, TrainedMethod, UntrainedMethod
    from icmbench.api.taps import Tap, codec_taps
    from icmbench.api.task import Batch, Dataset, LightHead, Metric, Sample, Task
    from icmbench.codecs.neural import Coded
else:

    def __getattr__(name: str) -> Any:
        """Names that need torch are imported on first use, because tallies are read without torch."""
        if name == "crops":
            return import_module(f"{__name__}.crops")
        if name in __all__:
            for home in ("task", "method"):
                module = import_module(f"{__name__}.{home}")
                if hasattr(module, name):
                    return getattr(module, name)
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


__all__ = [
    "Array", "Batch", "ClassicalMethod", "Coded", "Dataset", "Fraction", "LightHead", "Mean", "Method", "Metric", "Sample",
    "Strict", "Tally", "Tap", "Task", "Trainable", "TrainedMethod", "UntrainedMethod", "UserError", "Weights", "build_once",
    "cache_root", "codec_taps", "container", "crops", "data_root", "fingerprint", "sha256", "verified_path",
]  # fmt: skip
