"""Scenes: emoji-style objects on named backgrounds, with exact masks. Every scene follows from (split, index).

A scene has *regions*: its objects in drawing order, then its background bands ("stuff") from top to bottom.
A perfect tokenizer makes one token of each region.
"""

from dataclasses import dataclass, field
from functools import cache

import numpy as np
from PIL import Image

from .sprites import SPRITES, resized_sprite

IMAGE_SIZE = 128
PATCH_SIZE = 8
MAX_OBJECTS = 5
MAX_REGIONS = 8
OBJECT_SIZE = (0.24, 0.42)  # of the image side
OBJECT_COUNT_ODDS = (0.2, 0.25, 0.25, 0.2, 0.1)  # of 1, 2, ... objects
NATURAL = -1  # colour of an object that is not recoloured

# The splits use disjoint random streams. `test-combo` scenes hold at least one combination of object, colour
# and background that no other split ever shows.
SPLITS = {"train": 1, "val": 2, "test": 3, "test-combo": 4}
HELD_OUT_EVERY = 11


@dataclass(frozen=True)
class Band:
    """Part of a background, shaded from `top` to `bottom`."""

    name: str
    top: tuple[int, int, int]
    bottom: tuple[int, int, int]


@dataclass(frozen=True)
class Background:
    phrase: str
    bands: tuple[Band, ...]
    horizon: tuple[float, float] = (1.0, 1.0)  # range of the border between two bands


BACKGROUNDS = {
    "grass": Background(
        "on grass",
        (Band("sky", (140, 200, 250), (215, 238, 252)), Band("grass", (110, 190, 80), (60, 140, 50))),
        (0.25, 0.5),
    ),
    "beach": Background(
        "on a beach",
        (Band("sky", (120, 200, 245), (225, 240, 250)), Band("sand", (240, 218, 160), (222, 190, 120))),
        (0.3, 0.55),
    ),
    "sea": Background(
        "at sea",
        (Band("sky", (150, 195, 235), (235, 240, 248)), Band("water", (50, 130, 200), (20, 70, 150))),
        (0.3, 0.55),
    ),
    "snow": Background(
        "in the snow",
        (Band("sky", (165, 185, 210), (210, 222, 235)), Band("snow", (246, 249, 255), (220, 230, 245))),
        (0.3, 0.55),
    ),
    "desert": Background(
        "in the desert",
        (Band("sky", (250, 180, 110), (255, 225, 170)), Band("dune", (214, 140, 70), (170, 100, 45))),
        (0.35, 0.6),
    ),
    "night": Background(
        "at night",
        (Band("night sky", (12, 14, 45), (45, 40, 95)), Band("dark hill", (25, 50, 40), (10, 25, 22))),
        (0.55, 0.75),
    ),
    "room": Background(
        "in a room",
        (Band("wall", (236, 222, 200), (225, 205, 180)), Band("wood floor", (165, 110, 65), (125, 80, 45))),
        (0.5, 0.7),
    ),
    "white": Background("on a white background", (Band("white", (250, 250, 250), (240, 240, 240)),)),
    "gray": Background("on a gray background", (Band("gray", (150, 150, 152), (130, 130, 134)),)),
    "teal": Background("on a teal background", (Band("teal", (60, 150, 150), (45, 125, 130)),)),
}
BACKGROUND_NAMES = list(BACKGROUNDS)
STUFF = list(dict.fromkeys(band.name for background in BACKGROUNDS.values() for band in background.bands))
CONCEPTS = SPRITES.names + STUFF  # what a region can be called
NATURAL_LABEL = "natural"
COLOR_LABELS = [*SPRITES.colors, NATURAL_LABEL]


@dataclass
class SceneObject:
    name: int  # index into SPRITES.names
    style: int
    color: int  # index into SPRITES.colors, or NATURAL
    x: int
    y: int
    size: int  # pixels; the sprite fills [x, x + size) x [y, y + size)
    flipped: bool

    @property
    def center(self) -> tuple[float, float]:
        return self.x + self.size / 2, self.y + self.size / 2

    @property
    def sprite(self) -> int:
        return SPRITES.index(self.name, self.style, self.color)


@dataclass
class Scene:
    background: str
    horizon: float  # of the image height
    texture: int  # which of the smooth noise fields
    texture_strength: float
    objects: list[SceneObject] = field(default_factory=list)

    @property
    def bands(self) -> tuple[Band, ...]:
        return BACKGROUNDS[self.background].bands

    @property
    def horizon_row(self) -> int:
        return round(self.horizon * IMAGE_SIZE)

    def region_names(self) -> list[int]:
        """Concept of each region: objects, then bands."""
        return [o.name for o in self.objects] + [CONCEPTS.index(band.name) for band in self.bands]

    def region_colors(self) -> list[int]:
        """Colour label of each region; what is not recoloured is "natural", the last label."""
        natural = len(SPRITES.colors)
        return [natural if o.color == NATURAL else o.color for o in self.objects] + [natural] * len(self.bands)


