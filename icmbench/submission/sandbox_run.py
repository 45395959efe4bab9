"""One run of a bundle's codecs in the sandbox: its input, its output, and the report of a failure."""

import json
import os
import random
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from icmbench.base.errors import UserError
from icmbench.base.files import cache_root, data_root
from icmbench.codecs.neural import saved_metadata
from icmbench.plugins.find import Plugins
from icmbench.running.runner import bind
from icmbench.schema.record import Record
from icmbench.submission import sandbox
from icmbench.submission.archive import Archive, Refused, opened
from icmbench.submission.inspect import Claim, Contents, contents
from icmbench.submission.sandbox import Limits, Outcome
from icmbench.submission.worker import CANNOT, Step, Work

WORKER = "icmbench.submission.worker"
FILE_BYTES = 2**30  # the largest file that may be written inside
WEIGHT_BYTES = 8, 2**20  # a codec's file: bytes a parameter, and for the tables of its entropy coder


class NotHere(UserError):
    """This machine cannot verify the bundle."""


class SandboxRun:
    """The scratch folder of one run in the sandbox, with its input and output. File names are random numbers."""

    def __init__(self, bundle: Archive, submitted: Contents, rng: random.Random) -> None:
        self.bundle, self.submitted, self.rng = bundle, submitted, rng
        self.steps: dict[int, Step] = {}

    def __enter__(self) -> "SandboxRun":
        self._temporary = tempfile.TemporaryDirectory(prefix="icmbench-verify-")
        self.folder = Path(self._temporary.name)
        self.inside, self.out = self.folder / "in", self.folder / "out"
        for path in (self.inside, self.out):
            path.mkdir()
        for name in self.submitted.manifest.plugin.files:
            self._put(self.inside / name, self.bundle.read(name))
        return self

    def __exit__(self, *error: object) -> None:
        self._temporary.cleanup()

    def _put(self, path: Path, data: bytes) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        os.utime(path, (0, 0))

    def add(self, data: bytes, image: Tensor | None = None) -> int:
        """Add data to decode, or pixels to encode if `image` is given; returns its number."""
        number = self.rng.getrandbits(60)
        self._put(self.inside / str(number), data)
        self.steps[number] = {"number": number}
        if image is not None:
            self.steps[number]["size"] = (int(image.shape[1]), int(image.shape[2]))
        return number

    def work(self, claim: Claim, numbers: Sequence[int]) -> Work:
        """The work for the codec of a record, in random order."""
        record, codec = claim.record, ""
        if claim.cell.codec:
            codec = f"{self.rng.getrandbits(60)}.safetensors"
            self._put(self.inside / codec, self.bundle.read(claim.cell.codec))
            _check_codec(self.inside / codec, record)
        rate = next(iter(record.rate_point.values()))
        steps = [self.steps[number] for number in self.rng.sample(list(numbers), len(numbers))]
        return {"codec": codec, "rate": rate, "steps": steps}

    def run(self, work: list[Work], show: Callable[[int, int], None]) -> None:
        """Do the work in the sandbox; `show` gets the number of finished and of all steps."""
        total = len(self.steps)
        limits = Limits(seconds=600 + 5 * total)
        self._put_job(limits, {"work": work})
        _check_outcome(sandbox.run(["-m", WORKER], self.folder, limits, lambda files: show(min(files, total), total)))

    def check(self, task: str) -> Outcome:
        """Test the contract of the bundle's method with a task, which the sandbox then contains too, with its data."""
        limits = Limits(seconds=600, idle_seconds=600)
        folders = {"data": data_root().absolute(), "cache": cache_root().absolute()}
        self._put_job(limits, {"work": [], "task": task} | {name: str(path) for name, path in folders.items()})
        readable = [sandbox.package("icmbench.tasks"), *filter(Path.is_dir, folders.values())]
        return sandbox.run(["-m", WORKER], self.folder, limits, lambda files: None, readable)

    def _put_job(self, limits: Limits, what: dict[str, Any]) -> None:
        plugin = self.submitted.manifest.plugin
        job = {
            "name": plugin.name,
            "module": plugin.module,
            "parameters": self.submitted.manifest.parameters,
            "memory": limits.memory,
            "file_size": FILE_BYTES,
            "seconds": int(limits.seconds),
        }
        self._put(self.inside / "job.json", json.dumps(job | what).encode())

    def result(self, number: int, limit: int) -> bytes:
        """The output for a number."""
        path = self.out / str(number)
        if path.is_symlink() or not path.is_file() or path.stat().st_size > limit:
            raise Refused("the codec ended without returning every image.")
        return path.read_bytes()

    def image(self, number: int, like: Tensor) -> Tensor:
        """The decoded image for a number, which must have the size of `like`."""
        data = self.result(number, limit=like.numel())
        if len(data) != like.numel():
            raise Refused("the codec returned an image of another size than the original's.")
        return torch.from_numpy(np.frombuffer(data, np.uint8).copy()).reshape(like.shape)


def check(path: Path, task: str) -> tuple[int, str]:
    """Test the contract of a bundle's method in the sandbox. Returns the exit status and the output.

    Raises UserError if the bundle is not valid or code cannot be isolated on this machine.
    """
    plugins = Plugins()
    bind(plugins.protocol(plugins.default_protocol(task)), plugins)  # images that are generated are made outside the sandbox
    with opened(path) as bundle, SandboxRun(bundle, contents(bundle), random.SystemRandom()) as run:
        outcome = run.check(task)
    stopped = f"\nIt was stopped: {outcome.broken_limit}." if outcome.broken_limit else ""
    return 1 if stopped else outcome.status, outcome.printed + stopped


def _check_codec(path: Path, record: Record) -> None:
    """Raises Refused unless the weights are those of the method with its parameters, and no larger than the record allows."""
    try:
        saved: dict[str, Any] = saved_metadata(path)
        parameters = json.loads(saved.get("parameters", "{}"))
        method, spec = saved.get("method"), json.loads(saved.get("codec", "null"))
    except (UserError, ValueError, RecursionError) as error:
        raise Refused(f"the weights of a codec cannot be read: {error}") from error
    if method != record.method or parameters != record.defaults | record.parameters:
        raise Refused("the weights of a codec are of another method, or of other parameters, than its record.")
    if spec != record.protocol.codec.model_dump(mode="json"):
        raise Refused("the weights are of another codec than the protocol's.")
    each, tables = WEIGHT_BYTES
    most = each * record.cost.codec_parameters + tables
    if path.stat().st_size > most:
        raise Refused(
            f"the codec's weights take {path.stat().st_size} bytes; the {record.cost.codec_parameters} parameters that its "
            f"record declares take {most} at most."
        )


def _check_outcome(outcome: Outcome) -> None:
    last_line = outcome.printed.splitlines()[-1][:300] if outcome.printed else ""
    if outcome.broken_limit:
        raise Refused(f"the codec was stopped: {outcome.broken_limit}.")
    if outcome.status == CANNOT and "icmbench.tasks" in last_line:
        raise Refused("the codec imports tasks, but a codec must not have access to the data set.")
    if outcome.status == CANNOT:
        raise NotHere(f"the codec cannot run on this machine: {last_line}.")
    if outcome.status:
        raise Refused(f"the codec failed with status {outcome.status}: {last_line or 'it printed nothing'}")
