"""torch's devices and random generators."""

import platform
from pathlib import Path

import torch

from icmbench.base import seeds
from icmbench.experiment.folders import Device


def torch_device(device: Device) -> torch.device:
    """The first device, which evaluates."""
    return torch.device(device.accelerator)


def seed_torch(*axes: object) -> None:
    """Start torch's default generators (CPU and devices) on the stream that the axes name."""
    torch.manual_seed(seeds.derive(*axes))


def device_name(device: torch.device) -> str:
    """The GPU's name, or the processor's with the number of threads."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"{_processor()}, {torch.get_num_threads()} thread(s)"


def _processor() -> str:
    """The processor's model, which Linux gives in /proc only."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.machine()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine())