# --- sampling ---------------------------------------------------------------------------------------------


def scene_rng(split: str, index: int) -> np.random.Generator:
    """The random stream of one scene: independent of every other scene, split and of the batch size."""
    return np.random.default_rng([SPLITS[split], index])


def sample_scene(split: str, index: int) -> Scene:
    rng = scene_rng(split, index)
    while True:
        scene = _sample_scene(rng, recolorable_weight=2.0 if split == "train" else 1.0)
        held_out = [is_held_out(o.name, o.color, scene.background) for o in scene.objects]
        if scene.objects and any(held_out) == (split == "test-combo"):
            return scene


def is_held_out(name: int, color: int, background: str) -> bool:
    """Combinations kept away from training: one in HELD_OUT_EVERY, spread evenly over names and colours."""
    return (31 * name + 17 * (color + 1) + 7 * BACKGROUND_NAMES.index(background)) % HELD_OUT_EVERY == 0


def _sample_scene(rng: np.random.Generator, recolorable_weight: float) -> Scene:
    background = BACKGROUND_NAMES[rng.integers(len(BACKGROUND_NAMES))]
    scene = Scene(
        background,
        horizon=float(rng.uniform(*BACKGROUNDS[background].horizon)),
        texture=int(rng.integers(len(textures()))),
        texture_strength=float(rng.uniform(0.06, 0.2)),
    )
    odds = np.where(SPRITES.recolorable, recolorable_weight, 1.0).cumsum()
    sample_name = lambda: int(np.searchsorted(odds, rng.random() * odds[-1], side="right"))  # noqa: E731
    # In some scenes one name is repeated, so that counting and "the leftmost dog" mean something.
    repeated = sample_name() if rng.random() < 0.3 else None
    for _ in range(1 + int(np.searchsorted(np.cumsum(OBJECT_COUNT_ODDS[:-1]), rng.random()))):
        name = repeated if repeated is not None and rng.random() < 0.6 else sample_name()
        placed = place_object(rng, scene, name)
        if placed:
            scene.objects.append(placed)
    return scene


def place_object(rng: np.random.Generator, scene: Scene, name: int, attempts: int = 30) -> SceneObject | None:
    """A `name` somewhere free where it can be seen; None when the scene is too full for it."""
    for _ in range(attempts):
        size = int(IMAGE_SIZE * rng.uniform(*OBJECT_SIZE))
        x, y = (int(v) for v in rng.integers(0, IMAGE_SIZE - size + 1, 2))
        candidate = SceneObject(
            name,
            style=int(rng.integers(2)),
            color=int(rng.integers(len(SPRITES.colors))) if SPRITES.recolorable[name] else NATURAL,
            x=x,
            y=y,
            size=size,
            flipped=bool(rng.random() < 0.3),
        )
        if is_free(scene.objects, candidate) and is_visible(scene, candidate):
            return candidate
    return None


def is_free(others: list[SceneObject], candidate: SceneObject) -> bool:
    """True when the candidate overlaps no other object by more than its rim."""
    (cx, cy), size = candidate.center, candidate.size
    return all(
        max(abs(cx - o.center[0]), abs(cy - o.center[1])) > 0.4 * (size + o.size) for o in others if o is not candidate
    )


def is_visible(scene: Scene, candidate: SceneObject) -> bool:
    """True when the sprite stands out from every band behind it (no black square at night)."""
    visible, horizon = _contrast_table()[candidate.sprite], scene.horizon_row
    in_first, in_last = candidate.y < horizon, candidate.y + candidate.size > horizon
    first, last = (STUFF.index(scene.bands[i].name) for i in (0, -1))
    return bool((visible[first] or not in_first) and (visible[last] or not in_last))


@cache
def _contrast_table() -> np.ndarray:
    """[sprites, STUFF] bool: at least 40 % of the sprite differs clearly from both ends of the band."""
    table = np.ones((len(SPRITES.rgba), len(STUFF)), dtype=bool)
    for background in BACKGROUNDS.values():
        for band in background.bands:
            for color in (band.top, band.bottom):
                for sprite, palette in enumerate(SPRITES.palettes):
                    distance = np.sqrt(np.square(palette - np.array(color, np.float32)).mean(-1))
                    table[sprite, STUFF.index(band.name)] &= (distance > 30).mean() >= 0.4
    return table


# --- rendering --------------------------------------------------------------------------------------------


def coarse_textures() -> list[np.ndarray]:
    """The 64 noise fields as they are sampled, [7, 7] uint8, before they are made smooth."""
    rng = np.random.default_rng(0)
    return [rng.normal(128, 40, (7, 7)).clip(0, 255).astype(np.uint8) for _ in range(64)]


