"""Stages 2 and 3: the language model learns to read, name, mark and write visual tokens; the tokenizer stays frozen."""

import dataclasses
import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from tokenizers import Tokenizer
from torch import Tensor, nn

from ..data.scenes import IMAGE_SIZE, MAX_OBJECTS
from ..data.special_tokens import SpecialTokens
from ..data.targets import NAMED, Compared, Counted, Named
from ..data.tasks import FINISHING_SHARES, IGNORE, TASK_SHARES
from ..data.text import CELLS
from ..model import SeTok
from ..model.checkpoints import load_setok
from ..model.llm import LlmConfig
from ..model.mask_head import full_size
from ..model.setokim import Setokim, SetokimConfig
from .distributed import Workers
from .losses import dice_loss
from .precision import mixed_precision
from .runs import Run, RunSettings
from .sampler import TaskBatch, TaskLoader, TaskSampler

# What is read must be known half-way up: the layers above compare what these know, where a thing lies among it.
NAMED_EARLY = ("naming", "mentions")
DECISION_WEIGHT = 3.0
LENGTH_GROUPS = {"cpu": 4, "cuda": 1}  # a GPU reads padding faster than it starts on another group
# How many there are of a thing that was named is known, as is what is meant, with layers to spare.
COUNTED = "counted"
# What is said about two things, with the number of values that describe it.
COMPARED = {"comparison": 3, "claim": 1}

# Without the naming loss on the positions of visual tokens the language model never binds words to them
# (colour questions .13 instead of .81 after the same number of steps).
LOSS_WEIGHTS = {
    "text": 1.0,
    "diffusion": 1.0,
    "mask": 1.0,
    **dict.fromkeys(NAMED, 0.5),
    COUNTED: 0.5,
    **dict.fromkeys(COMPARED, 2.0),
    "placing": 4.0,
}
# To end stage 3 with. What is needed to begin to learn outweighs the text at last: over six batches of 32 sequences the
# norm of the language model's gradient was 7.3, that of the text's alone .5.
FINISHING_WEIGHTS = {
    "text": 1.0,
    "diffusion": 0.5,
    "mask": 0.5,
    **dict.fromkeys(NAMED, 0.05),
    COUNTED: 0.1,
    **dict.fromkeys(COMPARED, 0.05),
    "placing": 2.0,
}


@dataclass(frozen=True)
class Stage2Settings(RunSettings):
    stage: int = 2
    finish: bool = False  # the last run of stage 3: the text decides, and questions come more often
    batch: int = 32
    learning_rate: float = 1.5e-3
    last_learning_rate: float = 1e-5
    warmup_steps: int = 50
    ema_decay: float = 0.998
    evaluate_sequences: int = 128


class VisualNaming(nn.Module):
    """What the language model should know where it reads a visual token, is about to write one, or reads a noun:
    name, colour, cell, and exactly where the middle of a thing is and how large it is.

    Used in training only.
    """

    def __init__(self, hidden: int, names: int, colors: int):
        super().__init__()
        self.name = nn.Linear(hidden, names)
        self.color = nn.Linear(hidden, colors)
        self.cell = nn.Linear(hidden, len(CELLS))
        self.box = nn.Linear(hidden, 3)

    def loss(self, hidden: Tensor, known: Named) -> Tensor:
        """hidden [n, H] at the places where something should be known."""
        if not len(hidden):
            return hidden.sum()
        heads = ((1.0, self.name, known.names), (0.5, self.color, known.colors), (0.5, self.cell, known.cells))
        predicted = sum(
            weight * F.cross_entropy(head(hidden), target, ignore_index=-1) for weight, head, target in heads
        )
        is_thing = (known.cells >= 0)[:, None]
        distance = ((self.box(hidden) - known.boxes).abs() * is_thing).sum() / is_thing.sum().clamp(min=1)
        return predicted + 2 * distance


