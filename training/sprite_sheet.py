"""What the page's scene composer draws with, from the same sprites and backgrounds as training (licences in NOTICE).

python -m training.sprite_sheet

Writes `www/src/scene/sprites.webp` (all sprites, row by row), `www/src/scene/sprites.json` (which is where, and the
backgrounds), and `tests/web/unit/scene.golden.json`: numbers of scenes drawn here, which the page must come close to.
"""

import json
from pathlib import Path

import numpy as np
from PIL import Image

from .scenes import (
    BACKGROUNDS,
    IMAGE_SIZE,
    MAX_OBJECTS,
    NATURAL,
    OBJECT_SIZE,
    PATCH_SIZE,
    Scene,
    SceneObject,
    coarse_textures,
    render_scene,
)
from .sprites import SPRITES
from .text import caption, cell

ROOT = Path(__file__).parents[1]
COLUMNS = 20
TEXTURES = 4  # of 64: enough for every composed scene to have a grain
TEXTURE_STRENGTH = 0.13  # the middle of what training shows


def sheet() -> Image.Image:
    """All sprites, COLUMNS in a row."""
    count, side = SPRITES.rgba.shape[:2]
    rows = -(-count // COLUMNS)
    pixels = np.zeros((rows * COLUMNS, side, side, 4), np.uint8)
    pixels[:count] = SPRITES.rgba
    grid = pixels.reshape(rows, COLUMNS, side, side, 4).swapaxes(1, 2)
    return Image.fromarray(grid.reshape(rows * side, COLUMNS * side, 4))


def description() -> dict:
    return {
        "image_size": IMAGE_SIZE,
        "max_objects": MAX_OBJECTS,
        "object_size": [int(IMAGE_SIZE * part) for part in OBJECT_SIZE],
        "sprite_size": SPRITES.rgba.shape[1],
        "columns": COLUMNS,
        # In the order of `colors`; an object that is not recoloured has one sprite for each style.
        "colors": SPRITES.colors,
        "objects": [
            {"name": name, "styles": [[int(i) for i in style if i >= 0] for style in SPRITES.table[n]]}
            for n, name in enumerate(SPRITES.names)
        ],
        "backgrounds": [
            {
                "name": name,
                "phrase": background.phrase,
                "horizon": round(sum(background.horizon) / 2, 3),
                "bands": [{"top": band.top, "bottom": band.bottom} for band in background.bands],
            }
            for name, background in BACKGROUNDS.items()
        ],
        "texture_strength": TEXTURE_STRENGTH,
        "textures": [field.tolist() for field in coarse_textures()[:TEXTURES]],
    }


def golden() -> list[dict]:
    """Two bare backgrounds with the mean colour of each patch, and a scene with its caption and its objects' cells."""
    index = SPRITES.names.index
    red, blue = SPRITES.colors.index("red"), SPRITES.colors.index("blue")
    scenes = [
        Scene("night", 0.65, 3, TEXTURE_STRENGTH),
        Scene("teal", 1.0, 1, TEXTURE_STRENGTH),
        Scene("beach", 0.425, 0, TEXTURE_STRENGTH, [
            SceneObject(index("owl"), 0, NATURAL, x=8, y=12, size=42, flipped=False),
            SceneObject(index("balloon"), 1, red, x=72, y=20, size=36, flipped=False),
            SceneObject(index("car"), 1, blue, x=44, y=76, size=50, flipped=True),
        ]),
    ]  # fmt: skip
    return [_described(scene) for scene in scenes]


def _described(scene: Scene) -> dict:
    return {
        "background": scene.background,
        "horizon": scene.horizon,
        "texture": scene.texture,
        "objects": [
            {
                "name": SPRITES.names[o.name],
                "style": o.style,
                "color": None if o.color == NATURAL else SPRITES.colors[o.color],
                "x": o.x,
                "y": o.y,
                "size": o.size,
                "flipped": o.flipped,
                "cell": cell(o),
            }
            for o in scene.objects
        ],
        "caption": caption(scene) if scene.objects else None,
        "patches": [] if scene.objects else _patch_means(scene),
    }


def _patch_means(scene: Scene) -> list[list[float]]:
    side = IMAGE_SIZE // PATCH_SIZE
    image, _ = render_scene(scene)
    patches = image.reshape(side, PATCH_SIZE, side, PATCH_SIZE, 3).mean((1, 3))
    return [[round(float(v), 1) for v in patch] for patch in patches.reshape(-1, 3)]


def main() -> None:
    folder = ROOT / "www" / "src" / "scene"
    sheet().save(folder / "sprites.webp", quality=90, method=6)
    write(folder / "sprites.json", description())
    write(ROOT / "tests" / "web" / "unit" / "scene.golden.json", golden())


def write(path: Path, value: object) -> None:
    path.write_text(json.dumps(value, separators=(",", ":")) + "\n")


if __name__ == "__main__":
    main()