@cache
def textures() -> np.ndarray:
    """64 smooth noise fields in about [-1, 1], [64, S, S, 1]: the fixed grain of all backgrounds."""
    fields = []
    for coarse in coarse_textures():
        smooth = Image.fromarray(coarse).resize((IMAGE_SIZE, IMAGE_SIZE), Image.Resampling.BICUBIC)
        fields.append(np.asarray(smooth, np.float32) / 128 - 1)
    return np.stack(fields)[..., None]


def render_scene(scene: Scene) -> tuple[np.ndarray, np.ndarray]:
    """Scene -> image [S, S, 3] uint8 and region of each pixel [S, S] uint8."""
    gradient = np.empty((IMAGE_SIZE, 1, 3), np.float32)
    regions = np.empty((IMAGE_SIZE, IMAGE_SIZE), np.uint8)
    rows = [0, scene.horizon_row, IMAGE_SIZE] if len(scene.bands) == 2 else [0, IMAGE_SIZE]
    for i, band in enumerate(scene.bands):
        top, bottom = rows[i], rows[i + 1]
        mix = np.linspace(0, 1, bottom - top, dtype=np.float32)[:, None, None]
        gradient[top:bottom] = np.array(band.top, np.float32) * (1 - mix) + np.array(band.bottom, np.float32) * mix
        regions[top:bottom] = len(scene.objects) + i
    image = gradient * (1 + scene.texture_strength * textures()[scene.texture])
    for i, o in enumerate(scene.objects):
        color, transparency = resized_sprite(o.sprite, o.size)
        if o.flipped:
            color, transparency = color[:, ::-1], transparency[:, ::-1]
        window = np.s_[o.y : o.y + o.size, o.x : o.x + o.size]
        image[window] = image[window] * transparency + color
        regions[window][transparency[..., 0] < 0.5] = i
    return image.clip(0, 255).astype(np.uint8), regions


def patch_regions(regions: np.ndarray, object_count: int) -> tuple[np.ndarray, np.ndarray]:
    """Region map [S, S] -> region of each patch [N] and its purity [N] (share of the patch the largest region has).

    At object rims a pixel of an object counts 5/4 of a background pixel.
    """
    side = IMAGE_SIZE // PATCH_SIZE
    patch = np.arange(IMAGE_SIZE) // PATCH_SIZE
    cell = (patch[:, None] * side + patch) * MAX_REGIONS + regions
    share = np.bincount(cell.ravel(), minlength=side * side * MAX_REGIONS).reshape(-1, MAX_REGIONS) / PATCH_SIZE**2
    purity = share.max(1).astype(np.float32)
    share[:, :object_count] *= 1.25
    return share.argmax(1), purity


@dataclass
class SceneBatch:
    """Scenes rendered one by one, and what their regions are. R = MAX_REGIONS, -1 where a scene has fewer."""

    scenes: list[Scene]
    images: np.ndarray  # [B, S, S, 3] uint8
    regions: np.ndarray  # [B, S, S] uint8, region of each pixel
    patch_regions: np.ndarray  # [B, N] int64
    purity: np.ndarray  # [B, N] float32
    names: np.ndarray  # [B, R] int64 index into CONCEPTS
    colors: np.ndarray  # [B, R] int64 index into COLOR_LABELS
    object_counts: np.ndarray  # [B] int64: regions below this are objects


def render_batch(scenes: list[Scene]) -> SceneBatch:
    side = IMAGE_SIZE // PATCH_SIZE
    count = len(scenes)
    names, colors = region_labels(scenes)
    batch = SceneBatch(
        scenes,
        images=np.empty((count, IMAGE_SIZE, IMAGE_SIZE, 3), np.uint8),
        regions=np.empty((count, IMAGE_SIZE, IMAGE_SIZE), np.uint8),
        patch_regions=np.empty((count, side * side), np.int64),
        purity=np.empty((count, side * side), np.float32),
        names=names,
        colors=colors,
        object_counts=np.array([len(scene.objects) for scene in scenes]),
    )
    for b, scene in enumerate(scenes):
        batch.images[b], batch.regions[b] = render_scene(scene)
        batch.patch_regions[b], batch.purity[b] = patch_regions(batch.regions[b], len(scene.objects))
    return batch


def region_labels(scenes: list[Scene]) -> tuple[np.ndarray, np.ndarray]:
    """Index into CONCEPTS and into COLOR_LABELS of each region [B, R], -1 where a scene has fewer."""
    names, colors = np.full((2, len(scenes), MAX_REGIONS), -1)
    for b, scene in enumerate(scenes):
        named = scene.region_names()
        names[b, : len(named)], colors[b, : len(named)] = named, scene.region_colors()
    return names, colors


def sample_batch(split: str, first: int, count: int) -> SceneBatch:
    """Scenes `first`, ..., `first + count - 1` of a split, rendered."""
    return render_batch([sample_scene(split, index) for index in range(first, first + count)])
