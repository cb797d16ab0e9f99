"""Trains the photo model, stage after stage: `python -m training.photo.run`. Run again it goes on where it was.

Needs the folder of photos (data.py) and writes the feature cache, checkpoints and logs to the cache folder. Each
stage lasts the minutes of training that it is given; evaluations and pauses do not count.
"""

import argparse
import random
import time
from contextlib import nullcontext
from pathlib import Path

import torch
from torch import nn

from .cache import CACHE, FeatureCache
from .data import PHOTOS
from .evaluate import append_row, evaluate_stage1
from .features import MapReader
from .stage1 import WANTED_TOKENS, Stage1, Stage1Data, losses
from .teacher import TeacherCache
from .tokenizer import TokenizerConfig

LOGS = Path("training/photo/logs")


def rate_at(progress: float, step: int, warmup: int = 200, fall_from: float = 0.75) -> float:
    """Share of the learning rate: a short rise, constant, then a straight fall to a fiftieth."""
    fall = 1.0 if progress < fall_from else max(0.02, (1 - progress) / (1 - fall_from))
    return min(1.0, (step + 1) / warmup) * fall


def parameter_groups(model: nn.Module, decay: float) -> list[dict]:
    matrices = [p for p in model.parameters() if p.requires_grad and p.ndim > 1]
    others = [p for p in model.parameters() if p.requires_grad and p.ndim <= 1]
    return [{"params": matrices, "weight_decay": decay}, {"params": others, "weight_decay": 0.0}]


class Average:
    """A moving average of the weights: what is evaluated and shipped."""

    def __init__(self, model: nn.Module, decay: float = 0.998):
        self.decay, self.model = decay, model
        self.state = {name: value.detach().clone() for name, value in trained_state(model).items()}

    @torch.no_grad()
    def update(self, step: int) -> None:
        decay = min(self.decay, (1 + step) / (10 + step))
        for name, value in trained_state(self.model).items():
            self.state[name].lerp_(value.to(self.state[name].dtype), 1 - decay)

    def __enter__(self):
        self.kept = {name: value.detach().clone() for name, value in trained_state(self.model).items()}
        self.model.load_state_dict(self.state, strict=False)
        self.model.eval()

    def __exit__(self, *_):
        self.model.load_state_dict(self.kept, strict=False)
        self.model.train()


def trained_state(model: nn.Module) -> dict[str, torch.Tensor]:
    """Parameters that are trained, and buffers."""
    frozen = {name for name, p in model.named_parameters() if not p.requires_grad}
    return {name: value for name, value in model.state_dict().items() if name not in frozen}


class Run:
    """A stage being trained: optimiser, clock, checkpoint, log."""

    def __init__(self, name: str, model: nn.Module, folder: Path, minutes: float, rate: float, decay: float = 0.05):
        self.name, self.model, self.minutes, self.rate = name, model, minutes, rate
        self.path = folder / f"{name}.pt"
        self.optimizer = torch.optim.AdamW(parameter_groups(model, decay), lr=rate, betas=(0.9, 0.98))
        self.average = Average(model)
        self.step, self.seconds, self.seen = 0, 0.0, 0
        self.means: dict[str, float] = {}
        if self.path.exists():
            self.load()

    def load(self) -> None:
        saved = torch.load(self.path, map_location="cpu", weights_only=False)
        self.model.load_state_dict(saved["model"], strict=False)
        self.average.state |= saved["average"]
        self.optimizer.load_state_dict(saved["optimizer"])
        self.step, self.seconds, self.seen = saved["step"], saved["seconds"], saved["seen"]

    def save(self) -> None:
        part = self.path.with_suffix(".part")
        state = {"model": trained_state(self.model), "average": self.average.state}
        state |= {"optimizer": self.optimizer.state_dict(), "step": self.step, "seconds": self.seconds}
        torch.save(state | {"seen": self.seen}, part)
        part.replace(self.path)

    @property
    def progress(self) -> float:
        return self.seconds / 60 / self.minutes

    def update(self, loss: torch.Tensor, seen: int) -> None:
        for group in self.optimizer.param_groups:
            group["lr"] = self.rate * rate_at(self.progress, self.step)
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_([p for p in self.model.parameters() if p.requires_grad], 1.0)
        self.optimizer.step()
        self.average.update(self.step)
        self.step += 1
        self.seen += seen

    def note(self, values: dict[str, float]) -> None:
        for name, value in values.items():
            self.means[name] = value if name not in self.means else 0.97 * self.means[name] + 0.03 * value


