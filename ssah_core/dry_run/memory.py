"""How much memory work takes beside the weights, and how much a device has free."""

from __future__ import annotations

import psutil
import torch


def free_bytes(device: torch.device) -> int:
    """What is free on a device: of the machine's memory where the device has none of its own."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    return psutil.virtual_memory().available
