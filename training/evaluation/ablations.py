"""The paper's claims at our scale: ways of making visual tokens, compared under one frozen encoder.

    python -m training.evaluation.ablations models/setokim-tiny

One small language model learns from scenes told in words. Then, for each way of making tokens, that way and a small
detokenizer begin from nothing and are trained end to end with a copy of that language model, for the same number of
steps. Rows that --out already holds are not trained again. The table and the figure of docs/ablations.md come from that
file: `--report`.
"""

import argparse
import csv
import dataclasses
import time
from collections import Counter, defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from tokenizers import Tokenizer
from torch import Tensor, nn

from ..data.scenes import COLOR_LABELS, CONCEPTS, Scene, render_batch, sample_scene, scene_rng
from ..data.special_tokens import SpecialTokens
from ..data.tasks import IGNORE, Sequence
from ..data.templates import TEMPLATES
from ..data.text import QUESTIONS, Edit, Speaker, ask_any, dense_caption, edit_any, refer
from ..model.checkpoints import load_setokim
from ..model.cluster import cluster_features
from ..model.config import ClusterConfig, DetokenizerConfig, ModelConfig
from ..model.detokenizer import Detokenizer
from ..model.llm import Llama, LlmConfig
from ..model.setokim import Setokim, order_by_area
from ..stages.losses import dice_loss, edge_loss, naming_loss, of_region, pixel_loss, token_regions
from ..stages.metrics import images_to_tensor, psnr
from ..stages.precision import mixed_precision
from ..stages.runs import append_row
from .token_ways import TOKEN_WIDTH, VARIANTS, Made, Variant

LLM = LlmConfig(
    vocab_size=960, hidden_size=128, intermediate_size=256, num_hidden_layers=3, max_position_embeddings=1024
)
DETOKENIZER = DetokenizerConfig(width=96, depth=2, heads=3, refine_channels=0)
QUESTIONS_PER_PICTURE, MASKS_PER_PICTURE = 8, 3  # turns about each, beside one caption and one edit
MOST_TOKENS = 256
FIXED_TOKENS = 5  # the nearest whole number to the mean number of regions, with room for one more
MASK_WIDTH = 48


# --- what the frozen encoder saw --------------------------------------------------------------------------


@dataclass
class Looked:
    """Pictures and what the encoder makes of them; clusters by the name of the clustering, largest first."""

    images: np.ndarray  # [n, S, S, 3] uint8
    features: Tensor  # [n, N, C] float16
    regions: Tensor  # [n, N]
    names: Tensor  # [n, R]
    colors: Tensor  # [n, R]
    object_masks: Tensor  # [n, S, S] bool
    labels: dict[str, Tensor]  # [n, N]
    valid: dict[str, Tensor]  # [n, K]

    def of(self, clustering: str) -> tuple[Tensor, Tensor]:
        return self.labels[clustering], self.valid[clustering]


def clusterings(config: ClusterConfig) -> dict[str, ClusterConfig]:
    return {
        "dynamic": config,
        "fixed": dataclasses.replace(config, threshold=-1.0, max_clusters=FIXED_TOKENS),
        "positions": dataclasses.replace(config, pos_scale=1.0),
    }


@torch.no_grad()
def look(model: Setokim, scenes: list[Scene], chunk: int = 50) -> Looked:
    parts = defaultdict(list)
    for first in range(0, len(scenes), chunk):
        batch = render_batch(scenes[first : first + chunk])
        with mixed_precision(torch.device("cpu")):
            features = model.vision(images_to_tensor(batch.images))
        features = F.layer_norm(features.float(), features.shape[-1:])
        parts["images"].append(batch.images)
        parts["features"].append(features.half())
        parts["regions"].append(torch.from_numpy(batch.patch_regions))
        parts["names"].append(torch.from_numpy(batch.names))
        parts["colors"].append(torch.from_numpy(batch.colors))
        parts["object_masks"].append(torch.from_numpy(batch.regions < batch.object_counts[:, None, None]))
        for name, config in clusterings(model.tokenizer_config.cluster).items():
            clusters = cluster_features(features, model.tokenizer_config.vision.grid, config, exact=False)
            order = order_by_area(clusters.labels, clusters.valid)
            parts[f"labels {name}"].append(order.argsort(1).gather(1, clusters.labels))
            parts[f"valid {name}"].append(clusters.valid.gather(1, order))
    whole = {name: np.concatenate(v) if name == "images" else torch.cat(v) for name, v in parts.items()}
    by_clustering = {
        kind: {name: whole.pop(f"{kind} {name}") for name in clusterings(model.tokenizer_config.cluster)}
        for kind in ("labels", "valid")
    }
    return Looked(**whole, **by_clustering)


