"""Trains the photo model, stage after stage: `python -m training.photo.run`. Run again it goes on where it was.

Needs the folder of photos (data.py); writes the feature cache and checkpoints to the cache folder and logs into the
repository. A step of stage I is
`--batch` photos with their five captions. Several processes: `torchrun --nproc-per-node 2 -m
training.photo.run`; they average their gradients, each with `--batch` photos of its own.
"""

import argparse
import os
from datetime import timedelta
from pathlib import Path

import torch
import torch.distributed as dist

from .cache import CACHE, fill
from .data import PHOTOS
from .loop import ranks, wait_for_all
from .stage1 import train_stage1
from .stage2 import train_stage2
from .stage3 import train_stage3

LOGS = Path("training/photo/logs")


def parse_arguments():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--photos", type=Path, default=PHOTOS)
    parser.add_argument("--cache", type=Path, default=CACHE)
    parser.add_argument("--logs", type=Path, default=LOGS)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--bfloat16", action=argparse.BooleanOptionalAction, default=True)
    parser.add_argument("--batch", type=int, default=32, help="photos a step in stage I")
    parser.add_argument("--rate", type=float, default=7e-4, help="learning rate of stage I")
    parser.add_argument("--stage1-steps", type=int, default=3000)
    parser.add_argument("--language-batch", type=int, default=8, help="photos a step in stages II and III")
    parser.add_argument("--language-rate", type=float, default=1e-3)
    parser.add_argument("--stage2-steps", type=int, default=6000)
    parser.add_argument("--stage3-steps", type=int, default=6000)
    parser.add_argument("--save-minutes", type=float, default=10)
    parser.add_argument("--evaluate-minutes", type=float, default=20)
    parser.add_argument("--evaluate-photos", type=int, default=250)
    parser.add_argument("--limit", type=int, help="only so many photos of a split: to try whether everything runs")
    return parser.parse_args()


def main() -> None:
    args = parse_arguments()
    torch.set_num_threads(args.threads)
    if "WORLD_SIZE" in os.environ:
        dist.init_process_group("gloo", timeout=timedelta(hours=2))
    if ranks()[0] == 0:
        fill(args.cache / "maps", args.photos, args.threads)
    wait_for_all()
    train_stage1(args)
    train_stage2(args)
    train_stage3(args)


if __name__ == "__main__":
    main()