def stage2_losses(model: Setokim, heads: nn.ModuleDict, batch: TaskBatch) -> dict[str, Tensor]:
    """`heads`: one VisualNaming for each of `NAMED`."""
    targets, device = batch.targets, batch.visual.device
    with mixed_precision(device):
        hidden, states = read_by_length(model, batch)
    hidden = hidden.float()
    # What is meant must be known with layers to spare: each token of an answer looks back at it.
    known = dict.fromkeys(NAMED, hidden) | dict.fromkeys(NAMED_EARLY, half_way(states))
    known["meant"] = normed(states[-3:][0])
    before, target = hidden[:, :-1], targets.labels[:, 1:]
    learned = target != IGNORE
    with mixed_precision(device):
        logits = model.llm.logits(before[learned])
    losses = {"text": text_loss(logits.float(), target[learned], model.config.special_tokens)}

    if len(targets.generated_things):
        generated = target == model.config.special_tokens.visual
        tokens = batch.visual[:, 1:][generated]
        losses["diffusion"], guess, is_conditioned = model.diffusion.loss(tokens, before[generated])
        if model.detok.layers:
            losses["placing"] = placing_loss(model, guess, tokens, is_conditioned, targets.generated_things)
    if len(targets.masks):
        rows, positions, images, regions = targets.masks.unbind(1)
        logits = mask_logits(model, batch, hidden[rows, positions], images)
        losses["mask"] = mask_loss(logits, (batch.encoded.regions[images] == regions[:, None, None]).float())
    for loss, named in targets.named.items():
        losses[loss] = heads[loss].loss(known[loss][named.rows, named.positions], named)
    losses[COUNTED] = counting_loss(heads[COUNTED], targets.counted, known["meant"])
    return losses | comparison_losses(heads, targets.compared, normed(states[-2:][0]), hidden)


def read_by_length(model: Setokim, batch: TaskBatch) -> tuple[Tensor, list[Tensor]]:
    """`Setokim.read` in a few groups of sequences of nearly the same length: read at once, half would be padding.

    Nothing but zeros stands where a sequence of another group would have been padded.
    """
    lengths, device = torch.tensor(batch.targets.lengths), batch.visual.device
    order, length = lengths.argsort(), batch.visual.shape[1]
    parts = []
    for rows in order.chunk(LENGTH_GROUPS[device.type]):
        end, rows = int(lengths[rows[-1]]), rows.to(device)
        hidden, states = model.read(*(t[rows, :end] for t in (batch.targets.ids, batch.targets.slots, batch.visual)))
        parts.append([F.pad(x, (0, 0, 0, length - end)) for x in (hidden, *states)])
    back = order.argsort().to(device)
    hidden, *states = (torch.cat(groups)[back] for groups in zip(*parts))
    return hidden, states


def text_loss(logits: Tensor, target: Tensor, special: SpecialTokens) -> Tensor:
    """Cross-entropy of what comes next; what decides over a token of a picture counts more than a word.

    logits [n, vocabulary], target [n].
    """
    decides = (target == special.visual) | (
        (target >= special.keep_first) & (target < special.keep_first + special.keep_count)
    )
    weight = torch.where(decides, DECISION_WEIGHT, 1.0)
    return (F.cross_entropy(logits, target, reduction="none") * weight).sum() / weight.sum()


def placing_loss(model: Setokim, guess: Tensor, tokens: Tensor, is_conditioned: Tensor, is_thing: Tensor) -> Tensor:
    """How far from its true place each generated thing would be rendered, across, down and in size.

    The place is a small part of a token, so the error of the whole hardly asks for it: half of the things stood
    elsewhere than they were wanted, though nine of ten were the right ones.
    """
    boxes = model.detok.layers.boxes
    denormalize = model.projector.denormalize
    with torch.no_grad():
        true = boxes(denormalize(tokens))
    repeats = len(guess) // len(tokens)
    counts = is_conditioned * is_thing.repeat(repeats)[:, None]
    distance = (boxes(denormalize(guess)) - true.repeat(repeats, 1)).abs()
    return (distance * counts).sum() / counts.sum().clamp(min=1)


