"""Summaries of clusters of every photo under a frozen neck, computed once before stage II, as they are and mirrored."""

import time
from pathlib import Path

import numpy as np
import torch

from .evaluate import in_batches
from .features import MapReader
from .loop import ranks, wait_for_all
from .tokenizer import Maps, PhotoTokenizer, Summary, TokenizerConfig, by_area

PARTS = ("features", "positions", "head")


class SummaryCache:
    """Arrays [n, 2, K, width] by row of the feature cache; the second of the pair is the mirrored photo."""

    def __init__(self, folder: Path, rows: int, tokenizer: PhotoTokenizer):
        config = tokenizer.config
        if ranks()[0] == 0 and not (folder / "count.u8").exists():
            self.create(folder, rows, config)
        wait_for_all()
        self.arrays = {
            name: np.memmap(folder / f"{name}.f16", np.float16, "r+", shape=(rows, 2, config.max_clusters, width))
            for name, width in widths(config).items()
        }
        self.count = np.memmap(folder / "count.u8", np.uint8, "r+", shape=(rows, 2))  # 0 where there is none yet

    @staticmethod
    def create(folder: Path, rows: int, config: TokenizerConfig) -> None:
        """Files full of zeros."""
        folder.mkdir(parents=True, exist_ok=True)
        for name, width in widths(config).items():
            with (folder / f"{name}.f16").open("wb") as file:
                file.truncate(rows * 2 * config.max_clusters * width * 2)
        with (folder / "count.u8").open("wb") as file:
            file.truncate(rows * 2)

    def read(self, rows: list[int], flips: list[int]) -> Summary:
        counts = torch.from_numpy(self.count[rows, flips].astype(np.int64))
        most = int(counts.max())
        valid = torch.arange(most) < counts[:, None]
        return Summary(*(torch.from_numpy(self.arrays[name][rows, flips, :most]).float() for name in PARTS), valid)

    @torch.no_grad()
    def fill(self, tokenizer: PhotoTokenizer, reader: MapReader, rows: list[int]) -> None:
        """Each process computes its share of what is missing."""
        rank, size = ranks()
        missing = [row for row in rows if not self.count[row].all()][rank::size]
        start = time.time()
        for number, group in enumerate(in_batches(missing, 16)):
            maps = reader.read(group)
            for flip in range(2):
                summary = summary_of(tokenizer, maps.flipped() if flip else maps)
                for name in PARTS:
                    self.arrays[name][group, flip] = getattr(summary, name).half().numpy()
                self.count[group, flip] = summary.valid.sum(1).numpy()
            if number % 20 == 0 and rank == 0:
                print(f"summaries {number * 16} of {len(missing)} photos, {time.time() - start:.0f} s", flush=True)
        wait_for_all()


def widths(config: TokenizerConfig) -> dict[str, int]:
    return {"features": config.width, "positions": config.width, "head": config.head}


def summary_of(tokenizer: PhotoTokenizer, maps: Maps) -> Summary:
    features = tokenizer.features(maps)
    labels, valid = by_area(tokenizer.cluster(features, exact=True))
    return tokenizer.summarize(features, maps.head.float(), labels, valid)
