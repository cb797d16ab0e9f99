"""The folder of tars -> DIR/images, DIR/captions.tsv, DIR/phrases.tsv, as `setokim eval --suite photos` reads them.

`python -m training.photo.unpack --photos ../../shared/photos --out DIR [--split dev]`
"""

import argparse
import csv
import tarfile
from pathlib import Path

from .data import PHOTOS, read_table

ARCHIVES_OF_SPLIT = {"train": "flickr8k-train-*.tar", "dev": "flickr8k-dev.tar"}
TABLES = {
    "captions": ("split", "image", "caption"),
    "phrases": ("split", "image", "phrase", "x0", "y0", "x1", "y1", "size_known"),
}


def unpack(photos: Path, out: Path, splits: list[str]) -> None:
    images = out / "images"
    images.mkdir(parents=True, exist_ok=True)
    for split in splits:
        archives = sorted(photos.glob(ARCHIVES_OF_SPLIT[split]))
        if not archives:
            raise FileNotFoundError(f"{photos} holds no {ARCHIVES_OF_SPLIT[split]}")
        for archive in archives:
            with tarfile.open(archive) as tar:
                tar.extractall(images, filter="data")
    for table, columns in TABLES.items():
        rows = [row for row in read_table(photos / f"flickr8k-{table}.tsv") if row["split"] in splits]
        with (out / f"{table}.tsv").open("w", newline="") as file:
            writer = csv.DictWriter(file, columns, delimiter="\t", quoting=csv.QUOTE_NONE, quotechar=None)
            writer.writeheader()
            writer.writerows({column: row[column] for column in columns} for row in rows)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--photos", type=Path, default=PHOTOS)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--split", choices=list(ARCHIVES_OF_SPLIT), action="append")
    arguments = parser.parse_args()
    unpack(arguments.photos, arguments.out, arguments.split or list(ARCHIVES_OF_SPLIT))
