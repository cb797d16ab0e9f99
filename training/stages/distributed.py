"""One process or several (`torchrun`): each takes its share of a batch, gradients are averaged.

Also pays on CPUs: two processes of one thread share two busy cores better than two threads that wait for each
other after every operation.
"""

import os

import torch
import torch.distributed as dist


class Workers:
    """The processes of this run; `rank` 0 logs, evaluates and writes checkpoints. Each has `loaders` others that make
    its examples ahead."""

    def __init__(self, device: str, loaders: int = 0):
        self.count = int(os.environ.get("WORLD_SIZE", 1))
        self.rank = int(os.environ.get("RANK", 0))
        self.is_main = self.rank == 0
        self.loaders = loaders
        if device == "auto":
            device = "cuda" if torch.cuda.is_available() else "cpu"
        if device == "cuda":
            device = f"cuda:{os.environ.get('LOCAL_RANK', 0)}"
            torch.cuda.set_device(device)
        self.device = torch.device(device)
        if self.count > 1:
            dist.init_process_group("nccl" if self.device.type == "cuda" else "gloo")

    def average_(self, tensors: list[torch.Tensor]) -> None:
        """Replace each tensor by its mean over the processes, in one message."""
        if self.count == 1:
            return
        flat = torch.cat([t.flatten() for t in tensors])
        dist.all_reduce(flat)
        flat /= self.count
        for tensor, mean in zip(tensors, flat.split([t.numel() for t in tensors]), strict=True):
            tensor.copy_(mean.view_as(tensor))

    def close(self) -> None:
        if self.count > 1:
            dist.destroy_process_group()
