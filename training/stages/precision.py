"""The precision of training: bfloat16 where the hardware multiplies it, float32 elsewhere."""

import torch


def mixed_precision(device: torch.device) -> torch.autocast:
    """A context in which products run in bfloat16. A CPU without such instructions only imitates them, many times
    slower than float32, so there it changes nothing."""
    if device.type == "cpu":
        features = torch.cpu.get_capabilities()
        is_native = any(features.get(name, False) for name in ("avx512_bf16", "amx_bf16", "bf16"))
    else:
        is_native = True
    return torch.autocast(device.type, torch.bfloat16, enabled=is_native)