@dataclass
class Scenes:
    """Scenes and, for each, one edit: `before[i]` becomes `after[i]`."""

    split: str
    scenes: list[Scene]
    edits: list[Edit]
    before: Looked
    after: Looked


def look_at_split(model: Setokim, split: str, count: int) -> Scenes:
    scenes = [sample_scene(split, index) for index in range(count)]
    edits = [edit_any(PlainSpeaker(scene_rng(split, 2**34 + i)), scene) for i, scene in enumerate(scenes)]
    before, after = look(model, scenes), look(model, [edit.target for edit in edits])
    for name in before.labels:
        order = in_source_order(*(looked.of(name) for looked in (before, after)))
        after.labels[name] = order.argsort(1).gather(1, after.labels[name])
    return Scenes(split, scenes, edits, before, after)


def in_source_order(before: tuple[Tensor, Tensor], after: tuple[Tensor, Tensor]) -> Tensor:
    """The order of the clusters of an edited picture: as in its source, then what is new. Largest first it could not
    be foreseen. Labels [n, N] and valid [n, K] of both -> [n, K] cluster indices, the invalid ones last.
    """
    source, edited = (F.one_hot(labels, ok.shape[1]).float() for labels, ok in (before, after))
    shared = edited.transpose(1, 2) @ source  # [n, K, K] patches
    union = edited.sum(1)[:, :, None] + source.sum(1)[:, None] - shared
    share, kept_from = (shared / union.clamp(min=1)).max(2)
    valid = after[1]
    rank = torch.where(share > 0.5, kept_from, valid.shape[1])
    return torch.where(valid, rank, valid.shape[1] + 1).argsort(dim=1, stable=True)


# --- model ------------------------------------------------------------------------------------------------


@dataclass
class Places:
    """Where in sequences visual tokens stand, and which of their picture they are; all [n]."""

    row: Tensor
    position: Tensor
    token: Tensor


@dataclass
class Turns:
    """Padded sequences, and where in them is what the losses want.

    A sequence is a picture, or what it shows in words, and then turns about it. Each turn sees the picture and itself:
    many questions share one picture, and none can be answered from the answer to another.
    """

    ids: Tensor  # [B, T]
    labels: Tensor  # [B, T]
    slots: Tensor  # [B, T] -1 for words
    visible: Tensor  # [B, T, T]
    read: Places  # a picture's tokens
    to_draw: Places  # the edited picture's tokens
    masks: list[tuple[int, int, int]]  # (row, position of [SEG], region)
    answers: list[tuple[int, int, int]]  # (row, first, end) of answers to questions


class Ablated(nn.Module):
    """A way of making tokens, with a detokenizer and a language model of its own."""

    def __init__(self, variant: Variant, config: ModelConfig):
        super().__init__()
        self.variant, hidden, width = variant, LLM.hidden_size, config.vision.width
        self.make = variant.make(config, **variant.options)
        self.name, self.color = nn.Linear(TOKEN_WIDTH, len(CONCEPTS)), nn.Linear(TOKEN_WIDTH, len(COLOR_LABELS))
        self.detok = Detokenizer(DETOKENIZER, TOKEN_WIDTH, config.vision)
        self.projector = nn.Sequential(nn.Linear(TOKEN_WIDTH, hidden), nn.GELU(), nn.Linear(hidden, hidden))
        self.slot = nn.Embedding(MOST_TOKENS, hidden)
        nn.init.normal_(self.slot.weight, std=0.02)
        self.llm = Llama(LLM)
        self.mask_query = nn.Sequential(nn.Linear(hidden, hidden), nn.GELU(), nn.Linear(hidden, MASK_WIDTH))
        self.mask_features = nn.Linear(width, MASK_WIDTH)
        self.draws = nn.Linear(hidden, TOKEN_WIDTH)
        self.copy_query, self.copy_key = nn.Linear(hidden, hidden), nn.Linear(hidden, hidden)

    def tokens(self, looked: Looked, rows: list[int]) -> Made:
        labels, valid = looked.of(self.variant.clustering)
        features = looked.features[rows].float()
        with mixed_precision(torch.device("cpu")):
            made = self.make(features, labels[rows], valid[rows])
        return dataclasses.replace(made, tokens=made.tokens.float())

    def paint(self, tokens: Tensor, valid: Tensor) -> Tensor:
        with mixed_precision(torch.device("cpu")):
            return self.detok(tokens, valid).float()

    def draw(self, hidden: Tensor, turns: Turns, made: Made, shape: torch.Size) -> Tensor:
        """Tokens [B, K, D] of edited pictures: what is looked up among the tokens of the source, and what is new."""
        at_drawn, at_read = (hidden[places.row, places.position] for places in (turns.to_draw, turns.read))
        query = spread(self.copy_query(at_drawn), turns.to_draw, shape)
        key = spread(self.copy_key(at_read), turns.read, made.valid.shape)
        fit = query @ key.transpose(1, 2) / hidden.shape[-1] ** 0.5
        copied = fit.masked_fill(~made.valid[:, None], float("-inf")).softmax(-1) @ made.tokens
        return copied + spread(self.draws(at_drawn), turns.to_draw, shape)


