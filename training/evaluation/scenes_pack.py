"""Scenes with their true regions in one file, for the evaluation in Rust.

    python -m training.evaluation.scenes_pack --split test --count 500 --out scenes.safetensors
    python -m training.evaluation.scenes_pack --split test --count 64 --out tests/fixtures/scenes.webp

A safetensors pack holds, for n scenes of S x S pixels and N patches:

    images         [n, S, S, 3]  uint8
    regions        [n, S, S]     uint8, region of each pixel: objects in drawing order, then background bands
    patch_regions  [n, N]        int32, region of each patch
    region_counts  [n]           int32, how many regions own a patch: the number of tokens a perfect tokenizer makes
    object_counts  [n]           int32, regions below this are objects
    names, colors  [n, 8]        int32, indices into `labels` of a model's config.json, -1 for no region

A picture pack holds the same in a form small enough for a repository: `NAME.webp` (lossless) is a contact sheet of the
images, eight in a row, `NAME.regions.png` the same sheet of region maps, `NAME.json` the other arrays as nested lists.
"""

import argparse
import json
from pathlib import Path

import numpy as np
from PIL import Image
from safetensors.numpy import save_file

from ..data.scenes import SPLITS, SceneBatch, sample_batch

SHEET_COLUMNS = 8


def pack_arrays(batch: SceneBatch) -> dict[str, np.ndarray]:
    counts = np.array([len(np.unique(row)) for row in batch.patch_regions])
    small = {
        "patch_regions": batch.patch_regions,
        "region_counts": counts,
        "object_counts": batch.object_counts,
        "names": batch.names,
        "colors": batch.colors,
    }
    pack = {name: array.astype(np.int32) for name, array in small.items()}
    return {"images": batch.images, "regions": batch.regions, **pack}


def contact_sheet(tiles: np.ndarray) -> np.ndarray:
    """[n, S, S, ...] -> [rows * S, SHEET_COLUMNS * S, ...], row by row; n is a multiple of SHEET_COLUMNS."""
    rows = [np.concatenate(list(row), axis=1) for row in tiles.reshape(-1, SHEET_COLUMNS, *tiles.shape[1:])]
    return np.concatenate(rows, axis=0)


def write_image_pack(path: Path, arrays: dict[str, np.ndarray]) -> None:
    Image.fromarray(contact_sheet(arrays["images"])).save(path, lossless=True, quality=100, method=6)
    Image.fromarray(contact_sheet(arrays["regions"])).save(path.with_suffix(".regions.png"), optimize=True)
    rest = {name: array.tolist() for name, array in arrays.items() if name not in ("images", "regions")}
    path.with_suffix(".json").write_text(json.dumps(rest, separators=(",", ":")) + "\n")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--split", choices=SPLITS, default="test")
    parser.add_argument("--count", type=int, default=500)
    parser.add_argument("--out", type=Path, required=True, help="NAME.safetensors, or NAME.webp for pictures")
    arguments = parser.parse_args()
    arrays = pack_arrays(sample_batch(arguments.split, 0, arguments.count))
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    if arguments.out.suffix == ".webp":
        write_image_pack(arguments.out, arrays)
    else:
        save_file(arrays, arguments.out)


if __name__ == "__main__":
    main()
