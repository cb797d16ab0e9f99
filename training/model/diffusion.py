"""Diffusion head: denoises one visual token under a hidden state of the language model (after MAR, Li et al. 2024)."""

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn


@dataclass(frozen=True)
class DiffusionConfig:
    width: int = 256
    depth: int = 3
    timesteps: int = 1000
    norm_eps: float = 1e-6
    time_frequencies: int = 64  # that tell a time, each as cosine and sine


def signal_levels(timesteps: int) -> Tensor:
    """Cosine schedule: share of signal (alpha bar) left at t = 0 .. timesteps - 1, as float32 [timesteps]."""
    t = torch.linspace(0, 1, timesteps + 1, dtype=torch.float64)
    level = torch.cos((t + 0.008) / 1.008 * math.pi / 2).square()
    return (level[1:] / level[0]).clamp(1e-5, 0.9999).float()


class AdaLnBlock(nn.Module):
    """Residual MLP whose norm is shifted, scaled and gated by the condition."""

    def __init__(self, width: int, eps: float):
        super().__init__()
        self.norm = nn.LayerNorm(width, eps=eps)
        self.fc1 = nn.Linear(width, width)
        self.fc2 = nn.Linear(width, width)
        self.modulation = nn.Linear(width, 3 * width)
        nn.init.zeros_(self.modulation.weight)
        nn.init.zeros_(self.modulation.bias)

    def forward(self, x: Tensor, condition: Tensor) -> Tensor:
        shift, scale, gate = self.modulation(F.silu(condition)).chunk(3, dim=-1)
        y = self.norm(x) * (1 + scale) + shift
        return x + gate * self.fc2(F.silu(self.fc1(y)))


class DiffusionHead(nn.Module):
    """Denoises normalised tokens [M, D] under hidden states [M, H].

    The network predicts v = sqrt(a) * noise - sqrt(1 - a) * token. Guidance compares with a learned null condition
    instead of a second pass of the language model without the caption: half the work, no second cache.
    """

    def __init__(self, config: DiffusionConfig, token_width: int, hidden: int):
        super().__init__()
        self.config, width = config, config.width
        self.token_in = nn.Linear(token_width, width)
        self.time_fc1 = nn.Linear(2 * config.time_frequencies, width)
        self.time_fc2 = nn.Linear(width, width)
        self.condition_in = nn.Linear(hidden, width)
        self.null_condition = nn.Parameter(torch.zeros(hidden))
        self.blocks = nn.ModuleList(AdaLnBlock(width, config.norm_eps) for _ in range(config.depth))
        self.final_modulation = nn.Linear(width, 2 * width)
        self.out = nn.Linear(width, token_width)
        self.register_buffer("levels", signal_levels(config.timesteps), persistent=False)
        for layer in (self.final_modulation, self.out):
            nn.init.zeros_(layer.weight)
            nn.init.zeros_(layer.bias)

    def forward(self, noisy: Tensor, t: Tensor, hidden: Tensor) -> Tensor:
        """v for noisy tokens [M, D] at times `t` [M]."""
        count = self.config.time_frequencies
        frequency = torch.exp(-math.log(10000) * torch.arange(count, device=t.device) / count)
        angle = t[:, None].to(noisy.dtype) * frequency.to(noisy.dtype)
        time = self.time_fc2(F.silu(self.time_fc1(torch.cat([angle.cos(), angle.sin()], dim=1))))
        condition = time + self.condition_in(hidden)
        x = self.token_in(noisy)
        for block in self.blocks:
            x = block(x, condition)
        shift, scale = self.final_modulation(F.silu(condition)).chunk(2, dim=-1)
        x = F.layer_norm(x, x.shape[-1:], eps=self.config.norm_eps) * (1 + scale) + shift
        return self.out(x)

    def loss(
        self, token: Tensor, hidden: Tensor, repeats: int = 16, null_share: float = 0.1
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Mean squared error of v; each token is seen at `repeats` times. Then what it takes each token for, [R M, D],
        repeat by repeat, and where it knew the hidden state, [R M, 1]."""
        token, hidden = token.repeat(repeats, 1), hidden.repeat(repeats, 1)
        is_null = torch.rand(len(hidden), 1, device=hidden.device) < null_share
        hidden = torch.where(is_null, self.null_condition, hidden)
        t = torch.randint(self.config.timesteps, (len(token),), device=token.device)
        level, noise = self.levels[t][:, None], torch.randn_like(token)
        noisy = level.sqrt() * token + (1 - level).sqrt() * noise
        v = self(noisy, t, hidden)
        guess = level.sqrt() * noisy - (1 - level).sqrt() * v
        return F.mse_loss(v, level.sqrt() * noise - (1 - level).sqrt() * token), guess, ~is_null

    @torch.no_grad()
    def sample(self, noise: Tensor, hidden: Tensor, steps: int = 25, guidance: float = 1.0) -> Tensor:
        """Deterministic (DDIM) denoising of `noise` [M, D], which the caller may have scaled by a temperature."""
        x = noise
        null = self.null_condition.expand_as(hidden)
        times = sample_times(self.config.timesteps, steps)
        for i, t in enumerate(times):
            at = torch.full((len(x),), t, device=x.device)
            v = self(x, at, hidden)
            if guidance != 1:
                unguided = self(x, at, null)
                v = unguided + guidance * (v - unguided)
            level = self.levels[t]
            token = level.sqrt() * x - (1 - level).sqrt() * v
            noise = (1 - level).sqrt() * x + level.sqrt() * v
            if i + 1 == len(times):
                return token
            level = self.levels[times[i + 1]]
            x = level.sqrt() * token + (1 - level).sqrt() * noise
        raise ValueError("sampling needs at least one step")


def sample_times(timesteps: int, steps: int) -> list[int]:
    """`steps` times from the last to 0, evenly spaced, rounded down."""
    if steps == 1:
        return [timesteps - 1]
    return [(timesteps - 1) * (steps - 1 - i) // (steps - 1) for i in range(steps)]