def spread(x: Tensor, places: Places, shape: torch.Size) -> Tensor:
    """[n, H] -> [B, K, H] by row and token, zeros where there is none; `shape` is B, K."""
    return x.new_zeros(*shape, x.shape[-1]).index_put((places.row, places.token), x)


class PlainSpeaker(Speaker):
    """One template for each kind of sentence: what is compared is tokens, not language."""

    def say(self, kind: str, **parts: str) -> str:
        return TEMPLATES[kind][0].format(**parts)


def write_turns(
    text: Tokenizer, scenes: list[Scene], speakers: list[Speaker], seen: list[int] | None, edits: list[tuple[Edit, int]]
) -> Turns:
    """`seen`: tokens of each picture, None where it is told in words; `edits`: with tokens of the edited pictures."""
    sequences = []
    for b, (scene, speaker) in enumerate(zip(scenes, speakers)):
        sequence = Sequence(SpecialTokens(), text, b)
        sequence.user(*(("", b, seen[b]) if seen else (dense_caption(scene),)))
        ask_about(sequence, scene, speaker)
        if edits:
            show_and_edit(sequence, scene, speaker, *edits[b])
        sequences.append(sequence)
    length = max(len(s.ids) for s in sequences)
    ids, labels, slots = (
        torch.tensor([getattr(s, name) + [fill] * (length - len(s.ids)) for s in sequences])
        for name, fill in (("ids", SpecialTokens.pad), ("labels", IGNORE), ("slots", -1))
    )
    turn = (ids == SpecialTokens.user).cumsum(1)  # 1 where the picture stands
    visible = ((turn[:, None] == turn[:, :, None]) | (turn[:, None] <= 1)).tril()
    return Turns(
        ids,
        labels,
        slots,
        visible,
        visual_places(sequences, is_read=True),
        visual_places(sequences, is_read=False),
        [(b, position, region) for s in sequences for position, b, region in s.masks],
        [(b, first, end) for b, s in enumerate(sequences) for kind, first, end in s.answers if kind in QUESTIONS],
    )


def ask_about(sequence: Sequence, scene: Scene, speaker: Speaker) -> None:
    for _ in range(QUESTIONS_PER_PICTURE):
        question = ask_any(speaker, scene)
        sequence.user(question.question)
        sequence.answer(question.kind, question.answer)


def show_and_edit(sequence: Sequence, scene: Scene, speaker: Speaker, edit: Edit, edited_tokens: int) -> None:
    """Masks, a caption and an edit."""
    for region in speaker.rng.permutation(len(scene.objects))[:MASKS_PER_PICTURE].tolist():
        if phrase := refer(speaker, scene, scene.objects[region]):
            sequence.user(speaker.say("segment", phrase=phrase))
            sequence.answer_mask(sequence.picture, region)
    sequence.user(speaker.say("dense"))
    sequence.answer("dense", dense_caption(scene))
    sequence.user(edit.instruction)
    sequence.answer_picture([(sequence.picture, i) for i in range(edited_tokens)])


def visual_places(sequences: list[Sequence], is_read: bool) -> Places:
    found = [
        (b, position, visual[1])
        for b, sequence in enumerate(sequences)
        for position, visual in enumerate(sequence.visual)
        if visual and (sequence.labels[position] == IGNORE) == is_read
    ]
    return Places(*torch.tensor(found, dtype=torch.long).reshape(-1, 3).unbind(1))


