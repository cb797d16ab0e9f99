"""What every stage shares: optimiser, averaged weights, schedule by steps or by the clock, logs, checkpoints."""

import csv
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

from .distributed import Workers
from .plot import plot_run


@dataclass(frozen=True)
class RunSettings:
    """A run ends after `steps`, or, when `minutes` is given, after that much training time."""

    steps: int = 20_000
    minutes: float | None = None
    batch: int = 64  # examples per step, over all processes
    learning_rate: float = 1e-3
    last_learning_rate: float = 2e-5
    warmup_steps: int = 100
    weight_decay: float = 0.05
    gradient_clip: float = 1.0
    ema_decay: float = 0.999
    seed: int = 0
    log_every: int = 20  # steps
    checkpoint_every: float = 120  # seconds
    evaluate_every: float = 600  # seconds


class Run:
    """Trains the parameters of `model` that want a gradient. A stage says how by `losses` and `evaluate_average`."""

    loss_weights: dict[str, float]

    def __init__(self, model: nn.Module, config_json: str, settings: RunSettings, workers: Workers, folder: Path):
        self.model, self.config_json = model.to(workers.device), config_json
        self.settings, self.workers, self.folder = settings, workers, folder
        self.averaged = AveragedModel(self.model, multi_avg_fn=moving_average(settings.ema_decay)).requires_grad_(False)
        self.averaged.n_averaged.fill_(1)  # what the run starts from counts too
        self.parameters = [p for p in self.model.parameters() if p.requires_grad]
        matrices = [p for p in self.parameters if p.ndim > 1]
        vectors = [p for p in self.parameters if p.ndim <= 1]
        self.optimizer = torch.optim.AdamW(
            [{"params": matrices, "weight_decay": settings.weight_decay}, {"params": vectors, "weight_decay": 0.0}],
            lr=settings.learning_rate,
            betas=(0.9, 0.95),
            fused=True,
        )
        self.step, self.elapsed = 0, 0.0

    def losses(self, first: int, count: int) -> tuple[dict[str, Tensor], dict[str, float]]:
        """Loss terms of training examples `first` .. `first + count - 1`, and other numbers worth logging."""
        raise NotImplementedError

    def evaluate_average(self) -> dict[str, float]:
        """Metrics of the averaged weights on a little of `val`."""
        raise NotImplementedError

    @property
    def average(self) -> nn.Module:
        """The model with its weights averaged over the last steps."""
        return self.averaged.module

    @property
    def progress(self) -> float:
        """0 at the start, 1 at the end; the learning rate and the phases of a stage follow it."""
        if self.settings.minutes is not None:
            return min(1.0, self.elapsed / (60 * self.settings.minutes))
        return min(1.0, self.step / self.settings.steps)

    @property
    def learning_rate(self) -> float:
        s = self.settings
        cosine = 0.5 * (1 + math.cos(math.pi * self.progress))
        warmup = min(1.0, (self.step + 1) / s.warmup_steps)
        return warmup * (s.last_learning_rate + (s.learning_rate - s.last_learning_rate) * cosine)

    def train_step(self) -> dict[str, float | Tensor]:
        """One step, and what to log of it.

        Data and noise follow from seed and step number alone, so that a resumed run takes the same one.
        """
        s, workers = self.settings, self.workers
        share = s.batch // workers.count
        torch.manual_seed((s.seed * 1_000_003 + self.step) * workers.count + workers.rank)
        first = (s.seed << 24) + self.step * s.batch + workers.rank * share
        losses, extra = self.losses(first, share)
        loss = sum(self.loss_weights[name] * value for name, value in losses.items())

        self.optimizer.zero_grad(set_to_none=False)
        loss.backward()
        gradients = [p.grad if p.grad is not None else torch.zeros_like(p) for p in self.parameters]
        workers.average_(gradients)
        for parameter, gradient in zip(self.parameters, gradients):
            parameter.grad = gradient
        norm = torch.nn.utils.clip_grad_norm_(self.parameters, s.gradient_clip)
        rate = self.learning_rate
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        self.optimizer.step()
        self.step += 1
        self.averaged.update_parameters(self.model)
        terms = {name: losses[name].detach() if name in losses else math.nan for name in self.loss_weights}
        return {"learning_rate": rate, "loss": loss.detach(), **terms, "gradient_norm": norm, **extra}

    def save(self, path: Path) -> None:
        state = {
            "config": self.config_json,
            "model": self.model.state_dict(),
            "average": self.average.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "step": self.step,
            "images": self.step * self.settings.batch,
            "elapsed": self.elapsed,
        }
        partial = path.with_suffix(".partial")
        torch.save(state, partial)
        partial.replace(path)  # a run killed while writing leaves the previous checkpoint whole

    def load(self, path: Path) -> None:
        state = torch.load(path, map_location=self.workers.device)
        self.model.load_state_dict(state["model"])
        self.average.load_state_dict(state["average"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.step, self.elapsed = state["step"], state["elapsed"]
        self.averaged.n_averaged.fill_(self.step + 1)

    def run(self) -> None:
        """Train to the end, from the checkpoint in the folder when there is one."""
        self.folder.mkdir(parents=True, exist_ok=True)
        checkpoint = self.folder / "checkpoint.pt"
        if checkpoint.exists():
            self.load(checkpoint)
        saved = evaluated = self.elapsed
        while self.progress < 1:
            started = time.monotonic()
            row = self.train_step()
            if self.workers.is_main:
                if self.step % self.settings.log_every == 0:
                    row = {name: float(value) for name, value in row.items()}  # waits for the device
                    append_row(self.folder / "train.csv", {"step": self.step, "seconds": round(self.elapsed), **row})
                    print(self._progress_line(row), flush=True)
                if self.elapsed - evaluated > self.settings.evaluate_every:
                    self.evaluate()
                    evaluated = self.elapsed
                if self.elapsed - saved > self.settings.checkpoint_every:
                    self.save(checkpoint)
                    saved = self.elapsed
            # All processes must agree on the progress.
            clock = torch.tensor([self.elapsed + time.monotonic() - started], dtype=torch.float64)
            self.workers.average_([clock])
            self.elapsed = clock.item()
        if self.workers.is_main:
            self.save(checkpoint)
            self.evaluate()
            plot_run(self.folder)

    def evaluate(self) -> None:
        metrics = self.evaluate_average()
        append_row(self.folder / "val.csv", {"step": self.step, "seconds": round(self.elapsed), **metrics})
        print("val", {name: round(value, 3) for name, value in metrics.items()}, flush=True)

    def _progress_line(self, row: dict[str, float]) -> str:
        left = self.elapsed * (1 / max(self.progress, 1e-6) - 1) / 60
        terms = "  ".join(f"{name} {value:.3g}" for name, value in row.items())
        speed = self.step * self.settings.batch / max(self.elapsed, 1e-6)
        return f"step {self.step}  {self.progress:.1%}  {left:.1f} min left  {speed:.1f}/s  {terms}"


def moving_average(most: float) -> Callable[[list[Tensor], list[Tensor], Tensor], None]:
    """An exponential average for `AveragedModel` that forgets its first steps sooner: its decay grows to `most`."""

    def update(averaged: list[Tensor], current: list[Tensor], steps: Tensor) -> None:
        decay = min(most, steps.item() / (steps.item() + 10))
        torch._foreach_lerp_(averaged, current, 1 - decay)

    return update


def append_row(path: Path, row: dict[str, float]) -> None:
    """Add a line to a CSV file, with a header when it is new."""
    is_new = not path.exists()
    with path.open("a", newline="") as file:
        writer = csv.DictWriter(file, row.keys())
        if is_new:
            writer.writeheader()
        writer.writerow({k: f"{v:.6g}" if isinstance(v, float) else v for k, v in row.items()})
