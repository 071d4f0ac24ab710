"""Choice of the device and the precision to compute with, and what stands in results about both."""

import os
import platform
import re
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal

import torch

from yolact.errors import UserError

Precision = Literal["fp32", "bf16", "fp16"]
DTYPES: dict[Precision, torch.dtype] = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


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
    if device.type == "cuda":
        count = torch.cuda.device_count()
    else:
        count = int(device.type == "cpu" or (device.type == "mps" and torch.backends.mps.is_available()))
    if (device.index or 0) >= count:
        raise UserError(
            f"Device '{name}' was asked for, but torch {torch.__version__} finds {count or 'none'} of this kind here; "
            "use cpu, or install the driver and a build of torch for that device."
        )
    return device


def compute_deterministically() -> None:
    """Let every operation of this process repeat its results bit by bit, or raise where it cannot.

    To be called before anything is computed on a GPU, because cuBLAS reads its setting when it starts.
    """
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.backends.cudnn.benchmark = False
    torch.use_deterministic_algorithms(True)


def compile_options(device: torch.device) -> dict[str, Any]:
    """Return how torch.compile is called: on a GPU also for graphs, as the host is slow to start so many kernels."""
    return {"dynamic": False, "mode": "reduce-overhead" if device.type == "cuda" else "default"}


def resolve_precision(name: Literal["fp32", "bf16", "fp16", "auto"], device: torch.device) -> Precision:
    """Return `name`, with "auto" made bf16 where the device computes it natively and fp32 elsewhere."""
    if name != "auto":
        return name
    if device.type == "cuda":
        is_native = torch.cuda.is_bf16_supported(including_emulation=False)
    else:  # torch has only private names for the question
        probes = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")
        is_native = device.type == "cpu" and any(getattr(torch.cpu, probe, bool)() for probe in probes)
    return "bf16" if is_native else "fp32"


def device_name(device: torch.device) -> str:
    """Return the device in words, such as "cuda (NVIDIA H200)" or "cpu (AMD EPYC 7763, 2 threads)"."""
    if device.type == "cuda":
        return f"cuda ({torch.cuda.get_device_name(device)})"
    if device.type != "cpu":
        return device.type
    threads = torch.get_num_threads()
    return f"cpu ({_processor()}, {threads} thread{'' if threads == 1 else 's'})"


def versions() -> dict[str, str]:
    """Return the versions that metrics and speed depend on."""
    found = {name: version(name) for name in ("torchvision", "numpy", "pycocotools")}
    return {"python": platform.python_version(), "torch": str(torch.__version__), **found}


def _processor() -> str:
    """Return the CPU's name where the system tells it."""
    info = Path("/proc/cpuinfo")
    found = re.search(r"model name\s*: *(.+)", info.read_text()) if info.is_file() else None
    return found[1].strip() if found else platform.processor() or platform.machine() or "unknown"