def read_turns(model: Llama, turns: Turns, x: Tensor) -> Tensor:
    """Embeddings -> hidden states [B, T, H]."""
    with mixed_precision(torch.device("cpu")):
        return model.read(x, turns.visible)[0].float()


def see_turns(model: Ablated, made: Made, turns: Turns) -> Tensor:
    """Hidden states [B, T, H]. Where a token is to be drawn stands only its slot: nothing of the answer is shown."""
    x = model.llm.embedding[turns.ids]
    x = torch.where((turns.slots >= 0)[..., None], model.slot(turns.slots.clamp(min=0)) + x, x)
    read = turns.read
    with mixed_precision(torch.device("cpu")):
        seen = model.projector(made.tokens[read.row, read.token]).float()
    return read_turns(model.llm, turns, x.index_put((read.row, read.position), seen, accumulate=True))


def text_loss(model: Llama, hidden: Tensor, turns: Turns) -> Tensor:
    """Of words: "here comes a visual token" would be most of it where there are many."""
    labels = turns.labels[:, 1:]
    learned = (labels != IGNORE) & (labels != SpecialTokens.visual)
    return F.cross_entropy(model.logits(hidden[:, :-1][learned]), labels[learned])


# --- training ---------------------------------------------------------------------------------------------

DECODED = 4  # pictures of a batch that are drawn again
WEIGHTS = {"text": 1.0, "extra": 1.0, "name": 0.5, "color": 0.25, "mask": 1.0, "drawn": 1.0, "pixel": 2.0, "edge": 0.5}


def losses(model: Ablated, data: Scenes, rows: list[int], turns: Turns, made: Made, target: Made) -> dict[str, Tensor]:
    before, hidden = data.before, see_turns(model, made, turns)
    terms = {"text": text_loss(model.llm, hidden, turns), "extra": torch.as_tensor(made.extra_loss)}
    if model.variant.contrast:
        terms |= naming_losses(model, made, before, rows)
    logits, true = mask_logits(model, before, rows, turns, hidden)
    terms["mask"] = F.binary_cross_entropy_with_logits(logits, true) + dice_loss(logits, true)
    drawn, to_draw = model.draw(hidden, turns, made, target.valid.shape), turns.to_draw
    terms["drawn"] = F.mse_loss(*(tokens[to_draw.row, to_draw.token] for tokens in (drawn, target.tokens)))
    shown, drawn_rows = made.tokens[:DECODED], rows[:DECODED]
    if not model.variant.reconstruction:  # the detokenizer learns to draw all the same, for the measurement
        shown = shown.detach()
    image = images_to_tensor(before.images[drawn_rows])
    again = model.paint(shown, made.valid[:DECODED])
    terms["pixel"] = pixel_loss(again, image, before.object_masks[drawn_rows])
    terms["edge"] = edge_loss(again, image)
    return terms


def naming_losses(model: Ablated, made: Made, before: Looked, rows: list[int]) -> dict[str, Tensor]:
    """Tokens contrasted with all names. Where a token has no patches of its own, some token must say each true name."""
    attributes = {"name": (model.name, before.names[rows]), "color": (model.color, before.colors[rows])}
    if made.labels is None:
        return {key: any_token_loss(head(made.tokens), true) for key, (head, true) in attributes.items()}
    token_region = token_regions(made.labels, made.valid, before.regions[rows])
    named = {key: (head(made.tokens), of_region(true, token_region)) for key, (head, true) in attributes.items()}
    return {key: naming_loss(logits, true) for key, (logits, true) in named.items()}


def any_token_loss(logits: Tensor, true: Tensor) -> Tensor:
    """How unlikely it is that any token says what is true (noisy or). [B, K, names], [B, R], -1 for no region."""
    silent = torch.log1p(-logits.softmax(-1).clamp(max=1 - 1e-6)).sum(1)  # [B, names] log probability that none says it
    said = -torch.expm1(silent.gather(1, true.clamp(min=0)))
    return -(said.clamp(min=1e-6).log() * (true >= 0)).sum() / (true >= 0).sum()


