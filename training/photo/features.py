"""Cached maps of photos as the tokenizer takes them."""

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from .cache import FeatureCache
from .encoder import pretrained_encoder
from .tokenizer import Maps


class MapReader:
    """Rows of the cache -> Maps; the head map is computed from stride 32 again, which is cheaper than to keep it."""

    def __init__(self, cache: FeatureCache, device: torch.device):
        encoder = pretrained_encoder()
        self.weight = encoder.head.weight.flatten(1).to(device)
        self.bias = encoder.head.bias.to(device)
        self.cache, self.device = cache, device

    @torch.no_grad()
    def read(self, rows: list[int], dtype: torch.dtype = torch.float32) -> Maps:
        order = np.argsort(rows)  # the file is read front to back
        back = np.argsort(order)
        wanted = np.array(rows)[order]
        maps = [torch.from_numpy(self.cache.maps[name][wanted][back]) for name in ("s8", "s16", "s32")]
        stride8, stride16, stride32 = (m.to(self.device, dtype) for m in maps)
        return Maps(stride8, stride16, stride32, self.head(stride32))

    def head(self, stride32: Tensor) -> Tensor:
        return F.relu6(F.linear(stride32, self.weight.to(stride32.dtype), self.bias.to(stride32.dtype)))
