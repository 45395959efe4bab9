"""Runs untrusted code in its own namespaces, made by bubblewrap, and within limits.

The sandbox has a read-only system, the Python environment without the tasks, and a scratch folder. It has no network, no
other process, no data set, no home, and no environment variable of the caller. Killing the outer process ends all
processes inside.
"""

import contextlib
import importlib.util
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import IO

import psutil

from icmbench.base.errors import UserError

SYSTEM = ("/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32")
ETC = ("/etc/ld.so.cache", "/etc/alternatives", "/etc/fonts")
ENVIRONMENT = {"PATH": "/usr/bin:/bin", "HOME": "/tmp", "USER": "nobody", "LANG": "C.UTF-8", "OMP_NUM_THREADS": "1"}
_TAIL = 4000  # bytes
_PRINTED = 16 * 2**20
_POLL, _LOOK = 0.1, 1.0  # seconds between checks of the processes, of the files


@dataclass(frozen=True)
class Limits:
    """The limits of the code: seconds in all and without any new file, bytes of memory and of output, files, processes."""

    seconds: float = 3600.0
    idle_seconds: float = 180.0
    memory: int = 6 * 2**30
    output: int = 8 * 2**30
    files: int = 100_000
    processes: int = 256


@dataclass(frozen=True)
class Outcome:
    """The end of a run: exit status, the limit that was exceeded ("" for none), and the last part of the output."""

    status: int
    broken_limit: str
    printed: str