def mask_logits(model: Ablated, before: Looked, rows: list[int], turns: Turns, hidden: Tensor) -> tuple[Tensor, Tensor]:
    """Logits and truth by patch [n, N]."""
    b, place, region = (list(column) for column in zip(*turns.masks))
    pictures = [rows[i] for i in b]
    query = model.mask_query(hidden[b, place])
    logits = model.mask_features(before.features[pictures].float()) @ query[..., None] / MASK_WIDTH**0.5
    return logits[..., 0], (before.regions[pictures] == torch.tensor(region)[:, None]).float()


def descent(parameters: list[nn.Parameter], steps: int, rate: float) -> Callable[[Tensor], None]:
    """What takes each of so many steps along the gradient of a loss."""
    optimizer = torch.optim.AdamW(parameters, lr=rate, betas=(0.9, 0.95), weight_decay=0.05, fused=True)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, rate, steps, pct_start=0.1)

    def descend(loss: Tensor) -> None:
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        schedule.step()

    return descend


def train_llm(text: Tokenizer, steps: int, batch: int) -> Llama:
    """A language model that answers questions about scenes told in words: where every way of making tokens starts."""
    torch.manual_seed(0)
    model = Llama(LLM)
    descend = descent(list(model.parameters()), steps, rate=2e-3)
    for step in range(steps):
        scenes = [sample_scene("train", 2**30 + step * batch + b) for b in range(batch)]
        speakers = [PlainSpeaker(np.random.default_rng([step, b])) for b in range(batch)]
        turns = write_turns(text, scenes, speakers, None, [])
        loss = text_loss(model, read_turns(model, turns, model.embedding[turns.ids]), turns)
        descend(loss)
        if step % 50 == 0:
            print(f"  language model, step {step}: {loss.item():.3f}", flush=True)
    return model


def train(
    variant: Variant, config: ModelConfig, llm: Llama, text: Tokenizer, data: Scenes, arguments, seed: int
) -> Ablated:
    torch.manual_seed(seed)
    model = Ablated(variant, config)
    model.llm.load_state_dict(llm.state_dict())
    descend = descent(list(model.parameters()), arguments.steps, rate=1.5e-3)
    for step in range(arguments.steps):
        rng = np.random.default_rng([seed, step])  # every variant learns from the same pictures and words
        rows = rng.permutation(len(data.scenes))[: arguments.batch].tolist()
        speakers = [PlainSpeaker(np.random.default_rng([seed, step, b])) for b in range(arguments.batch)]
        made = model.tokens(data.before, rows)
        with torch.no_grad():
            target = model.tokens(data.after, rows)
        terms = losses(model, data, rows, about(text, data, rows, speakers, made, target), made, target)
        descend(sum(WEIGHTS[name] * term for name, term in terms.items()))
        if step % 50 == 0:
            print(f"  step {step}", {name: round(term.item(), 3) for name, term in terms.items()}, flush=True)
    return model.eval()


def about(text: Tokenizer, data: Scenes, rows: list[int], speakers: list[Speaker], made: Made, target: Made) -> Turns:
    edits = list(zip((data.edits[row] for row in rows), target.valid.sum(1).tolist()))
    return write_turns(text, [data.scenes[row] for row in rows], speakers, made.valid.sum(1).tolist(), edits)


# --- measuring --------------------------------------------------------------------------------------------


@torch.no_grad()
def measure(model: Ablated, text: Tokenizer, data: Scenes, batch: int = 32) -> dict[str, float]:
    values = defaultdict(list)
    for first in range(0, len(data.scenes), batch):
        rows = list(range(first, min(first + batch, len(data.scenes))))
        speakers = [PlainSpeaker(scene_rng(data.split, 2**35 + row)) for row in rows]
        made, target = model.tokens(data.before, rows), model.tokens(data.after, rows)
        turns = about(text, data, rows, speakers, made, target)
        hidden = see_turns(model, made, turns)
        values["tokens"] += made.valid.sum(1).tolist()
        values["questions"] += answered_right(model.llm, hidden, turns)
        logits, true = mask_logits(model, data.before, rows, turns, hidden)
        found, true = logits > 0, true > 0
        values["iou"] += ((found & true).sum(1) / (found | true).sum(1).clamp(min=1)).tolist()
        before, after = (images_to_tensor(looked.images[rows]) for looked in (data.before, data.after))
        values["psnr"] += psnr(model.paint(made.tokens, made.valid).clamp(-1, 1), before)
        edited = model.paint(model.draw(hidden, turns, made, target.valid.shape), target.valid)
        values["edit"] += edit_success(edited, model.paint(target.tokens, target.valid), before, after).tolist()
    return {name: float(np.mean(v)) for name, v in values.items()}


