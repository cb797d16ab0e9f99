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

from .evaluate import load_average, read_weights, with_clustering
from .model import SeTok
from .model.llm import LlmConfig
from .model.mask_head import full_size
from .model.setokim import Setokim, SetokimConfig, SpecialTokens
from .parallel import Workers
from .precision import mixed_precision
from .runs import Run, RunSettings
from .scenes import IMAGE_SIZE
from .tasks import IGNORE, TASK_SHARES, TaskBatch, TaskSampler, object_masks
from .text import CELLS, cell_index, relation_depth

# Visual tokens that are read, that will be kept or drawn, things in words, things to be marked, and what an instruction
# is about before it is carried out.
NAMED = ("naming", "planning", "mentions", "marked", "meant")
# What is read must be known half-way up: the layers above compare what these know, where a thing lies among it.
NAMED_EARLY = ("naming", "mentions")
DECISION_WEIGHT = 3.0
LENGTH_GROUPS = 4
# What is said about two things, with the number of values that describe it.
COMPARED = {"comparison": 3, "claim": 1}


@dataclass(frozen=True)
class Stage2Settings(RunSettings):
    stage: int = 2
    batch: int = 32
    learning_rate: float = 1.5e-3
    last_learning_rate: float = 5e-5
    warmup_steps: int = 50
    ema_decay: float = 0.998
    evaluate_sequences: int = 64


class VisualNaming(nn.Module):
    """What the language model should know where it reads a visual token, is about to draw one, or hears a thing named:
    name, colour, cell, and exactly where the middle of a thing is and how large it is.

    Used in training only.
    """

    def __init__(self, hidden: int, names: int, colors: int):
        super().__init__()
        self.name = nn.Linear(hidden, names)
        self.color = nn.Linear(hidden, colors)
        self.cell = nn.Linear(hidden, len(CELLS))
        self.box = nn.Linear(hidden, 3)

    def loss(self, hidden: Tensor, names: Tensor, colors: Tensor, cells: Tensor, boxes: Tensor) -> Tensor:
        """hidden [M, H]; targets [M], -1 where there is nothing to say; boxes [M, 3], only where there is a cell."""
        said = sum(
            weight * F.cross_entropy(head(hidden), target, ignore_index=-1)
            for weight, head, target in ((1.0, self.name, names), (0.5, self.color, colors), (0.5, self.cell, cells))
        )
        is_thing = (cells >= 0)[:, None]
        distance = ((self.box(hidden) - boxes).abs() * is_thing).sum() / is_thing.sum().clamp(min=1)
        return said + 2 * distance


def stage2_losses(model: Setokim, heads: nn.ModuleDict, batch: TaskBatch) -> dict[str, Tensor]:
    """`heads`: one VisualNaming for each of `NAMED`."""
    device = batch.ids.device
    with mixed_precision(device):
        hidden, states = read_by_length(model, batch)
    hidden = hidden.float()
    # What is meant must be known with layers to spare: each token of an answer looks back at it.
    known = dict.fromkeys(NAMED, hidden) | dict.fromkeys(NAMED_EARLY, half_way(states))
    known["meant"] = normed(states[-3:][0])
    before, target = hidden[:, :-1], batch.labels[:, 1:]
    learned = target != IGNORE
    with mixed_precision(device):
        logits = model.llm.logits(before[learned])
    losses = {"text": text_loss(logits.float(), target[learned], model.config.special_tokens)}

    drawn = target == model.config.special_tokens.visual
    if drawn.any():
        tokens = batch.visual[:, 1:][drawn]
        losses["diffusion"], guess, is_told = model.diffusion.loss(tokens, before[drawn])
        if model.detok.layers:
            losses["placing"] = placing_loss(model, guess, tokens, is_told, drawn_things(batch))
    masked = [(b, *mask) for b, sequence in enumerate(batch.sequences) for mask in sequence.masks]
    if masked:
        rows, positions, pictures, regions = zip(*masked)
        logits = mask_logits(model, batch, hidden[list(rows), list(positions)], list(pictures))
        losses["mask"] = mask_loss(logits, object_masks(batch.pictures, list(zip(pictures, regions))))
    for loss, places in named_places(batch).items():
        losses[loss] = naming_loss(heads[loss], batch, known[loss], places)
    return losses | comparison_losses(heads, batch, normed(states[-2:][0]), hidden)


