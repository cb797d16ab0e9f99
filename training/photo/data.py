"""The photos and their labels, read from the folder of tars and tables that `../shared/photos` is."""

import csv
import io
import tarfile
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

PHOTOS = Path("../../shared/photos")

# In the order of the feature cache: what training needs first comes first.
ARCHIVES = (
    "flickr8k-train-1of4.tar",
    "coco128.tar",
    "flickr8k-dev.tar",
    "flickr8k-train-2of4.tar",
    "flickr8k-train-3of4.tar",
    "flickr8k-train-4of4.tar",
    "imagenet-sample.tar",
    "daquar.tar",
)
IMAGE_ENDINGS = (".jpg", ".jpeg")


def image_members(archive: Path) -> list[str]:
    """Names of the photos of a tar, in its order."""
    with tarfile.open(archive) as tar:
        return [m.name for m in tar if m.isfile() and m.name.lower().endswith(IMAGE_ENDINGS)]


def read_members(archive: Path, names: set[str]):
    """(name, bytes) of the members that are wanted, in the tar's order."""
    with tarfile.open(archive) as tar:
        for member in tar:
            if member.name in names:
                yield member.name, tar.extractfile(member).read()


@dataclass
class Phrase:
    """A noun phrase of an image and its boxes, x0 y0 x1 y1 in 0..1: several boxes are one thing."""

    image: str
    text: str
    boxes: np.ndarray  # [n, 4]
    size_known: bool


def read_table(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE))


def load_captions(photos: Path) -> dict[str, dict[str, list[str]]]:
    """split -> image -> its captions, as written."""
    captions: dict[str, dict[str, list[str]]] = defaultdict(lambda: defaultdict(list))
    for row in read_table(photos / "flickr8k-captions.tsv"):
        captions[row["split"]][row["image"]].append(row["caption"].strip())
    return captions


def load_phrases(photos: Path) -> dict[str, list[Phrase]]:
    """split -> phrases, rows of one phrase of one image joined."""
    rows: dict[str, dict[tuple[str, str], list]] = defaultdict(lambda: defaultdict(list))
    for row in read_table(photos / "flickr8k-phrases.tsv"):
        box = [float(row[key]) for key in ("x0", "y0", "x1", "y1")]
        rows[row["split"]][row["image"], row["phrase"]].append((box, row["size_known"] == "1"))
    return {
        split: [
            Phrase(image, text, np.array([box for box, _ in found], np.float32), all(known for _, known in found))
            for (image, text), found in of_split.items()
        ]
        for split, of_split in rows.items()
    }


def load_voc_masks(photos: Path, size: int) -> dict[str, np.ndarray]:
    """image -> VOC class of each cell [size, size], 255 where a cell holds several."""
    masks = {}
    with tarfile.open(photos / "flickr8k-voc-masks.tar") as tar:
        for member in tar:
            mask = np.asarray(Image.open(io.BytesIO(tar.extractfile(member).read())))
            masks[Path(member.name).stem + ".jpg"] = cells_of_mask(mask, size)
    return masks


def cells_of_mask(mask: np.ndarray, size: int) -> np.ndarray:
    """A label map [h, w] at `size` x `size` cells: the label of nine points of a cell, 255 unless seven agree."""
    height, width = mask.shape
    offsets = (np.arange(3) + 0.5) / 3
    rows = ((np.arange(size)[:, None] + offsets) * height / size).astype(int).reshape(-1)
    columns = ((np.arange(size)[:, None] + offsets) * width / size).astype(int).reshape(-1)
    points = mask[rows][:, columns].reshape(size, 3, size, 3).transpose(0, 2, 1, 3).reshape(size, size, 9)
    middle = points[..., 4]
    agree = (points == middle[..., None]).sum(-1) >= 7
    return np.where(agree, middle, 255).astype(np.uint8)


def load_panoptic(photos: Path) -> dict[str, dict[str, np.ndarray]]:
    """split (train2017, val2017) -> image name in the tar -> segment ids [h, w]; 0 is unlabelled."""
    masks: dict[str, dict[str, np.ndarray]] = defaultdict(dict)
    with tarfile.open(photos / "coco128.tar") as tar:
        for member in tar:
            if not member.name.startswith("panoptic/") or not member.name.endswith(".png"):
                continue
            split = Path(member.name).parent.name.removeprefix("panoptic_")
            colors = np.asarray(Image.open(io.BytesIO(tar.extractfile(member).read())).convert("RGB")).astype(np.int64)
            ids = colors[..., 0] + 256 * colors[..., 1] + 65536 * colors[..., 2]
            masks[split][f"images/{split}/{Path(member.name).stem}.jpg"] = ids
    return masks
