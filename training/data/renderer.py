"""Scenes rendered many at a time, on a GPU or CPU. `scenes.render_scene` is the readable form of the same."""

from dataclasses import dataclass, replace
from functools import cache

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from . import easy_vqa
from .scenes import IMAGE_SIZE, MAX_REGIONS, OBJECT_SIZE, PATCH_SIZE, Scene, textures
from .sprites import SPRITES, resized_rgba

SMALLEST, LARGEST = (int(IMAGE_SIZE * size) for size in OBJECT_SIZE)


@dataclass
class Layouts:
    """Everything that is needed to render M scenes, and E pictures of easy-VQA behind them, as arrays."""

    bands: np.ndarray  # [M, 2, 2, 3] float32: first and second band, its top and bottom
    horizons: np.ndarray  # [M] int64, row where the second band begins; the image side where there is none
    textures: np.ndarray  # [M] int64
    strengths: np.ndarray  # [M] float32
    objects: np.ndarray  # [M, R, 5] int64: sprite (-1 for none), x, y, size, flipped
    easy_images: np.ndarray  # [E, S, S, 3] uint8
    easy_regions: np.ndarray  # [E, S, S] uint8

    @classmethod
    def of(cls, scenes: list[Scene], easy: list[int] = ()) -> "Layouts":
        """`easy`: pictures of easy-VQA's train split."""
        count = len(scenes)
        layouts = cls(
            bands=np.zeros((count, 2, 2, 3), np.float32),
            horizons=np.full(count, IMAGE_SIZE),
            textures=np.array([scene.texture for scene in scenes], np.int64),
            strengths=np.array([scene.texture_strength for scene in scenes], np.float32),
            objects=np.full((count, MAX_REGIONS, 5), -1),
            easy_images=np.array([easy_vqa.load_image("train", i) for i in easy], np.uint8),
            easy_regions=np.array([easy_vqa.regions("train", i) for i in easy], np.uint8),
        )
        for m, scene in enumerate(scenes):
            for b, band in enumerate(scene.bands):
                layouts.bands[m, b] = band.top, band.bottom
            if len(scene.bands) == 2:
                layouts.horizons[m] = scene.horizon_row
            for k, o in enumerate(scene.objects):
                layouts.objects[m, k] = o.sprite, o.x, o.y, o.size, o.flipped
        return layouts

    @property
    def empty(self) -> "Layouts":
        """The same without objects."""
        return replace(self, objects=np.full_like(self.objects, -1))


@dataclass
class RenderedImages:
    """M pictures on a device, with the regions that they show."""

    images: Tensor  # [M, S, S, 3] uint8
    regions: Tensor  # [M, S, S] uint8, region of each pixel
    patch_regions: Tensor  # [M, N] int64
    purity: Tensor  # [M, N] float32

    @property
    def normalized(self) -> Tensor:
        """[M, 3, S, S] in [-1, 1], as the encoder wants them."""
        return self.images.permute(0, 3, 1, 2).float() / 127.5 - 1