def read_by_length(model: Setokim, batch: TaskBatch) -> tuple[Tensor, list[Tensor]]:
    """`Setokim.read` in a few groups of sequences of nearly the same length: read at once, half would be padding.

    Nothing but zeros stands where a sequence of another group would have been padded.
    """
    length = batch.ids.shape[1]
    order = torch.tensor([len(s.ids) for s in batch.sequences]).argsort()
    parts = []
    for rows in order.chunk(LENGTH_GROUPS):
        end = len(batch.sequences[int(rows[-1])].ids)
        hidden, states = model.read(*(t[rows, :end] for t in (batch.ids, batch.slots, batch.visual)))
        parts.append([F.pad(x, (0, 0, 0, length - end)) for x in (hidden, *states)])
    hidden, *states = (torch.cat(groups)[order.argsort()] for groups in zip(*parts))
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


def placing_loss(model: Setokim, guess: Tensor, tokens: Tensor, is_told: Tensor, is_thing: Tensor) -> Tensor:
    """How far from its true place each drawn thing would be painted, across, down and in size.

    The place is a small part of a token, so the error of the whole hardly asks for it: half of the things stood
    elsewhere than they were wanted, though nine of ten were the right ones.
    """
    boxes = model.detok.layers.boxes
    denormalize = model.projector.denormalize
    with torch.no_grad():
        true = boxes(denormalize(tokens))
    repeats = len(guess) // len(tokens)
    counts = is_told * is_thing.repeat(repeats)[:, None]
    distance = (boxes(denormalize(guess)) - true.repeat(repeats, 1)).abs()
    return (distance * counts).sum() / counts.sum().clamp(min=1)


def drawn_things(batch: TaskBatch) -> Tensor:
    """For each token to be drawn whether it shows an object, in the order of the sequences."""
    drawn = [
        batch.pictures.shown(*visual) is not None
        for s in batch.sequences
        for visual, token, label in zip(s.visual, s.ids, s.labels)
        if visual and label == token == s.special.visual
    ]
    return torch.tensor(drawn, device=batch.ids.device)


