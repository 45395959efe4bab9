"""The environment of a result: versions, code and device."""

import platform
import subprocess
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from icmbench import __version__
from icmbench.schema.record import Environment

PACKAGES = (
    "torch", "torchvision", "compressai", "lightning-fabric", "onedl-mmcv", "onedl-mmdetection", "onedl-mmsegmentation",
    "faster-coco-eval", "numpy", "opencv-python-headless", "imageio-ffmpeg", "pillow", "scipy",
)  # fmt: skip


@cache
def commit() -> str:
    """The code's git commit, with `+changes` if the tree differs from it; `unknown` outside a checkout."""
    here = Path(__file__).resolve().parent

    def git(*words: str) -> str:
        return subprocess.run(["git", "-C", here, *words], capture_output=True, text=True, check=True).stdout.strip()

    try:
        changed = git("status", "--porcelain", "--untracked-files=no", "--", ":(top)*.py", ":(top)*.toml")
        return git("rev-parse", "HEAD") + ("+changes" if changed else "")
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


def package_versions() -> dict[str, str]:
    """Installed versions of the packages that results depend on."""
    versions = {}
    for name in PACKAGES:
        try:
            versions[name] = version(name)
        except PackageNotFoundError:
            versions[name] = "missing"
    return versions


def describe(device: str) -> Environment:
    """The environment, with the name of the device that computed."""
    return Environment(
        icmbench=__version__,
        commit=commit(),
        python=platform.python_version(),
        platform=f"{platform.system()} {platform.machine()}",
        device=device,
        packages=package_versions(),
    )