class Renderer:
    """Renders on `device`. Every sprite lies there in every size, 100 MB in all."""

    def __init__(self, device: torch.device):
        self.device = device
        self.textures = torch.from_numpy(textures()[..., 0]).to(device)  # [T, S, S]
        self.sprites = sprites_in_all_sizes().to(device)  # [sprites, sizes, L, L, 4] uint8

    @classmethod
    @cache
    def on(cls, device: torch.device) -> "Renderer":
        """The only one of a device."""
        return cls(device)

    def render(self, layouts: Layouts) -> RenderedImages:
        images, regions = self.backgrounds(layouts), self._bands(layouts)
        images, regions = self._composite(layouts, images, regions)
        images = images.clamp(0, 255).to(torch.uint8)
        object_counts = self._tensor((layouts.objects[:, :, 0] >= 0).sum(1))
        if len(layouts.easy_images):
            images = torch.cat([images, self._tensor(layouts.easy_images)])
            regions = torch.cat([regions, self._tensor(layouts.easy_regions)])
            object_counts = F.pad(object_counts, (0, len(layouts.easy_images)), value=1)
        return RenderedImages(images, regions, *patch_regions(regions, object_counts))

    def backgrounds(self, layouts: Layouts) -> Tensor:
        """Scenes without things [M, S, S, 3] float32, not rounded."""
        row = torch.arange(IMAGE_SIZE, device=self.device)
        horizon = self._tensor(layouts.horizons)[:, None]
        second = (row >= horizon).long()  # [M, S]
        first_row, rows = torch.where(second == 1, horizon, 0), torch.where(second == 1, IMAGE_SIZE - horizon, horizon)
        mix = ((row - first_row) / (rows - 1).clamp(min=1))[..., None]
        top, bottom = self._tensor(layouts.bands).unbind(2)  # [M, 2, 3]
        chosen = second[..., None].expand(-1, -1, 3)
        gradient = top.gather(1, chosen) * (1 - mix) + bottom.gather(1, chosen) * mix  # [M, S, 3]
        grain = self._tensor(layouts.strengths)[:, None, None] * self.textures[self._tensor(layouts.textures)]
        return gradient[:, :, None] * (1 + grain[..., None])

    def _bands(self, layouts: Layouts) -> Tensor:
        """Region of each pixel of the backgrounds [M, S, S] uint8: they come behind the objects."""
        row = torch.arange(IMAGE_SIZE, device=self.device)
        first = self._tensor((layouts.objects[:, :, 0] >= 0).sum(1))[:, None]
        band = first + (row >= self._tensor(layouts.horizons)[:, None])
        return band.to(torch.uint8)[:, :, None].repeat(1, 1, IMAGE_SIZE)

    def _composite(self, layouts: Layouts, images: Tensor, regions: Tensor) -> tuple[Tensor, Tensor]:
        """Objects in their order, each in a window of the size of the largest; what lies outside of an object goes to a
        spare pixel at the end."""
        count = len(images)
        pixels = torch.cat([images.reshape(-1, 3), images.new_zeros(1, 3)])
        region = torch.cat([regions.reshape(-1), regions.new_zeros(1)])
        v, u = torch.meshgrid(*[torch.arange(LARGEST, device=self.device)] * 2, indexing="ij")  # [L, L]
        first_pixel = torch.arange(count, device=self.device)[:, None, None] * IMAGE_SIZE**2
        objects = self._tensor(layouts.objects)
        for k in range((layouts.objects[:, :, 0] >= 0).sum(1).max(initial=0)):
            sprite, x, y, size, flipped = (column[:, None, None] for column in objects[:, k].unbind(1))
            inside = (sprite >= 0) & (u < size) & (v < size)
            across = torch.where(flipped == 1, size - 1 - u, u).clamp(0, LARGEST - 1)
            rgba = self.sprites[sprite.clamp(min=0), (size - SMALLEST).clamp(min=0), v, across].float()
            alpha = rgba[..., 3:] / 255
            at = torch.where(inside, first_pixel + (y + v) * IMAGE_SIZE + x + u, len(pixels) - 1)
            pixels[at] = pixels[at] * (1 - alpha) + rgba[..., :3] * alpha
            owner = torch.where(1 - alpha[..., 0] < 0.5, k, region[at])
            region[at] = owner.to(torch.uint8)
        return pixels[:-1].view_as(images), region[:-1].view_as(regions)

    def _tensor(self, array: np.ndarray) -> Tensor:
        return to_device(array, self.device)


def to_device(array: np.ndarray, device: torch.device) -> Tensor:
    """From pinned memory for a GPU, so that the copy does not wait for what it is doing."""
    tensor = torch.from_numpy(array)
    return (tensor.pin_memory() if device.type == "cuda" else tensor).to(device, non_blocking=True)


@cache
def sprites_in_all_sizes() -> Tensor:
    """[sprites, sizes, L, L, 4] uint8, in the upper left corner."""
    table = np.zeros((len(SPRITES.rgba), LARGEST - SMALLEST + 1, LARGEST, LARGEST, 4), np.uint8)
    for sprite in range(len(table)):
        for size in range(SMALLEST, LARGEST + 1):
            table[sprite, size - SMALLEST, :size, :size] = resized_rgba(sprite, size)
    return torch.from_numpy(table)


def patch_regions(regions: Tensor, object_counts: Tensor) -> tuple[Tensor, Tensor]:
    """As `scenes.patch_regions`, for [M, S, S]: region of each patch [M, N] and its purity [M, N]."""
    side = IMAGE_SIZE // PATCH_SIZE
    patches = regions.view(-1, side, PATCH_SIZE, side, PATCH_SIZE).transpose(2, 3).flatten(3).flatten(1, 2).long()
    share = torch.zeros(*patches.shape[:2], MAX_REGIONS, device=regions.device)
    share = share.scatter_add_(2, patches, torch.ones((), device=regions.device).expand_as(patches)) / PATCH_SIZE**2
    index = torch.arange(MAX_REGIONS, device=regions.device)
    # At a tie the lower region wins; shares differ by 1 / 256 at least.
    favored = share * torch.where(index < object_counts[:, None, None], 1.25, 1.0) - 1e-4 * index
    return favored.argmax(-1), share.amax(-1)
