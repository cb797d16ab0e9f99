"""The sprite sheet: 64 objects in 2 drawing styles, 18 of them in 8 colours (licences in NOTICE)."""

from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path

import numpy as np
from PIL import Image

SHEET = Path(__file__).with_name("sprites.npz")


@dataclass(frozen=True)
class SpriteSheet:
    rgba: np.ndarray  # [sprites, 64, 64, 4] uint8
    table: np.ndarray  # [names, styles, colors + 1] -> sprite; the last column is the natural colour, -1 is none
    names: list[str]
    colors: list[str]
    recolorable: np.ndarray  # [names] bool

    @classmethod
    def load(cls, path: Path = SHEET) -> "SpriteSheet":
        sheet = np.load(path)
        names, colors = ([str(word) for word in sheet[key]] for key in ("names", "cols"))
        return cls(sheet["rgba"], sheet["tab"], names, colors, sheet["tint"])

    @cached_property
    def palettes(self) -> list[np.ndarray]:
        """Some opaque pixels of each sprite, [n, 3]: enough to judge its contrast against a background."""
        palettes = []
        for sprite in self.rgba:
            opaque = sprite[sprite[..., 3] > 127][:, :3].astype(np.float32)
            palettes.append(opaque[:: max(1, len(opaque) // 64)])
        return palettes

    def index(self, name: int, style: int, color: int) -> int:
        """Sprite of an object; `color` is -1 for an object that keeps its natural colour."""
        return int(self.table[name, style, color])


SPRITES = SpriteSheet.load()


def resized_rgba(sprite: int, size: int) -> np.ndarray:
    """[size, size, 4] uint8."""
    return np.asarray(Image.fromarray(SPRITES.rgba[sprite]).resize((size, size), Image.Resampling.LANCZOS))


@cache
def resized_sprite(sprite: int, size: int) -> tuple[np.ndarray, np.ndarray]:
    """Premultiplied colour [size, size, 3] and 1 - alpha [size, size, 1], float32.

    There are fewer than 10,000 pairs of sprite and size, so that all of them may stay in memory.
    """
    rgba = resized_rgba(sprite, size)
    alpha = rgba[..., 3:].astype(np.float32) / 255
    return (rgba[..., :3] * alpha).astype(np.float32), 1 - alpha