@cache
def why_not() -> str:
    """Why code cannot be isolated on this machine; "" if it can."""
    program = shutil.which("bwrap")
    if program is None:
        return "bubblewrap is not installed (on Debian: the package bubblewrap)"
    try:
        done = subprocess.run(
            [*_walls(program, []), "--", "/usr/bin/env"], capture_output=True, text=True, timeout=30, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return f"bubblewrap does not run: {error}"
    return "" if done.returncode == 0 else f"bubblewrap may not make namespaces here: {done.stderr.strip()[-200:]}"


def run(
    words: Sequence[str], scratch: Path, limits: Limits, watch: Callable[[int], None], readable: Sequence[Path] = ()
) -> Outcome:
    """Run Python in the sandbox with the arguments `words`, with `scratch/in` readable as /scratch/in and `scratch/out` writable.

    `watch` gets the number of files in `out` about once a second. `readable`: further readable paths. Raises UserError if code
    cannot be isolated on this machine.
    """
    if reason := why_not():
        raise UserError(f"untrusted code cannot be isolated on this machine: {reason}.")
    program = shutil.which("bwrap") or "bwrap"
    binds = ["--ro-bind", str(scratch / "in"), "/scratch/in", "--bind", str(scratch / "out"), "/scratch/out", "--remount-ro", "/"]
    command = [*_walls(program, readable), *binds, "--chdir", "/scratch/out", "--", sys.executable, "-I", "-B"]
    with tempfile.TemporaryFile() as printed:
        process = subprocess.Popen([*command, *words], stdin=subprocess.DEVNULL, stdout=printed, stderr=printed)
        try:
            broken = _guard(process, scratch / "out", limits, printed, watch)
        finally:
            process.kill()
            status = process.wait()
        return Outcome(status, broken, _tail(printed))


def _walls(program: str, readable: Sequence[Path]) -> list[str]:
    """The part of bubblewrap's command line that is the same for all runs."""
    walls = [program, "--unshare-all", "--unshare-user", "--disable-userns", "--cap-drop", "ALL"]
    walls += ["--die-with-parent", "--new-session", "--clearenv"]
    for name, value in ENVIRONMENT.items():
        walls += ["--setenv", name, value]
    walls += ["--ro-bind", "/usr", "/usr"]
    for folder in map(Path, SYSTEM):
        if folder.is_symlink():
            walls += ["--symlink", str(folder.readlink()), str(folder)]
        elif folder.is_dir():
            walls += ["--ro-bind", str(folder), str(folder)]
    for item in ETC:
        walls += ["--ro-bind-try", item, item]
    # read-only, because root inside is root outside if root runs this, and could write the files of /proc/sys
    walls += ["--proc", "/proc", "--remount-ro", "/proc", "--dev", "/dev", "--remount-ro", "/dev"]
    for path, size in (("/dev/shm", 64 * 2**20), ("/tmp", 512 * 2**20)):
        walls += ["--size", str(size), "--tmpfs", path]
    for path in dict.fromkeys(str(source) for source in [*_python(), *readable]):
        walls += ["--ro-bind", path, path]
    if (tasks := package("icmbench.tasks")) not in readable:
        walls += ["--tmpfs", str(tasks)] if tasks.is_relative_to(sys.prefix) else []
    return walls


def _python() -> list[Path]:
    """The Python environment: interpreter, packages, and icmbench without its tasks and the leaderboard."""
    prefixes = [Path(sys.base_prefix), Path(sys.prefix), Path(sys.executable).resolve().parents[1]]
    packages = [package("icmbench"), package("icmbench.methods")]
    outside = [path for path in packages if not path.is_relative_to(sys.prefix)]
    return [*(prefix for prefix in prefixes if not prefix.is_relative_to("/usr")), *outside]


def package(name: str) -> Path:
    """The folder of an installed package. Raises UserError if there is none."""
    spec = importlib.util.find_spec(name)
    if spec is None or spec.origin is None:
        raise UserError(f"the package {name} is not installed.")
    return Path(spec.origin).parent.resolve()  # in a checkout the packages are links


def _guard(
    process: "subprocess.Popen[bytes]", out: Path, limits: Limits, printed: IO[bytes], watch: Callable[[int], None]
) -> str:
    """Wait for the end. Returns the limit that was exceeded, or ""."""
    start = grown = looked = time.monotonic()
    inside, files, size = psutil.Process(process.pid), 0, 0
    while process.poll() is None:
        time.sleep(_POLL)
        now = time.monotonic()
        if now - looked > _LOOK:
            looked, before = now, files
            files, size = _written(out)
            grown = now if files > before else grown
            watch(files)
        memory, processes = _use(inside)
        passed = {
            f"it ran longer than {limits.seconds:.0f} s": now - start > limits.seconds,
            f"it gave no result for {limits.idle_seconds:.0f} s": now - grown > limits.idle_seconds,
            f"it used more than {limits.memory / 2**30:.3g} GiB of memory": memory > limits.memory,
            f"it started more than {limits.processes} processes": processes > limits.processes,
            f"it wrote more than {limits.output / 2**20:.0f} MiB": size > limits.output,
            f"it wrote more than {limits.files} files": files > limits.files,
            "it printed too much": os.fstat(printed.fileno()).st_size > _PRINTED,
        }
        if broken := [reason for reason, holds in passed.items() if holds]:
            return broken[0]
    return ""


def _use(inside: psutil.Process) -> tuple[int, int]:
    """Resident bytes and number of the process and all its descendants."""
    memory = processes = 0
    with contextlib.suppress(psutil.Error):
        for member in [inside, *inside.children(recursive=True)]:
            with contextlib.suppress(psutil.Error):
                memory, processes = memory + member.memory_info().rss, processes + 1
    return memory, processes


def _written(folder: Path) -> tuple[int, int]:
    """Number and bytes of everything below a folder, without files that vanish meanwhile."""
    files = size = 0
    for parent, folders, names in os.walk(folder):
        files += len(folders) + len(names)
        for name in names:
            with contextlib.suppress(OSError):
                size += os.lstat(os.path.join(parent, name)).st_size
    return files, size


def _tail(printed: IO[bytes]) -> str:
    """The last part of the output, as printable text."""
    size = os.fstat(printed.fileno()).st_size
    printed.seek(max(0, size - _TAIL))
    text = printed.read(_TAIL).decode(errors="replace")
    return "".join(letter if letter.isprintable() or letter == "\n" else "\ufffd" for letter in text).strip()
