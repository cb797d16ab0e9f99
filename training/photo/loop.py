"""What all stages share: learning rate, averaged weights, several processes, checkpoint, clock, log."""

import random
import time
from collections.abc import Callable
from contextlib import nullcontext

import torch
import torch.distributed as dist
from torch import Tensor, nn

from .evaluate import append_row


def rate_at(progress: float, step: int, warmup: int = 200, fall_from: float = 0.7) -> float:
    """Share of the learning rate: a rise over `warmup` steps, constant, then a straight fall to a fiftieth."""
    fall = 1.0 if progress < fall_from else max(0.02, (1 - progress) / (1 - fall_from))
    return min(1.0, (step + 1) / warmup) * fall


def parameter_groups(model: nn.Module, decay: float) -> list[dict]:
    trained = [p for p in model.parameters() if p.requires_grad]
    matrices, others = [p for p in trained if p.ndim > 1], [p for p in trained if p.ndim <= 1]
    return [{"params": matrices, "weight_decay": decay}, {"params": others, "weight_decay": 0.0}]


def trained_state(model: nn.Module) -> dict[str, Tensor]:
    """Parameters that are trained, and buffers."""
    frozen = {name for name, p in model.named_parameters() if not p.requires_grad}
    return {name: value for name, value in model.state_dict().items() if name not in frozen}


class Average:
    """A moving average of the weights: what is evaluated and shipped. `with average:` puts it into the model."""

    def __init__(self, model: nn.Module, decay: float = 0.998):
        self.decay, self.model = decay, model
        self.state = {name: value.detach().clone() for name, value in trained_state(model).items()}

    @torch.no_grad()
    def update(self, step: int) -> None:
        decay = min(self.decay, (1 + step) / (10 + step))
        for name, value in trained_state(self.model).items():
            self.state[name].lerp_(value, 1 - decay)

    def __enter__(self):
        self.kept = {name: value.detach().clone() for name, value in trained_state(self.model).items()}
        self.model.load_state_dict(self.state, strict=False)
        self.model.eval()

    def __exit__(self, *_):
        self.model.load_state_dict(self.kept, strict=False)
        self.model.train()


def ranks() -> tuple[int, int]:
    """This process and how many there are (`torchrun`)."""
    return (dist.get_rank(), dist.get_world_size()) if dist.is_initialized() else (0, 1)


def wait_for_all() -> None:
    if ranks()[1] > 1:
        dist.barrier()


def average_gradients(parameters: list[nn.Parameter]) -> None:
    """The mean over all processes, in one message."""
    if ranks()[1] == 1:
        return
    gradients = [p.grad if p.grad is not None else torch.zeros_like(p) for p in parameters]
    flat = torch.cat([g.flatten() for g in gradients])
    dist.all_reduce(flat)
    flat /= ranks()[1]
    for p, piece in zip(parameters, flat.split([g.numel() for g in gradients])):
        p.grad = piece.view_as(p)


def agreed(value: float) -> float:
    """The first process's number, for all."""
    if ranks()[1] == 1:
        return value
    shared = torch.tensor([value], dtype=torch.float64)
    dist.broadcast(shared, 0)
    return float(shared)


def autocast(enabled: bool, device: torch.device):
    return torch.autocast(device.type, torch.bfloat16) if enabled else nullcontext()


def shuffled(names: list[str], rng: random.Random):
    """Names for ever, each once a pass."""
    while True:
        yield from rng.sample(names, len(names))


class Run:
    """A stage being trained for `steps` steps."""

    def __init__(self, name: str, model: nn.Module, args, steps: int, rate: float, decay: float = 0.05):
        self.name, self.model, self.args, self.steps, self.rate = name, model, args, steps, rate
        self.path = args.cache / f"{name}.pt"
        self.parameters = [p for p in model.parameters() if p.requires_grad]
        self.optimizer = torch.optim.AdamW(parameter_groups(model, decay), lr=rate, betas=(0.9, 0.98))
        self.average = Average(model)
        self.step, self.seconds, self.seen = 0, 0.0, 0
        self.means: dict[str, float] = {}
        if self.path.exists():
            self.load()
        self.saved = self.evaluated = time.time()

    def load(self) -> None:
        saved = torch.load(self.path, map_location="cpu", weights_only=False)
        self.model.load_state_dict(saved["model"], strict=False)
        self.average.state |= saved["average"]
        if saved["optimizer"] is not None:  # None in what restore.py wrote
            self.optimizer.load_state_dict(saved["optimizer"])
        self.step, self.seconds, self.seen = saved["step"], saved["seconds"], saved["seen"]

    def save(self) -> None:
        if ranks()[0] == 0:
            part = self.path.with_suffix(".part")
            state = {"model": trained_state(self.model), "average": self.average.state}
            state |= {"optimizer": self.optimizer.state_dict(), "step": self.step, "seconds": self.seconds}
            torch.save(state | {"seen": self.seen}, part)
            part.replace(self.path)
        self.saved = time.time()

    @property
    def progress(self) -> float:
        return self.step / self.steps

    def update(self, loss: Tensor, seen: int, started: float) -> None:
        for group in self.optimizer.param_groups:
            group["lr"] = self.rate * rate_at(self.progress, self.step, warmup=max(1, min(200, self.steps // 10)))
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        average_gradients(self.parameters)
        nn.utils.clip_grad_norm_(self.parameters, 1.0)
        self.optimizer.step()
        self.average.update(self.step)
        self.step += 1
        self.seen += seen * ranks()[1]
        self.seconds += time.time() - started

    def note(self, values: dict[str, float]) -> None:
        """Running means of the losses; shown every 20 steps, written every 100."""
        for name, value in values.items():
            self.means[name] = value if name not in self.means else 0.97 * self.means[name] + 0.03 * value
        if self.step % 20 or ranks()[0]:
            return
        row = {"step": self.step, "captions": self.seen, "minutes": round(self.seconds / 60, 2)}
        row |= {name: round(value, 4) for name, value in self.means.items()}
        print(self.name, *(f"{key} {value}" for key, value in row.items()), flush=True)
        if self.step % 100 == 0:
            append_row(self.args.logs / f"{self.name}-train.csv", row)

    def tend(self, evaluate: Callable[[int], dict]) -> bool:
        """Saves and evaluates when it is time; true when a checkpoint was written."""
        if agreed(time.time() - self.evaluated) > 60 * self.args.evaluate_minutes:
            self.evaluate(evaluate, self.args.evaluate_photos)
        if agreed(time.time() - self.saved) > 60 * self.args.save_minutes:
            self.save()
            return True
        return False

    def evaluate(self, evaluate: Callable[[int], dict], limit: int) -> None:
        """`evaluate(limit)` with the averaged weights, on the first process; the others wait."""
        if ranks()[0] == 0:
            with self.average:
                scores = evaluate(limit)
            row = {"step": self.step, "captions_seen": self.seen, "minutes": round(self.seconds / 60, 1)} | scores
            print(self.name, row, flush=True)
            append_row(self.args.logs / f"{self.name}-dev.csv", row)
        wait_for_all()
        self.evaluated = time.time()

    def finish(self, evaluate: Callable[[int], dict]) -> None:
        self.save()
        self.evaluate(evaluate, 1000)
