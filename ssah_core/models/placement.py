"""Where a model goes, device and dtype, and whether there is room for it."""

from __future__ import annotations

import psutil
import torch

from ssah_core.errors import ModelError
from ssah_core.models.sources import Source

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
FREE_MEMORY_SHARE = 0.85  # the rest is for activations and cached keys and values


def choose_device(device: str | torch.device | None) -> torch.device:
    """The device that is asked for, or the fastest there is; raises ModelError where it is not here."""
    if device is None:
        if torch.cuda.is_available():
            return torch.device("cuda")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    try:
        chosen = torch.device(device)
        torch.empty(1, device=chosen).item()  # the meta device has no values to give
    except (RuntimeError, AssertionError, NotImplementedError, ImportError) as error:
        raise ModelError(
            f"The device '{device}' is not available here; use --device cpu, or leave it out."
        ) from error
    return chosen


def choose_dtype(dtype: str | torch.dtype | None, device: torch.device) -> torch.dtype:
    """The dtype that is asked for, or the device's usual one; raises ModelError for any other."""
    if dtype is None:
        return torch.float32 if device.type == "cpu" else torch.bfloat16
    chosen = DTYPES.get(dtype) if isinstance(dtype, str) else dtype
    if chosen not in DTYPES.values():
        raise ModelError(f"The dtype '{dtype}' is not known; choose one of {', '.join(DTYPES)}.")
    assert chosen is not None
    return chosen


def too_large(source: Source, device: torch.device, dtype: torch.dtype) -> bool:
    """Whether a model has to be spread because one GPU's free memory does not hold it."""
    if device.type != "cuda":
        return False
    return bytes_needed(source, dtype) > FREE_MEMORY_SHARE * bytes_free(device)


def bytes_needed(source: Source, dtype: torch.dtype) -> float:
    """How large the weights are in memory, as `dtype`."""
    stored = source.config.dtype
    bytes_each = stored.itemsize if isinstance(stored, torch.dtype) else 4
    return source.weight_bytes * dtype.itemsize / bytes_each


def bytes_free(device: torch.device) -> int:
    """How much memory is free: the GPU's own, or the machine's."""
    if device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
        return int(free)
    return int(psutil.virtual_memory().available)


def check_room(source: Source, *, given_back: int = 0) -> None:
    """Raise ModelError where a model does not fit beside what is in memory already.

    It would be opened on the usual device as the usual dtype. `given_back` are the bytes that are free
    by then, those of a model that it takes the place of.
    """
    device = choose_device(None)
    needed = bytes_needed(source, choose_dtype(None, device))
    free = bytes_free(device) + given_back
    if needed > FREE_MEMORY_SHARE * free:
        raise ModelError(
            f"'{source.name}' needs {_size(needed / FREE_MEMORY_SHARE)} of memory, its weights and room "
            f"to work, and {_size(free)} are free; close other programs, or choose a smaller model."
        )


def _size(count: float) -> str:
    return f"{count / 1e9:.1f} GB" if count >= 1e9 else f"{max(1, count / 1e6):.0f} MB"