def half_way(states: list[Tensor]) -> Tensor:
    return normed(states[len(states) // 2 - 1])


def normed(state: Tensor) -> Tensor:
    """A state between two layers as a head can read it."""
    return F.rms_norm(state.float(), state.shape[-1:])


def comparison_losses(heads: nn.ModuleDict, batch: TaskBatch, state: Tensor, last: Tensor) -> dict[str, Tensor]:
    """Before an answer about two things: how far apart they are, across and down, and how much larger the first is,
    known in `state`; and, in the `last` states, how far that fits what was said.

    Yes or no alone says too little: without these the model never learned which of two things is on the left.
    """
    places = [(b, *comparison) for b, s in enumerate(batch.sequences) for comparison in s.comparisons]
    if not places:
        return dict.fromkeys(COMPARED, state.sum() * 0)
    rows, positions, *_ = (list(column) for column in zip(*places))
    difference, claim = [], []
    for _, _, picture, *regions, words in places:
        a, b = (batch.pictures.batch.scenes[picture].objects[region] for region in regions)
        difference.append([(v - w) / IMAGE_SIZE for v, w in zip((*a.center, a.size), (*b.center, b.size))])
        claim.append([relation_depth(words, a, b) / IMAGE_SIZE])
    wanted = {"comparison": (state, difference), "claim": (last, claim)}
    return {
        loss: (heads[loss](known[rows, positions]) - torch.tensor(target, device=known.device)).abs().mean()
        for loss, (known, target) in wanted.items()
    }


def named_places(batch: TaskBatch) -> dict[str, list[tuple[int, int, int, int]]]:
    """For each of `NAMED` the (sequence, position, picture, region) where a region should be known."""
    regions = batch.pictures.regions.tolist()
    rows = list(enumerate(batch.sequences))
    return {
        "naming": [(b, at, picture, regions[picture][token]) for b, s in rows for at, picture, token in s.sources],
        "planning": [(b, at, picture, regions[picture][token]) for b, s in rows for at, picture, token in s.plans],
        "mentions": [(b, *mention) for b, s in rows for mention in s.mentions],
        "marked": [(b, *mask) for b, s in rows for mask in s.masks],
        "meant": [(b, *meant) for b, s in rows for meant in s.meant],
    }


def naming_loss(
    naming: VisualNaming, batch: TaskBatch, hidden: Tensor, places: list[tuple[int, int, int, int]]
) -> Tensor:
    if not places:
        return hidden.sum() * 0
    rows, positions, pictures, regions = (list(column) for column in zip(*places))
    scenes, device = batch.pictures.batch, hidden.device
    cells, boxes = np.full_like(scenes.names, -1), np.zeros((*scenes.names.shape, 3), np.float32)
    for m, scene in enumerate(scenes.scenes):
        for r, o in enumerate(scene.objects):
            cells[m, r], boxes[m, r] = cell_index(o), [v / IMAGE_SIZE for v in (*o.center, o.size)]
    is_none = np.array(regions) < 0
    targets = [
        torch.from_numpy(np.where(is_none, -1, attribute[pictures, regions])).to(device)
        for attribute in (scenes.names, scenes.colors, cells)
    ]
    return naming.loss(hidden[rows, positions], *targets, torch.from_numpy(boxes[pictures, regions]).to(device))


def mask_logits(model: Setokim, batch: TaskBatch, hidden: Tensor, pictures: list[int]) -> Tensor:
    """Logits [n, S / 2, S / 2] for hidden states [n, H] of [SEG] tokens about `pictures`."""
    with torch.no_grad():
        stride2, stride4 = model.vision.stem_stages(batch.pictures.images[pictures])
    with mixed_precision(hidden.device):
        return model.mask_head(hidden, batch.pictures.features[pictures], stride4, stride2).float()


def mask_loss(logits: Tensor, mask: Tensor) -> Tensor:
    """Cross-entropy by pixel and dice, at the resolution of the logits. [n, h, w], [n, S, S]."""
    target = F.adaptive_avg_pool2d(mask[:, None], logits.shape[-2:])[:, 0]
    probability = logits.sigmoid()
    overlap = 2 * (probability * target).sum((1, 2)) + 1
    dice = 1 - overlap / (probability.sum((1, 2)) + target.sum((1, 2)) + 1)
    return 2 * F.binary_cross_entropy_with_logits(logits, target) + dice.mean()


@torch.no_grad()
def measure_tokens(sampler: TaskSampler, count: int = 256) -> None:
    """Set the projector's mean and std to those of the tokens of real pictures."""
    projector = sampler.model.projector
    pictures = sampler.batch("train", 0, count, kind="caption").pictures
    real = torch.cat([tokens[:n] for tokens, n in zip(projector.denormalize(pictures.tokens), pictures.counts)])
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
            hidden = model(batch.ids, batch.slots, batch.visual)
            said = model.llm.logits(hidden).argmax(-1)
            for b, sequence in enumerate(batch.sequences):
                for question, start, end in sequence.answers:
                    exact = bool((said[b, start - 1 : end - 1] == batch.ids[b, start:end]).all())
                    right.setdefault(question, []).append(exact)
                for position, picture, region in sequence.masks:
                    logits = mask_logits(model, batch, hidden[b, position][None], [picture])
                    found = full_size(logits, IMAGE_SIZE) > 0
                    true = object_masks(batch.pictures, [(picture, region)]) > 0
                    ious.append(float((found & true).sum() / (found | true).sum().clamp(min=1)))
    questions = [v for kind, values in right.items() if kind not in NOT_QUESTIONS for v in values]
    return {
        "questions": float(np.mean(questions)),
        "segment_iou": float(np.mean(ious)) if ious else math.nan,
        **{kind.replace(" ", "_"): float(np.mean(right[kind])) for kind in sorted(right)},
    }


NOT_QUESTIONS = ("caption", "dense", "segment", "refusal", "small talk", "easy vqa")


class Stage2(Run):
    """Only the language model and the heads around it learn; `model` holds Setokim and the heads that name."""

    # Without the naming loss on the positions of visual tokens the language model never binds words to them
    # (colour questions .13 instead of .81 after the same number of steps).
    loss_weights = {
        "text": 1.0,
        "diffusion": 1.0,
        "mask": 1.0,
        **dict.fromkeys(NAMED, 0.5),
        **dict.fromkeys(COMPARED, 2.0),
        "placing": 4.0,
    }

    def __init__(self, model: Setokim, text: Tokenizer, settings: Stage2Settings, workers: Workers, folder: Path):
        torch.manual_seed(settings.seed)
        for frozen in (model.vision, model.setok, model.detok, model.heads):
            frozen.requires_grad_(False)
        labels = model.tokenizer_config.labels
        sizes = (model.config.llm.hidden_size, len(labels.names), len(labels.colors))
        heads = {loss: VisualNaming(*sizes) for loss in NAMED}
        heads |= {loss: nn.Linear(sizes[0], values) for loss, values in COMPARED.items()}
        trained = nn.ModuleDict({"setokim": model, **heads})
        shares = TASK_SHARES[settings.stage]
        if settings.stage == 2:
            model.diffusion.requires_grad_(False)  # nothing is drawn yet, and decay alone would shrink it
            measure_tokens(TaskSampler(model, text, shares))
        super().__init__(trained, model.config_json(), settings, workers, folder)
        self.sampler = TaskSampler(self.model["setokim"], text, shares)
        self.average_sampler = TaskSampler(self.average["setokim"], text, shares)

    def losses(self, first: int, count: int) -> tuple[dict[str, Tensor], dict[str, float]]:
        batch = self.sampler.batch("train", first, count)
        losses = stage2_losses(self.model["setokim"], self.model, batch)
        return losses, {"length": float(batch.ids.shape[1])}

    def evaluate_average(self) -> dict[str, float]:
        return evaluate_tasks(self.average_sampler, "val", self.settings.evaluate_sequences)


def take_over_heads(run: Stage2, checkpoint: Path) -> None:
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
    return Setokim(load_average(checkpoint), SetokimConfig(llm=LlmConfig(vocab_size=vocabulary)))


def replace_tokenizer(model: Setokim, tokenizer: SeTok, text: Tokenizer) -> None:
    """Another SeTok of the same shape in place of the model's own; its tokens are measured anew."""
    model.tokenizer_config = tokenizer.config
    for part in ("vision", "setok", "detok", "heads"):
        setattr(model, part, getattr(tokenizer, part))
    measure_tokens(TaskSampler(model, text, TASK_SHARES[3]))


def replace_detokenizer(model: Setokim, other: SeTok) -> None:
    """Another detokenizer of the same tokens."""
    config = other.config.detokenizer
    model.tokenizer_config = dataclasses.replace(model.tokenizer_config, detokenizer=config)
    model.detok = other.detok


def load_setokim(checkpoint: Path, clustering: dict[str, float] | None = None) -> Setokim:
    """The averaged weights of a checkpoint of stage 2 or later, or those of a model folder.

    `clustering` replaces settings of that section.
    """
    config, weights = read_weights(checkpoint)
    model = Setokim(SeTok(with_clustering(config, clustering)), SetokimConfig.from_json(config))
    model.load_state_dict({name: weights[name] for name in model.state_dict()})
    return model.eval()
