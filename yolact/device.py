"""Choice of the device and the precision to compute with."""

import ctypes
import os
from typing import Literal

import torch

from yolact.errors import UserError

Precision = Literal["fp32", "bf16", "fp16"]
DTYPES: dict[Precision, torch.dtype] = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
# Of glibc's mallopt: how many blocks are asked of the system one by one, and how much free memory is kept.
MMAP_MAX, TRIM_THRESHOLD = -4, -1


def pick_device(name: str | torch.device | None = None) -> torch.device:
    """Return the device called `name`: "cpu", "cuda", "cuda:1", "mps". None takes CUDA if there is some, else the CPU.

    Raises:
        UserError: there is no such device here.
    """
    if name is None:
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise UserError(f"Device '{name}' is not known to torch; expected cpu, cuda, cuda:N or mps.") from error
    available = _available(device.type)
    if not available:
        raise UserError(
            f"Device '{name}' was asked for, but torch {torch.__version__} finds none on this machine; use cpu, or "
            "install the driver and a build of torch for that device."
        )
    if device.index is not None and device.index >= available:
        last = available - 1
        raise UserError(f"Device '{name}' was asked for, but this machine has {device.type}:0 to {device.type}:{last}.")
    return device


def _available(kind: str) -> int:
    """Return how many devices of this kind torch can use."""
    if kind == "cuda":
        return torch.cuda.device_count() if torch.cuda.is_available() else 0
    if kind == "mps":
        return int(torch.backends.mps.is_available())
    return int(kind == "cpu")


def compute_deterministically() -> None:
    """Let every operation of this process repeat its results bit by bit, or raise where it cannot.

    To be called before anything is computed on a GPU, because cuBLAS reads its setting when it starts.
    """
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.backends.cudnn.benchmark = False
    torch.use_deterministic_algorithms(True)


def keep_freed_memory() -> None:
    """Let this process keep the memory that it frees for what it needs next, up to the most that it ever held.

    glibc gives large blocks back to the system, and a feature map is one. Each comes back in pages that the system
    fills with zeros one by one, which takes up to a fifth of an inference or of a training step on a CPU. A setting of
    the user's, by GLIBC_TUNABLES or a variable like MALLOC_TRIM_THRESHOLD_, stays as it is; elsewhere than with glibc
    nothing changes.
    """
    if any(name == "GLIBC_TUNABLES" or (name.startswith("MALLOC_") and name.endswith("_")) for name in os.environ):
        return
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):  # another C library; TypeError is Windows
        return
    mallopt(MMAP_MAX, 0)
    mallopt(TRIM_THRESHOLD, 2**31 - 1)


def resolve_precision(name: Literal["fp32", "bf16", "fp16", "auto"], device: torch.device) -> Precision:
    """Return `name`, with "auto" made bf16 where the device computes it natively and fp32 elsewhere."""
    if name != "auto":
        return name
    if device.type == "cuda":
        return "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "fp32"
    if device.type == "cpu":
        return "bf16" if _cpu_has_bf16() else "fp32"
    return "fp32"


def _cpu_has_bf16() -> bool:
    """Tell whether the CPU multiplies bf16 natively; torch has only private names for the question."""
    probes = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")
    return any(getattr(torch.cpu, probe, bool)() for probe in probes)