def autocast(enabled: bool, device: torch.device):
    return torch.autocast(device.type, torch.bfloat16) if enabled else nullcontext()


def shuffled(names: list[str], rng: random.Random):
    """Names for ever, each once a pass."""
    while True:
        yield from rng.sample(names, len(names))


def train_stage1(args) -> None:
    cache = FeatureCache(args.cache / "maps")
    device = torch.device("cpu")
    reader = MapReader(cache, device, torch.bfloat16 if args.bfloat16 else torch.float32)
    config = TokenizerConfig()
    teacher = TeacherCache(args.cache / "teacher", len(cache.rows))
    data = Stage1Data(args.photos, cache, teacher, reader, config.grid)
    torch.manual_seed(0)
    model = Stage1(config, len(data.pieces)).to(memory_format=torch.channels_last)
    run = Run("stage1", model, args.cache, args.stage1_minutes, args.rate)
    rng = random.Random(run.step)
    print(f"stage I: {sum(p.numel() for p in model.parameters()) / 1e6:.1f} M parameters, {len(data.pieces)} pieces,"
          f" {len(data.train)} photos, from step {run.step}", flush=True)  # fmt: skip
    saved = evaluated = time.time()
    names, groups = shuffled(data.train, rng), shuffled(data.segmented, rng) if data.segmented else None
    model.train()
    while run.progress < 1:
        start = time.time()
        batch = data.batch(
            [next(names) for _ in range(args.batch)], [next(groups) for _ in range(2)] if groups else [], rng
        )
        with autocast(args.bfloat16, device):
            loss, parts, tokens = losses(model, batch)
        run.update(loss, len(batch.pieces))
        model.tokenizer.follow(tokens.valid, WANTED_TOKENS)
        run.note({name: float(part) for name, part in parts.items()} | {"tokens": float(tokens.valid.sum(1).float().mean())})
        run.seconds += time.time() - start
        if run.step % 20 == 0:
            row = {"step": run.step, "captions": run.seen, "minutes": round(run.seconds / 60, 2)}
            row |= {name: round(value, 4) for name, value in run.means.items()}
            print(" ".join(f"{key} {value}" for key, value in row.items()), flush=True)
            if run.step % 100 == 0:
                append_row(args.logs / "stage1-train.csv", row)
        if time.time() - saved > 60 * args.save_minutes:
            run.save()
            saved = time.time()
            if len(data.train) < 6000:
                data.refresh()
                names, groups = shuffled(data.train, rng), shuffled(data.segmented, rng) if data.segmented else None
        if time.time() - evaluated > 60 * args.evaluate_minutes:
            evaluate_run(args, run, data, 300)
            evaluated = time.time()
    run.save()
    evaluate_run(args, run, data, 1000)


def evaluate_run(args, run: Run, data: Stage1Data, limit: int) -> None:
    with run.average:
        scores = evaluate_stage1(run.model, data, args.photos, limit, args.cache / f"{run.name}-examples.json")
    row = {"step": run.step, "captions_seen": run.seen, "minutes": round(run.seconds / 60, 1)} | scores
    print(row, flush=True)
    append_row(args.logs / f"{run.name}-dev.csv", row)


def parse_arguments():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--photos", type=Path, default=PHOTOS)
    parser.add_argument("--cache", type=Path, default=CACHE)
    parser.add_argument("--logs", type=Path, default=LOGS)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--rate", type=float, default=7e-4)
    parser.add_argument("--bfloat16", action=argparse.BooleanOptionalAction, default=True)
    parser.add_argument("--stage1-minutes", type=float, default=60)
    parser.add_argument("--save-minutes", type=float, default=10)
    parser.add_argument("--evaluate-minutes", type=float, default=15)
    return parser.parse_args()


if __name__ == "__main__":
    arguments = parse_arguments()
    torch.set_num_threads(arguments.threads)
    train_stage1(arguments)
