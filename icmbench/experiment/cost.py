"""The cost of networks: multiply-accumulates, parameters that are read, seconds, memory, energy."""

import contextlib
import resource
from collections.abc import Callable, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import FlopCounterMode, sdpa_flop_count

from icmbench.schema.record import Coding, Network

CUDA_CONTEXT = 600 * 2**20  # bytes


def _attention_flop(query: Any, key: Any, value: Any, *_: Any, **__: Any) -> int:
    """Floating-point operations of an attention kernel, from the shapes of its inputs."""
    return int(sdpa_flop_count(query, key, value))  # type: ignore[no-untyped-call]


# torch's counter knows the attention kernels of GPUs only, and a network costs the same on a CPU.
_CPU_ATTENTION = {torch.ops.aten._scaled_dot_product_flash_attention_for_cpu: _attention_flop}


class _Reads(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Collects the addresses of the memory that operations read; views read nothing."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.addresses: set[int] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if not func.is_view:
            tensors = (leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor))
            self.addresses |= {tensor.untyped_storage().data_ptr() for tensor in tensors}
        return func(*args, **kwargs)


@torch.no_grad()
def measure(use: Callable[[], object], network: nn.Module, pixels: int) -> Network:
    """The cost of one `use` of `network` on an image of `pixels` (before padding).

    `use` runs once. Multiply-accumulates are half of the floating-point operations that torch counts: those of convolutions,
    matrix products and attention. A parameter counts, as a whole, if an operation read any of it.
    """
    with FlopCounterMode(display=False, custom_mapping=_CPU_ATTENTION) as counter, _Reads() as reads:
        use()
    read = (p.numel() for p in network.parameters() if p.untyped_storage().data_ptr() in reads.addresses)
    return Network(parameters=sum(read), macs_per_pixel=counter.get_total_flops() / 2 / pixels)


def coding(network: Network, seconds: Sequence[float]) -> Coding:
    """The cost of encoding or decoding, with the median and the quartiles of the seconds that the images took."""
    first, median, third = (float(value) for value in np.quantile(seconds, [0.25, 0.5, 0.75]))
    return Coding(parameters=network.parameters, macs_per_pixel=network.macs_per_pixel, seconds=median, quartiles=(first, third))


def reset_peak_memory(device: torch.device) -> None:
    """Let `peak_memory_mib` count from here; if the system forbids that (on a CPU), the earlier peak stays."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        return
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")  # Linux: the resident peak becomes the present size


def peak_memory_mib(device: torch.device) -> float:
    """The peak of torch's allocations on a GPU, the process's resident peak on a CPU, in MiB."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 2**20
    try:  # Linux, where getrusage may give the peak of the process that started this one
        lines = Path("/proc/self/status").read_text().splitlines()
        return next(int(line.split()[1]) / 2**10 for line in lines if line.startswith("VmHWM:"))
    except (OSError, StopIteration):
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10


def gpu_memory(training: nn.Module) -> tuple[int, int]:
    """Bytes that a training needs on its GPU, measured after its first backward pass, and the bytes that are free without it.

    They are the peak so far, two moments per parameter and the driver's data of the process.
    """
    moments = sum(2 * p.nbytes for p in training.parameters() if p.requires_grad)
    free = torch.cuda.mem_get_info()[0] + torch.cuda.memory_reserved()
    return torch.cuda.max_memory_reserved() + moments + CUDA_CONTEXT, free


class Energy:
    """Joules that devices use from now on, plus those of `earlier` attempts; None if any of them is unknown."""

    def __init__(self, devices: Sequence[torch.device], earlier: float | None) -> None:
        self.devices, self.earlier = devices, earlier
        self.start = self._reading()

    def joules(self) -> float | None:
        """The sum so far."""
        now = self._reading()
        if now is None or self.start is None or self.earlier is None:
            return None
        return self.earlier + now - self.start

    def _reading(self) -> float | None:
        readings = [_energy_counter(device) for device in self.devices]
        known = [reading for reading in readings if reading is not None]
        return sum(known) if len(known) == len(readings) else None


def _energy_counter(device: torch.device) -> float | None:
    """Joules that a GPU, with all its users, has taken since its driver was loaded; None if nothing reports them.

    The GPU is found by its UUID: NVML counts all GPUs of the machine, torch only those of CUDA_VISIBLE_DEVICES.
    """
    if device.type != "cuda":
        return None
    try:
        nvml = import_module("pynvml")
    except ImportError:
        return None
    try:
        nvml.nvmlInit()
        handle = nvml.nvmlDeviceGetHandleByUUID(f"GPU-{torch.cuda.get_device_properties(device).uuid}")
        return float(nvml.nvmlDeviceGetTotalEnergyConsumption(handle)) / 1000
    except nvml.NVMLError:
        return None