def answered_right(model: Llama, hidden: Tensor, turns: Turns) -> list[bool]:
    """Of each question, whether every word of the answer would be said."""
    said = model.logits(hidden).argmax(-1)
    return [bool((said[b, first - 1 : end - 1] == turns.ids[b, first:end]).all()) for b, first, end in turns.answers]


def edit_success(edited: Tensor, best: Tensor, before: Tensor, after: Tensor) -> Tensor:
    """Is the drawn picture, where the two differ, twice as near to what it should be as to what it was, and elsewhere
    at most 1 dB worse than `best`, which the detokenizer makes of the true tokens? [B, 3, S, S] -> [B] bool."""
    changed = (after != before).any(1, keepdim=True)
    error = lambda image, goal, where: ((image - goal).square() * where).sum((1, 2, 3))  # noqa: E731
    is_changed = error(edited, after, changed) < error(edited, before, changed) / 2
    return is_changed & (error(edited, after, ~changed) <= 10**0.1 * error(best, after, ~changed))


@torch.no_grad()
def baselines(llm: Llama, text: Tokenizer, count: int, heard: int = 48_000) -> dict[str, float]:
    """On scenes of `val`: questions answered by the language model that is told the scene in words, and by whoever
    only knows the most frequent answer to them; the IoU of masks of all things whatever is asked."""
    answers = defaultdict(Counter)  # to each question, and to each kind of question
    for i in range(heard // QUESTIONS_PER_PICTURE):
        scene, speaker = sample_scene("train", i), PlainSpeaker(scene_rng("train", 2**36 + i))
        for question in (ask_any(speaker, scene) for _ in range(QUESTIONS_PER_PICTURE)):
            answers[question.question][question.answer] += 1
            answers[question.kind][question.answer] += 1
    scenes = [sample_scene("val", i) for i in range(count)]
    values = defaultdict(list)
    for first in range(0, count, 32):
        part = scenes[first : first + 32]
        speakers = [PlainSpeaker(scene_rng("val", 2**35 + first + b)) for b in range(len(part))]
        turns = write_turns(text, part, speakers, None, [])
        hidden = read_turns(llm, turns, llm.embedding[turns.ids])
        values["told in words"] += answered_right(llm, hidden, turns)
    for i, (scene, regions) in enumerate(zip(scenes, render_batch(scenes).patch_regions)):
        speaker = PlainSpeaker(scene_rng("val", 2**35 + i))
        for question in (ask_any(speaker, scene) for _ in range(QUESTIONS_PER_PICTURE)):
            known = answers[question.question] or answers[question.kind]
            values["guessed"].append(known.most_common(1)[0][0] == question.answer)
        things = (regions < len(scene.objects)).sum()
        values["all things marked"] += [
            (regions == region).sum() / things
            for region, thing in enumerate(scene.objects)
            if refer(speaker, scene, thing)
        ]
    return {name: float(np.mean(v)) for name, v in values.items()}


# --- report -----------------------------------------------------------------------------------------------

COLUMNS = {"questions": "questions", "iou": "referring IoU", "edit": "edits", "psnr": "PSNR, dB"}


def read_rows(path: Path) -> list[dict[str, str]]:
    return list(csv.DictReader(path.open())) if path.exists() else []


def report(path: Path, figure: Path) -> None:
    """Print the table, mean and range over seeds; write the figure."""
    rows = defaultdict(list)
    for row in read_rows(path):
        rows[row["variant"]].append(row)
    print("| tokens made by | tokens | " + " | ".join(COLUMNS.values()) + " | seeds |")
    print("| --- |" + " ---: |" * (len(COLUMNS) + 2))
    for name, variant in VARIANTS.items():
        if runs := rows.get(name):
            cells = [_cell([float(run[column]) for run in runs], column) for column in COLUMNS]
            tokens = np.mean([float(run["tokens"]) for run in runs])
            print(f"| {variant.title} | {tokens:.1f} | " + " | ".join(cells) + f" | {len(runs)} |")
    _plot(rows, figure)


def _cell(values: list[float], column: str) -> str:
    digits = 2 if column == "psnr" else 3
    show = lambda v: f"{v:.{digits}f}" if column == "psnr" else f"{v:.{digits}f}"[1:]  # noqa: E731
    spread = f" ({show(min(values))} to {show(max(values))})" if len(values) > 1 else ""
    return f"{show(np.mean(values))}{spread}"


def _plot(rows: dict[str, list[dict[str, str]]], figure: Path) -> None:
    """Mean and range over seeds against the number of tokens, one colour for each way of making them."""
    import matplotlib.pyplot as plt

    ways = {"(a)": "patches", "(b)": "codebook", "(c)": "learned queries", "(d)": "SeTok"}
    fig, axes = plt.subplots(1, 3, figsize=(12, 3.8), layout="constrained")
    for axis, column in zip(axes, ("questions", "iou", "edit")):
        for number, (letter, title) in enumerate(ways.items()):
            runs = [rows[name] for name in list(VARIANTS)[:7] if name in rows and VARIANTS[name].title[:3] == letter]
            tokens = [np.mean([float(run["tokens"]) for run in seeds]) for seeds in runs]
            values = [[float(run[column]) for run in seeds] for seeds in runs]
            mean = np.array([np.mean(v) for v in values])
            spread = [mean - [min(v) for v in values], [max(v) for v in values] - mean]
            axis.errorbar(tokens, mean, spread, fmt="o", capsize=4, color=f"C{number}", label=f"{letter} {title}")
        axis.set(xscale="log", xlim=(3, 350), xlabel="tokens per picture", title=COLUMNS[column])
        axis.set_xticks([4, 8, 16, 64, 256], [4, 8, 16, 64, 256], minor=False)
        axis.minorticks_off()
        axis.grid(alpha=0.3)
    axes[0].legend(fontsize=8)
    fig.savefig(figure, dpi=110)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "checkpoint", type=Path, nargs="?", help="of stage 2 or later, or a model folder: its encoder is used"
    )
    parser.add_argument("--text", type=Path, default=Path("models/setokim-tiny/tokenizer.json"))
    parser.add_argument("--variants", nargs="*", choices=VARIANTS, default=list(VARIANTS))
    parser.add_argument("--seeds", type=int, nargs="*", default=[0, 1, 2])
    parser.add_argument("--llm", type=Path, default=Path("runs/ablations-llm.pt"), help="made where there is none")
    parser.add_argument("--llm-steps", type=int, default=1500, help="of 16 scenes in words")
    parser.add_argument("--steps", type=int, default=400)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--scenes", type=int, default=2500, help="training scenes, each with one edit")
    parser.add_argument("--measured", type=int, default=256, help="scenes of `val`")
    parser.add_argument("--threads", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path("training/logs/ablations.csv"))
    parser.add_argument("--report", action="store_true", help="only print the table and write the figure")
    parser.add_argument("--baselines", action="store_true", help="only print what is right without seeing a picture")
    parser.add_argument("--figure", type=Path, default=Path("docs/images/ablations.png"))
    arguments = parser.parse_args()
    if arguments.report:
        return report(arguments.out, arguments.figure)
    if not (arguments.checkpoint or arguments.baselines):
        parser.error("a checkpoint is needed, or --report or --baselines")
    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    text = Tokenizer.from_file(str(arguments.text))
    if not arguments.llm.exists():
        arguments.llm.parent.mkdir(parents=True, exist_ok=True)
        torch.save(train_llm(text, arguments.llm_steps, 16).state_dict(), arguments.llm)
    llm = Llama(LLM)
    llm.load_state_dict(torch.load(arguments.llm))
    if arguments.baselines:
        return print(baselines(llm, text, arguments.measured))
    encoder = load_setokim(arguments.checkpoint)
    data = look_at_split(encoder, "train", arguments.scenes)
    held_out = look_at_split(encoder, "val", arguments.measured)
    for seed in arguments.seeds:
        for name in arguments.variants:
            if any((row["variant"], row["seed"]) == (name, str(seed)) for row in read_rows(arguments.out)):
                continue
            print(name, "seed", seed, flush=True)
            started = time.monotonic()
            model = train(VARIANTS[name], encoder.tokenizer_config, llm, text, data, arguments, seed)
            row = {"variant": name, "seed": seed, "steps": arguments.steps, **measure(model, text, held_out)}
            append_row(arguments.out, {**row, "seconds": round(time.monotonic() - started)})
            print("  measured", {k: round(v, 3) for k, v in row.items() if isinstance(v, float)}, flush=True)


if __name__ == "__main__":
    main()
