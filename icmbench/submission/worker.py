"""The program that runs inside the sandbox: it codes images with an untrusted codec, or tests its contract, by a job file.

Input and output files have random numbers as names, so only the content of a file tells the codec which image it is.
"""

import json
import os
import resource
import sys
import warnings
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import TYPE_CHECKING, Any, NotRequired, TypedDict

if TYPE_CHECKING:
    from icmbench.plugins.find import Plugins

IN, OUT = Path("/scratch/in"), Path("/scratch/out")
CANNOT = 3  # exit status: this machine lacks something that the codec needs


class Step(TypedDict):
    """One image: `number` names the file in IN and OUT. With `size` (height, width) it is encoded, else decoded."""

    number: int
    size: NotRequired[tuple[int, int]]


class Work(TypedDict):
    """The work of one codec. `codec`: a safetensors file in IN, or "" for a classical codec with `rate`."""

    codec: str
    rate: float
    steps: list[Step]


class Job(TypedDict):
    """The method `name` with `parameters`; `module` as in a manifest; the limits of every process in bytes and seconds.

    `task`: instead of coding, test the method's contract with this task, whose data are below `data` and `cache`.
    """

    name: str
    module: str
    parameters: dict[str, Any]
    work: list[Work]
    task: NotRequired[str]
    data: NotRequired[str]
    cache: NotRequired[str]
    memory: int
    file_size: int
    seconds: int


def main() -> int:
    """Do the job of /scratch/in/job.json."""
    job: Job = json.loads((IN / "job.json").read_text())
    for limit, value in (
        (resource.RLIMIT_DATA, job["memory"]),
        (resource.RLIMIT_FSIZE, job["file_size"]),
        (resource.RLIMIT_CPU, job["seconds"]),
        (resource.RLIMIT_CORE, 0),
    ):
        resource.setrlimit(limit, (value, value))
    warnings.filterwarnings("ignore")
    try:
        if "task" in job:
            return _check(job)
        _code(job)
    except ImportError as error:
        print(f"cannot import {error.name or error}", file=sys.stderr)
        return CANNOT
    return 0


def _check(job: Job) -> int:
    from icmbench.extras.authoring.check import report

    os.environ |= {"ICMBENCH_DATA": job["data"], "ICMBENCH_CACHE": job["cache"]}
    return report(_plugins(job), job["name"], job["task"])


def _code(job: Job) -> None:
    import numpy as np
    import torch

    from icmbench.base.errors import UserError

    torch.set_num_threads(1)
    for work in job["work"]:
        try:
            codec = _codec(job, work)
        except UserError as error:
            if isinstance(error.__cause__, ImportError):
                raise error.__cause__ from error
            raise
        for step in work["steps"]:
            data = (IN / str(step["number"])).read_bytes()
            if "size" in step:
                image = torch.from_numpy(np.frombuffer(data, np.uint8).copy()).reshape(3, *step["size"])
                result = codec.encode(image)
            else:
                result = codec.decode(data).contiguous().numpy().tobytes()
            temporary = OUT / f".{step['number']}"
            temporary.write_bytes(result)
            temporary.rename(OUT / str(step["number"]))


def _plugins(job: Job) -> "Plugins":
    from icmbench.plugins.find import Plugins

    if not job["module"]:
        return Plugins(files=(IN / "plugin" / f"{job['name']}.py",))
    sys.path.insert(0, str(IN / "plugin"))
    return Plugins(entries=(EntryPoint(job["name"], job["module"], "icmbench.methods"),))


def _codec(job: Job, work: Work) -> Any:
    import torch

    from icmbench.api import ClassicalMethod
    from icmbench.api.classes import method_class
    from icmbench.experiment.build import load_codec
    from icmbench.plugins.find import options

    name, plugins = job["name"], _plugins(job)
    if work["codec"]:
        return load_codec(IN / work["codec"], plugins, torch.device("cpu"))
    kind = method_class(plugins, name)
    if not issubclass(kind, ClassicalMethod):
        raise SystemExit(f"the method {name} is not a classical codec, but came without weights")
    return kind(options(kind.Parameters, job["parameters"], f"the parameters of method {name}"), work["rate"])


if __name__ == "__main__":
    sys.exit(main())
