"""Detokenizer: visual tokens back to pixels. A decoder renders the base, and each token adds a small layer on top."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .config import DetokenizerConfig, VisionConfig
from .layers import Attention, Mlp, sincos_positions


class DetokenizerBlock(nn.Module):
    """Cross-attention to the tokens, feed-forward, self-attention, feed-forward (all pre-norm)."""

    def __init__(self, width: int, heads: int, mlp_ratio: int, eps: float):
        super().__init__()
        self.norm_cross = nn.LayerNorm(width, eps=eps)
        self.cross_attn = Attention(width, heads)
        self.norm_cross_mlp = nn.LayerNorm(width, eps=eps)
        self.cross_mlp = Mlp(width, mlp_ratio)
        self.norm_self = nn.LayerNorm(width, eps=eps)
        self.self_attn = Attention(width, heads)
        self.norm_self_mlp = nn.LayerNorm(width, eps=eps)
        self.self_mlp = Mlp(width, mlp_ratio)

    def forward(self, x: Tensor, tokens: Tensor, mask: Tensor) -> Tensor:
        x = x + self.cross_attn(self.norm_cross(x), tokens, mask)
        x = x + self.cross_mlp(self.norm_cross_mlp(x))
        y = self.norm_self(x)
        x = x + self.self_attn(y, y)
        return x + self.self_mlp(self.norm_self_mlp(x))


class TokenLayers(nn.Module):
    """A picture of its own for each token, with opacity, and where it lies.

    A decoder that has a cell for every patch must learn each thing anew at every place, and blurs what it has not seen
    there; a layer has no place (compare the slots of AIR, Eslami et al., 2016, and the sprites of MarioNette, Smirnov
    et al., 2021).
    """

    def __init__(self, config: DetokenizerConfig, token_width: int):
        super().__init__()
        self.size, width = config.layer_size, config.layer_width
        self.hidden = nn.ModuleList([nn.Linear(token_width, width), nn.Linear(width, width)])
        self.picture = nn.Linear(width, 4 * self.size**2)
        self.box = nn.Linear(width, 3)
        nn.init.zeros_(self.picture.weight)
        with torch.no_grad():
            self.picture.bias.view(4, -1)[3] = -4.0  # nothing to see at first

    def forward(self, tokens: Tensor) -> tuple[Tensor, Tensor]:
        """Tokens [.., D] -> pictures [.., 4, G, G]: colour in [-1, 1] (not clamped) and opacity in [0, 1]; boxes
        [.., 3]: middle across, middle down and side, as shares of the image."""
        x = self.features(tokens)
        exact = torch.promote_types(x.dtype, torch.float32)
        picture = self.picture(x).to(exact).unflatten(-1, (4, self.size, self.size))
        color, opacity = picture.split([3, 1], dim=-3)
        return torch.cat([color, opacity.sigmoid()], -3), self.box(x).to(exact)

    def boxes(self, tokens: Tensor) -> Tensor:
        """Where the layers of tokens [.., D] lie, without their pictures."""
        return self.box(self.features(tokens))

    def features(self, tokens: Tensor) -> Tensor:
        x = tokens
        for layer in self.hidden:
            x = F.gelu(layer(x))
        return x


def composite_layers(image: Tensor, layers: Tensor, boxes: Tensor) -> Tensor:
    """Layers on top of an image, all at the same height: where several lie, their colours mix by opacity.

    image [B, 3, S, S], layers [B, K, 4, G, G], boxes [B, K, 3] -> [B, 3, S, S]. Bilinear; outside of its box a layer
    is clear, and so is one whose side is not positive.
    """
    size, count = image.shape[-1], boxes.shape[1]
    x, y, side = boxes.flatten(0, 1).unbind(-1)
    pixel = (torch.arange(size, device=image.device, dtype=boxes.dtype) + 0.5) / size
    # Where each pixel lies in the box, from -1 at its left (or top) to 1.
    across, down = (2 * (pixel - middle[:, None]) / side.clamp(min=1e-3)[:, None] for middle in (x, y))
    grid = torch.stack([across[:, None].expand(-1, size, -1), down[:, :, None].expand(-1, -1, size)], -1)
    color, opacity = layers.flatten(0, 1).split([3, 1], 1)
    sampled = F.grid_sample(torch.cat([color * opacity, opacity], 1), grid, align_corners=False)
    sampled = (sampled * (side > 0)[:, None, None, None]).unflatten(0, (-1, count))
    color, opacity = sampled.split([3, 1], 2)
    clear = (1 - opacity).prod(1)
    return clear * image + (1 - clear) * color.sum(1) / opacity.sum(1).clamp(min=1e-6)


class Detokenizer(nn.Module):
    """Tokens [B, K, D] with `valid` [B, K] -> image [B, 3, S, S] in [-1, 1] (not clamped)."""

    def __init__(self, config: DetokenizerConfig, token_width: int, vision: VisionConfig):
        super().__init__()
        self.grid, self.patch = vision.grid, vision.patch_size
        self.token_in = nn.Linear(token_width, config.width)
        positions = sincos_positions(vision.grid, config.width)
        self.queries = nn.Parameter(positions + 0.02 * torch.randn_like(positions))
        self.blocks = nn.ModuleList(
            DetokenizerBlock(config.width, config.heads, config.mlp_ratio, config.norm_eps) for _ in range(config.depth)
        )
        self.norm = nn.LayerNorm(config.width, eps=config.norm_eps)
        self.pixels = nn.Linear(config.width, 3 * vision.patch_size**2)
        self.refine = nn.ModuleList()
        if config.refine_channels:
            self.refine.append(nn.Conv2d(3, config.refine_channels, 3, padding=1))
            self.refine.append(nn.Conv2d(config.refine_channels, 3, 3, padding=1))
            nn.init.zeros_(self.refine[1].weight)
            nn.init.zeros_(self.refine[1].bias)
        self.layers = TokenLayers(config, token_width) if config.layer_size else None

    def forward(self, tokens: Tensor, valid: Tensor) -> Tensor:
        return self.composite(self.render_base(tokens, valid), tokens, valid)

    def composite(self, image: Tensor, tokens: Tensor, valid: Tensor) -> Tensor:
        """The layers of the tokens on top of a rendered base."""
        if not self.layers:
            return image
        images, boxes = self.layers(tokens)
        opacity = images[:, :, 3:] * valid[:, :, None, None, None]
        return composite_layers(image.to(boxes.dtype), torch.cat([images[:, :, :3], opacity], 2), boxes)

    def render_base(self, tokens: Tensor, valid: Tensor) -> Tensor:
        """What lies below the layers."""
        context, mask = self.token_in(tokens), valid[:, None, None, :]
        x = self.queries.to(context.dtype).expand(len(tokens), -1, -1)
        for block in self.blocks:
            x = block(x, context, mask)
        image = self.unpatchify(self.pixels(self.norm(x)))
        if self.refine:
            image = image + self.refine[1](F.gelu(self.refine[0](image)))
        return image

    def unpatchify(self, patches: Tensor) -> Tensor:
        """[B, N, P * P * 3] with (y, x, channel) inside a patch -> [B, 3, S, S]."""
        rows, columns = self.grid
        x = patches.unflatten(-1, (self.patch, self.patch, 3)).unflatten(1, (rows, columns))
        return x.permute(0, 5, 1, 3, 2, 4).flatten(4, 5).flatten(2, 3)

    def layout(self, tokens: Tensor, valid: Tensor) -> Tensor:
        """First cross-attention map [B, N, K]: where the decoder believes each token lies."""
        block = self.blocks[0]
        query = block.norm_cross(self.queries).expand(len(tokens), -1, -1)
        return block.cross_attn.weights(query, self.token_in(tokens), valid[:, None, None, :])