def half_way(states: list[Tensor]) -> Tensor:
    return normed(states[len(states) // 2 - 1])


def normed(state: Tensor) -> Tensor:
    """A state between two layers as a head can read it."""
    return F.rms_norm(state.float(), state.shape[-1:])


def counting_loss(head: nn.Linear, counted: Counted, state: Tensor) -> Tensor:
    """Where a thing is named, how many of it there are, none among them.

    Only what is there was ever named to the model where it heard it, and one in twelve "is there a ..." went wrong.
    """
    if not len(counted.rows):
        return state.sum() * 0
    return F.cross_entropy(head(state[counted.rows, counted.positions]), counted.numbers)


def comparison_losses(heads: nn.ModuleDict, compared: Compared, state: Tensor, last: Tensor) -> dict[str, Tensor]:
    """Before an answer about two things: how far apart they are, across and down, and how much larger the first is,
    known in `state`; and, in the `last` states, how far that fits what was said.

    Yes or no alone says too little: without these the model never learned which of two things is on the left.
    """
    if not len(compared.rows):
        return dict.fromkeys(COMPARED, state.sum() * 0)
    wanted = {"comparison": (state, compared.difference), "claim": (last, compared.claim)}
    return {
        loss: (heads[loss](known[compared.rows, compared.positions]) - target).abs().mean()
        for loss, (known, target) in wanted.items()
    }


def mask_logits(model: Setokim, batch: TaskBatch, hidden: Tensor, images: Tensor) -> Tensor:
    """Logits [n, S / 2, S / 2] for hidden states [n, H] of [SEG] tokens about `images`."""
    with torch.no_grad():
        stride2, stride4 = model.vision.stem_stages(batch.encoded.images[images])
    with mixed_precision(hidden.device):
        return model.mask_head(hidden, batch.encoded.features[images], stride4, stride2).float()


def mask_loss(logits: Tensor, mask: Tensor) -> Tensor:
    """Cross-entropy by pixel and dice, at the resolution of the logits. [n, h, w], [n, S, S]."""
    target = F.adaptive_avg_pool2d(mask[:, None], logits.shape[-2:])[:, 0]
    return 2 * F.binary_cross_entropy_with_logits(logits, target) + dice_loss(logits, target)


@torch.no_grad()
def measure_tokens(sampler: TaskSampler, count: int = 256) -> None:
    """Set the projector's mean and std to those of the tokens of real pictures."""
    projector = sampler.model.projector
    real = projector.denormalize(sampler.batch("train", 0, count, kind="caption").encoded.real_tokens)
    projector.mean.copy_(real.mean(0))
    projector.std.copy_(real.std(0) + 1e-3)


@torch.no_grad()
def evaluate_tasks(sampler: TaskSampler, split: str, count: int, held_out_words: bool = False) -> dict[str, float]:
    """Share of exact answers by kind of question, and IoU of referring masks by pixel.

    Answers are read off under the true beginning of the answer: all right there is the same as right when written
    greedily.
    """
    model = sampler.model
    right: dict[str, list[float]] = {}
    ious: list[float] = []
    for kind in ("chat", "caption", "segment", "easy_vqa"):
        for first in range(0, count, 32):
            batch = sampler.batch(split, first, min(32, count - first), kind, held_out_words)
            targets = batch.targets
            hidden = model(targets.ids, targets.slots, batch.visual)
            predicted = model.llm.logits(hidden).argmax(-1)
            for b, sequence in enumerate(batch.sequences):
                for question, start, end in sequence.answers:
                    exact = bool((predicted[b, start - 1 : end - 1] == targets.ids[b, start:end]).all())
                    right.setdefault(question, []).append(exact)
            if len(targets.masks):
                rows, positions, images, regions = targets.masks.unbind(1)
                found = full_size(mask_logits(model, batch, hidden[rows, positions], images), IMAGE_SIZE) > 0
                true = batch.encoded.regions[images] == regions[:, None, None]
                ious += ((found & true).sum((1, 2)) / (found | true).sum((1, 2)).clamp(min=1)).tolist()
    questions = [v for kind, values in right.items() if kind not in NOT_QUESTIONS for v in values]
    return {
        "questions": float(np.mean(questions)),
        "segment_iou": float(np.mean(ious)) if ious else math.nan,
        **{kind.replace(" ", "_"): float(np.mean(right[kind])) for kind in sorted(right)},
    }


NOT_QUESTIONS = ("caption", "dense", "segment", "refusal", "small talk", "easy vqa")


class Stage2(Run):
    """Only the language model and the heads around it learn; `model` holds Setokim and the heads that name."""

    def __init__(self, model: Setokim, text: Tokenizer, settings: Stage2Settings, workers: Workers, folder: Path):
        torch.manual_seed(settings.seed)
        for frozen in (model.vision, model.setok, model.detok, model.heads):
            frozen.requires_grad_(False)
        labels = model.tokenizer_config.labels
        sizes = (model.config.llm.hidden_size, len(labels.names), len(labels.colors))
        heads = {loss: VisualNaming(*sizes) for loss in NAMED}
        heads |= {loss: nn.Linear(sizes[0], values) for loss, values in COMPARED.items()}
        heads[COUNTED] = nn.Linear(sizes[0], MAX_OBJECTS + 1)
        trained = nn.ModuleDict({"setokim": model, **heads})
        shares, self.loss_weights = TASK_SHARES[settings.stage], LOSS_WEIGHTS
        if settings.finish:
            shares, self.loss_weights = FINISHING_SHARES, FINISHING_WEIGHTS
        if settings.stage == 2:
            model.diffusion.requires_grad_(False)  # nothing is denoised yet, and decay alone would shrink it
            measure_tokens(TaskSampler(model, text, shares))
        super().__init__(trained, model.config_json(), settings, workers, folder)
        self.loader = TaskLoader(self.model["setokim"], text, shares, settings.batch, workers.loaders)
        self.average_sampler = TaskSampler(self.average["setokim"], text, shares)

    def losses(self, first: int, count: int) -> tuple[dict[str, Tensor], dict[str, float]]:
        batch = self.loader.batch(first, count)
        losses = stage2_losses(self.model["setokim"], self.model, batch)
        return losses, {"length": float(batch.visual.shape[1])}

    def evaluate_average(self) -> dict[str, float]:
        return evaluate_tasks(self.average_sampler, "val", self.settings.evaluate_sequences)


def load_heads(run: Stage2, checkpoint: Path) -> None:
    """What the heads of an earlier run learned, as far as there are the same; a model folder has none."""
    if checkpoint.is_dir():
        return
    weights = torch.load(checkpoint, map_location="cpu")["average"]
    heads = {name: weight for name, weight in weights.items() if not name.startswith("setokim.")}
    for model in (run.model, run.average):
        own = model.state_dict()
        model.load_state_dict({n: heads.get(n, weight) for n, weight in own.items()})


def setokim_from_stage1(checkpoint: Path, text: Tokenizer) -> Setokim:
    """A new language model around the averaged tokenizer of stage 1."""
    vocabulary = -(-text.get_vocab_size() // 64) * 64
    return Setokim(load_setok(checkpoint), SetokimConfig(llm=LlmConfig(vocab_size=vocabulary)))


def replace_tokenizer(model: Setokim, tokenizer: SeTok, text: Tokenizer) -> None:
    """Another SeTok of the same shape in place of the model's own; its tokens are measured anew."""
    model.tokenizer_config = tokenizer.config
    for part in ("vision", "setok", "detok", "heads"):
        setattr(model, part, getattr(tokenizer, part).to(model.projector.mean.device))
    measure_tokens(TaskSampler(model, text, TASK_SHARES[3]))


def replace_detokenizer(model: Setokim, other: SeTok) -> None:
    """Another detokenizer of the same tokens."""
    config = other.config.detokenizer
    model.tokenizer_config = dataclasses.replace(model.tokenizer_config, detokenizer=config)
    model.detok = other.detok.to(model.projector.mean.device)
