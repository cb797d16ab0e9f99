"""The encoder's maps of every photo, computed once: `python -m training.photo.cache`. Run it again to go on.

DIR/index.json lists [archive, member] of each row; s8.f16 [n, 48, 48, 48] and s16.f16 [n, 24, 24, 120] and
s32.f16 [n, 12, 12, 352] hold rows (height, width, channels); done.u8 [n] is 1 where a row is there.
"""

import argparse
import io
import json
import time
from pathlib import Path

import numpy as np
import torch

from .data import ARCHIVES, PHOTOS, image_members, read_members
from .encoder import load_image, pretrained_encoder, to_input

CACHE = Path("../../cache/photo")
MAPS = {"s8": (48, 48, 48), "s16": (24, 24, 120), "s32": (12, 12, 352)}


class FeatureCache:
    """Rows of features by (archive, member); writable for the program that fills it."""

    def __init__(self, folder: Path, photos: Path | None = None):
        index = folder / "index.json"
        if photos is not None and not index.exists():
            folder.mkdir(parents=True, exist_ok=True)
            rows = [(archive, name) for archive in ARCHIVES for name in image_members(photos / archive)]
            index.write_text(json.dumps(rows))
        self.rows = [tuple(row) for row in json.loads(index.read_text())]
        mode = "r" if photos is None else ("r+" if (folder / "done.u8").exists() else "w+")
        n = len(self.rows)
        self.maps = {
            name: np.memmap(folder / f"{name}.f16", np.float16, mode, shape=(n, *shape)) for name, shape in MAPS.items()
        }
        self.done = np.memmap(folder / "done.u8", np.uint8, mode, shape=(n,))
        self.row_of = {row: i for i, row in enumerate(self.rows)}

    def of_archives(self, prefix: str) -> dict[str, int]:
        """Member name -> row, of the archives whose names begin so, as far as they are done."""
        return {name: i for i, (archive, name) in enumerate(self.rows) if archive.startswith(prefix) and self.done[i]}


@torch.no_grad()
def fill(folder: Path, photos: Path, threads: int, batch: int = 16) -> None:
    torch.set_num_threads(threads)
    cache = FeatureCache(folder, photos)
    encoder = pretrained_encoder().to(memory_format=torch.channels_last)
    start, count = time.time(), 0
    for archive in ARCHIVES:
        missing = {name for i, (where, name) in enumerate(cache.rows) if where == archive and not cache.done[i]}
        if not missing:
            continue
        pending: list[tuple[int, bytes]] = []
        for name, data in read_members(photos / archive, missing):
            pending.append((cache.row_of[archive, name], data))
            if len(pending) == batch:
                count += store(cache, encoder, pending)
                pending = []
                print(f"{archive} {count} photos, {(time.time() - start) / count:.3f} s each", flush=True)
        if pending:
            count += store(cache, encoder, pending)


def store(cache: FeatureCache, encoder, pending: list[tuple[int, bytes]]) -> int:
    images = to_input([load_image(io.BytesIO(data)) for _, data in pending])
    rows = [row for row, _ in pending]
    for name, features in zip(MAPS, encoder(images.to(memory_format=torch.channels_last))):
        cache.maps[name][rows] = features.permute(0, 2, 3, 1).half().numpy()
    cache.done[rows] = 1
    return len(rows)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--photos", type=Path, default=PHOTOS)
    parser.add_argument("--cache", type=Path, default=CACHE)
    parser.add_argument("--threads", type=int, default=2)
    arguments = parser.parse_args()
    fill(arguments.cache, arguments.photos, arguments.threads)
