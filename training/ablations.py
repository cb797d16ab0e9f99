"""The paper's claims at our scale: ways of making visual tokens, compared under one frozen encoder.

    python -m training.ablations runs/stage3-nano/checkpoint.pt --text models/setokim-tiny/tokenizer.json

Everything behind the encoder is trained from nothing for the same number of steps: the way of making tokens, a small
detokenizer and a small language model, end to end. Rows that --out already holds are not trained again. The table and
the figure of docs/ablations.md come from that file: `--report`.
"""

import argparse
import csv
import dataclasses
import time
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from tokenizers import Tokenizer
from torch import Tensor, nn

from .evaluate import psnr
from .losses import edge_loss, naming_loss, of_region, pixel_loss, token_regions
from .model.cluster import cluster_features
from .model.config import ClusterConfig, DetokenizerConfig, ModelConfig
from .model.detokenizer import Detokenizer
from .model.layers import Attention, Mlp, sincos_positions
from .model.llm import Llama, LlmConfig
from .model.merger import TokenMerger
from .model.setokim import Setokim, SpecialTokens, order_by_area
from .precision import mixed_precision
from .runs import append_row
from .scenes import COLOR_LABELS, CONCEPTS, Scene, render_batch, sample_scene, scene_rng
from .stage2 import half_way, load_setokim
from .tasks import IGNORE, QUESTIONS_PER_IMAGE, Sequence
from .text import Edit, Speaker, ask_any, edit_any, refer
from .wordings import WORDINGS

TOKEN_WIDTH = 64
LLM = LlmConfig(
    vocab_size=960, hidden_size=128, intermediate_size=352, num_hidden_layers=4, max_position_embeddings=1024
)
DETOKENIZER = DetokenizerConfig(width=96, depth=2, heads=3, refine_channels=8)
TASK_ODDS = {"chat": 0.5, "segment": 0.2, "edit": 0.3}
MOST_TOKENS = 256
FIXED_TOKENS = 5  # the nearest whole number to the mean number of regions, with room for one more
POOL = 2  # patches down and across that become one


# --- ways of making tokens --------------------------------------------------------------------------------


@dataclass
class Made:
    """Tokens [B, K, D] with `valid` [B, K]; `labels` [B, N] the token of each patch, None where no patch has one."""

    tokens: Tensor
    valid: Tensor
    labels: Tensor | None
    extra_loss: Tensor | float = 0.0


class PatchTokens(nn.Module):
    """(a) A token for each patch, or for each square of `pool` x `pool` patches."""

    def __init__(self, config: ModelConfig, pool: int):
        super().__init__()
        self.pool, (rows, columns), width = pool, config.vision.grid, config.vision.width
        self.register_buffer("positions", sincos_positions((rows // pool, columns // pool), width), persistent=False)
        cell = (torch.arange(rows) // pool)[:, None] * (columns // pool) + torch.arange(columns) // pool
        self.register_buffer("cell", cell.flatten(), persistent=False)
        self.position = nn.Linear(width, width)
        self.mlp = Mlp(width, 3)
        self.out = nn.Linear(width, TOKEN_WIDTH)
        self.norm = nn.LayerNorm(TOKEN_WIDTH)

    def forward(self, features: Tensor, labels: Tensor, valid: Tensor) -> Made:
        count = len(self.positions)
        member = F.one_hot(self.cell, count).to(features.dtype)  # [N, K]
        x = member.T @ features / self.pool**2 + self.position(self.positions)
        tokens = self.norm(self.out(x + self.mlp(x)))
        return Made(tokens, valid.new_ones(len(x), count), self.cell.expand(len(x), -1))


class CodebookTokens(PatchTokens):
    """(b) As (a), each token replaced by the nearest of a learned codebook (VQ-VAE, straight-through)."""

    def __init__(self, config: ModelConfig, pool: int, codes: int = 512):
        super().__init__(config, pool)
        self.codes = nn.Parameter(torch.randn(codes, TOKEN_WIDTH))

    def forward(self, features: Tensor, labels: Tensor, valid: Tensor) -> Made:
        made = super().forward(features, labels, valid)
        tokens = made.tokens.float()
        code = self.codes[torch.cdist(tokens.flatten(0, 1), self.codes).argmin(-1)].view_as(tokens)
        loss = (code - tokens.detach()).square().mean() + 0.25 * (tokens - code.detach()).square().mean()
        return Made(tokens + (code - tokens).detach(), made.valid, made.labels, loss)


class QueryTokens(nn.Module):
    """(c) Learned queries that look at all patches, as a Q-Former or resampler has them."""

    def __init__(self, config: ModelConfig, count: int, depth: int = 2):
        super().__init__()
        width, heads = config.vision.width, config.merger.heads
        self.register_buffer("positions", sincos_positions(config.vision.grid, width), persistent=False)
        self.position = nn.Linear(width, width)
        self.queries = nn.Parameter(0.5 * torch.randn(count, width))
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(3 * depth))
        self.cross = nn.ModuleList(Attention(width, heads) for _ in range(depth))
        self.among = nn.ModuleList(Attention(width, heads) for _ in range(depth))
        self.mlp = nn.ModuleList(Mlp(width, 3) for _ in range(depth))
        self.out = nn.Linear(width, TOKEN_WIDTH)
        self.norm = nn.LayerNorm(TOKEN_WIDTH)

    def forward(self, features: Tensor, labels: Tensor, valid: Tensor) -> Made:
        context = features + self.position(self.positions)
        x = self.queries.expand(len(features), -1, -1)
        for i, (cross, among, mlp) in enumerate(zip(self.cross, self.among, self.mlp)):
            first, second, third = self.norms[3 * i : 3 * i + 3]
            x = x + cross(first(x), context)
            y = second(x)
            x = x + among(y, y)
            x = x + mlp(third(x))
        return Made(self.norm(self.out(x)), valid.new_ones(x.shape[:2]), None)


class ClusterTokens(nn.Module):
    """(d) SeTok: one token for each cluster, largest first."""

    def __init__(self, config: ModelConfig, inner: int = 1, inter: int = 1, positions: bool = True):
        super().__init__()
        self.merger = TokenMerger(
            dataclasses.replace(config.merger, inner_depth=inner, inter_depth=inter, token_width=TOKEN_WIDTH),
            config.vision.grid,
        )
        if not positions:
            self.merger.positions.zero_()

    def forward(self, features: Tensor, labels: Tensor, valid: Tensor) -> Made:
        return Made(self.merger(features, labels, valid), valid, labels)


@dataclass(frozen=True)
class Variant:
    title: str
    make: type[nn.Module]
    options: dict
    clustering: str = "dynamic"
    contrast: bool = True
    reconstruction: bool = True


VARIANTS = {
    "patches-256": Variant("(a) every patch", PatchTokens, {"pool": 1}),
    "patches-64": Variant("(a) patches, pooled", PatchTokens, {"pool": POOL}),
    "codebook-64": Variant("(b) codebook", CodebookTokens, {"pool": POOL}),
    "queries-4": Variant("(c) 4 learned queries", QueryTokens, {"count": 4}),
    "queries-8": Variant("(c) 8 learned queries", QueryTokens, {"count": 8}),
    "queries-16": Variant("(c) 16 learned queries", QueryTokens, {"count": 16}),
    "setok": Variant("(d) SeTok", ClusterTokens, {}),
    "setok-fixed": Variant("(d) always 5 clusters", ClusterTokens, {}, clustering="fixed"),
    "setok-no-inner": Variant("(d) no inner-cluster transformer", ClusterTokens, {"inner": 0}),
    "setok-no-inter": Variant("(d) no inter-cluster transformer", ClusterTokens, {"inter": 0}),
    "setok-mean": Variant("(d) mean instead of the merger", ClusterTokens, {"inner": 0, "inter": 0}),
    "setok-no-positions": Variant("(d) no positions", ClusterTokens, {"positions": False}),
    "setok-positions-first": Variant("(d) positions before the clustering", ClusterTokens, {}, clustering="positions"),
    "setok-no-contrast": Variant("(d) no contrastive loss", ClusterTokens, {}, contrast=False),
    "setok-no-reconstruction": Variant("(d) no reconstruction loss", ClusterTokens, {}, reconstruction=False),
}


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


def clusterings(config: ClusterConfig) -> dict[str, ClusterConfig]:
    return {
        "dynamic": config,
        "fixed": dataclasses.replace(config, threshold=-1.0, max_clusters=FIXED_TOKENS),
        "positions": dataclasses.replace(config, pos_scale=1.0),
    }


def images_to_tensor(images, device: torch.device) -> Tensor:
    """[B, S, S, 3] uint8 -> [B, 3, S, S] in [-1, 1]."""
    return torch.from_numpy(images).to(device).permute(0, 3, 1, 2).float() / 127.5 - 1


@torch.no_grad()
def look(model: Setokim, scenes: list[Scene], chunk: int = 50) -> Looked:
    parts = defaultdict(list)
    for first in range(0, len(scenes), chunk):
        batch = render_batch(scenes[first : first + chunk])
        with mixed_precision(torch.device("cpu")):
            features = model.vision(images_to_tensor(batch.images, torch.device("cpu")))
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
    return Scenes(split, scenes, edits, look(model, scenes), look(model, [edit.target for edit in edits]))


# --- model ------------------------------------------------------------------------------------------------


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
        self.said_name, self.said_color = nn.Linear(hidden, len(CONCEPTS)), nn.Linear(hidden, len(COLOR_LABELS))
        self.mask_query = nn.Sequential(nn.Linear(hidden, hidden), nn.GELU(), nn.Linear(hidden, 48))
        self.mask_features = nn.Linear(width, 48)
        self.drawn = nn.Linear(hidden, TOKEN_WIDTH)

    def tokens(self, looked: Looked, rows: list[int]) -> Made:
        kind = self.variant.clustering
        features = looked.features[rows].float()
        with mixed_precision(torch.device("cpu")):
            made = self.make(features, looked.labels[kind][rows], looked.valid[kind][rows])
        return dataclasses.replace(made, tokens=made.tokens.float())

    def paint(self, tokens: Tensor, valid: Tensor) -> Tensor:
        with mixed_precision(torch.device("cpu")):
            return self.detok(tokens, valid).float()


class PlainSpeaker(Speaker):
    """One wording for each kind of sentence: what is compared is tokens, not language."""

    def say(self, kind: str, **parts: str) -> str:
        return WORDINGS[kind][0].format(**parts)


@dataclass
class Turns:
    """Padded sequences, and where in them is what the losses want."""

    ids: Tensor  # [B, T]
    labels: Tensor  # [B, T]
    slots: Tensor  # [B, T] -1 for words
    read: list[tuple[int, int, int]]  # (row, position, token) of a picture's tokens
    to_draw: list[tuple[int, int, int]]  # (row, position, token) of the edited picture's tokens
    masks: list[tuple[int, int, int]]  # (row, position of [SEG], region)
    answers: list[tuple[int, int, int]]  # (row, first, end)


def write_turns(
    text: Tokenizer,
    data: Scenes,
    rows: list[int],
    tasks: list[str],
    speakers: list[Speaker],
    counts: list[int],
    after: dict[int, int],
) -> Turns:
    """`counts`: tokens of each picture; `after`: of the edited form of those that an instruction is about."""
    sequences, turns = [], Turns(*(torch.empty(0),) * 3, [], [], [], [])
    for b, (row, task, speaker) in enumerate(zip(rows, tasks, speakers)):
        scene, sequence = data.scenes[row], Sequence(SpecialTokens(), text, b)
        seen = (b, counts[b])
        if task == "chat":
            for turn in range(QUESTIONS_PER_IMAGE):
                question = ask_any(speaker, scene)
                sequence.user(question.question, *(seen if turn == 0 else ()))
                sequence.answer(question.kind, question.answer)
        elif task == "segment":
            region = int(speaker.rng.integers(len(scene.objects)))
            phrase = refer(speaker, scene, scene.objects[region]) or "the thing"
            sequence.user(speaker.say("segment", phrase=phrase), *seen)
            sequence.answer_mask(b, region)
        else:
            sequence.user(data.edits[row].instruction, *seen)
            sequence.answer_picture([(b, i) for i in range(after[b])])
        for place, source in enumerate(sequence.visual):
            if source:
                is_read = sequence.labels[place] == IGNORE
                (turns.read if is_read else turns.to_draw).append((b, place, source[1]))
        turns.masks += [(b, position, region) for position, _, region in sequence.masks]
        turns.answers += [(b, first, end) for kind, first, end in sequence.answers if kind != "segment"]
        sequences.append(sequence)
    length = max(len(s.ids) for s in sequences)
    turns.ids, turns.labels, turns.slots = (
        torch.tensor([getattr(s, name) + [fill] * (length - len(s.ids)) for s in sequences])
        for name, fill in (("ids", SpecialTokens.pad), ("labels", IGNORE), ("slots", -1))
    )
    return turns


def read_turns(model: Ablated, made: Made, turns: Turns) -> tuple[Tensor, Tensor]:
    """Hidden states [B, T, H], those after the last layer and those half-way up.

    Where a token is to be drawn stands only its slot: nothing of the answer is shown.
    """
    x = model.llm.embedding[turns.ids]
    x = torch.where((turns.slots >= 0)[..., None], model.slot(turns.slots.clamp(min=0)) + x, x)
    row, place, token = (list(column) for column in zip(*turns.read))
    where = torch.tensor(row), torch.tensor(place)
    with mixed_precision(torch.device("cpu")):
        seen = model.projector(made.tokens[row, token]).float()
        hidden, states = model.llm.read(x.index_put(where, seen, accumulate=True))
    return hidden.float(), half_way(states)


# --- training ---------------------------------------------------------------------------------------------

DECODED = 8  # pictures of a batch that are drawn again


def losses(
    model: Ablated, data: Scenes, rows: list[int], turns: Turns, made: Made, target: Tensor, edited: list[int]
) -> dict[str, Tensor]:
    """`target` [E, K, D]: tokens of the edited forms of the pictures `edited` of the batch."""
    before, (hidden, early) = data.before, read_turns(model, made, turns)
    learned = turns.labels[:, 1:] != IGNORE
    said = model.llm.logits(hidden[:, :-1][learned])
    terms = {"text": F.cross_entropy(said, turns.labels[:, 1:][learned]), "extra": torch.as_tensor(made.extra_loss)}
    if made.labels is not None:
        token_region = token_regions(made.labels, made.valid, before.regions[rows])
        names, colors = (of_region(attribute[rows], token_region) for attribute in (before.names, before.colors))
        if model.variant.contrast:
            terms["name"] = naming_loss(model.name(made.tokens), names)
            terms["color"] = naming_loss(model.color(made.tokens), colors)
        row, place, token = (list(column) for column in zip(*turns.read))
        at = early[row, place]
        terms["said"] = F.cross_entropy(model.said_name(at), names[row, token], ignore_index=-1)
        terms["said"] = terms["said"] + F.cross_entropy(model.said_color(at), colors[row, token], ignore_index=-1)
    if turns.masks:
        logits, true = mask_logits(model, before, rows, turns, hidden)
        terms["mask"] = F.binary_cross_entropy_with_logits(logits, true)
    if turns.to_draw:
        row, place, token = (list(column) for column in zip(*turns.to_draw))
        goal = target[[edited.index(b) for b in row], token]
        terms["drawn"] = F.mse_loss(model.drawn(hidden[row, place]), goal)
    shown, drawn_rows = made.tokens[:DECODED], rows[:DECODED]
    if not model.variant.reconstruction:  # the detokenizer learns to draw all the same, for the measurement
        shown = shown.detach()
    image = images_to_tensor(before.images[drawn_rows], torch.device("cpu"))
    again = model.paint(shown, made.valid[:DECODED])
    terms["pixel"] = pixel_loss(again, image, before.object_masks[drawn_rows])
    terms["edge"] = edge_loss(again, image)
    return terms


WEIGHTS = {"text": 1.0, "extra": 1.0, "name": 0.5, "color": 0.25, "said": 0.25, "mask": 1.0, "drawn": 1.0}
WEIGHTS |= {"pixel": 2.0, "edge": 0.5}


def mask_logits(model: Ablated, before: Looked, rows: list[int], turns: Turns, hidden: Tensor) -> tuple[Tensor, Tensor]:
    """Logits and truth by patch [n, N]."""
    b, place, region = (list(column) for column in zip(*turns.masks))
    pictures = [rows[i] for i in b]
    query = model.mask_query(hidden[b, place])
    logits = model.mask_features(before.features[pictures].float()) @ query[..., None] / query.shape[-1] ** 0.5
    return logits[..., 0], (before.regions[pictures] == torch.tensor(region)[:, None]).float()


def train(variant: Variant, config: ModelConfig, text: Tokenizer, data: Scenes, arguments, seed: int) -> Ablated:
    torch.manual_seed(seed)
    model = Ablated(variant, config)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, betas=(0.9, 0.95), weight_decay=0.05, fused=True)
    rate = torch.optim.lr_scheduler.OneCycleLR(optimizer, 1.5e-3, arguments.steps, pct_start=0.1)
    kinds, odds = list(TASK_ODDS), list(TASK_ODDS.values())
    for step in range(arguments.steps):
        rng = np.random.default_rng([seed, step])  # every variant learns from the same pictures and words
        rows = rng.permutation(len(data.scenes))[: arguments.batch].tolist()
        tasks = [kinds[i] for i in rng.choice(len(kinds), arguments.batch, p=odds)]
        speakers = [PlainSpeaker(np.random.default_rng([seed, step, b])) for b in range(arguments.batch)]
        made = model.tokens(data.before, rows)
        edited = [b for b, task in enumerate(tasks) if task == "edit"]
        with torch.no_grad():
            target = model.tokens(data.after, [rows[b] for b in edited])
        counts, after = made.valid.sum(1).tolist(), dict(zip(edited, target.valid.sum(1).tolist()))
        turns = write_turns(text, data, rows, tasks, speakers, counts, after)
        terms = losses(model, data, rows, turns, made, target.tokens, edited)
        optimizer.zero_grad()
        sum(WEIGHTS[name] * term for name, term in terms.items()).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        rate.step()
        if step % 50 == 0:
            print(f"  step {step}", {name: round(term.item(), 3) for name, term in terms.items()}, flush=True)
    return model.eval()


# --- measuring --------------------------------------------------------------------------------------------


@torch.no_grad()
def measure(model: Ablated, text: Tokenizer, data: Scenes, batch: int = 32) -> dict[str, float]:
    values = defaultdict(list)
    for first in range(0, len(data.scenes), batch):
        rows = list(range(first, min(first + batch, len(data.scenes))))
        made, target = model.tokens(data.before, rows), model.tokens(data.after, rows)
        counts, after = made.valid.sum(1).tolist(), dict(enumerate(target.valid.sum(1).tolist()))
        values["tokens"] += counts
        image = images_to_tensor(data.before.images[rows], torch.device("cpu"))
        again = model.paint(made.tokens, made.valid).clamp(-1, 1)
        values["psnr"] += psnr(again, image)
        for task in TASK_ODDS:
            speakers = [PlainSpeaker(scene_rng(data.split, 2**35 + row)) for row in rows]
            turns = write_turns(text, data, rows, [task] * len(rows), speakers, counts, after)
            hidden, _ = read_turns(model, made, turns)
            if task == "chat":
                said = model.llm.logits(hidden).argmax(-1)
                for b, start, end in turns.answers:
                    values["questions"].append(bool((said[b, start - 1 : end - 1] == turns.ids[b, start:end]).all()))
            elif task == "segment":
                logits, true = mask_logits(model, data.before, rows, turns, hidden)
                found, true = logits > 0, true > 0
                values["iou"] += ((found & true).sum(1) / (found | true).sum(1).clamp(min=1)).tolist()
            else:
                drawn = torch.zeros_like(target.tokens)
                row, place, token = (list(column) for column in zip(*turns.to_draw))
                drawn[row, token] = model.drawn(hidden[row, place])
                edited = model.paint(drawn, target.valid)
                values["edit"] += edit_success(edited, image, data.after.images[rows]).tolist()
    return {name: float(np.mean(v)) for name, v in values.items()}


def edit_success(edited: Tensor, before: Tensor, after: np.ndarray) -> Tensor:
    """Where the two differ, is the edited picture much nearer to what it should be than to what it was? [B] bool."""
    goal = images_to_tensor(after, torch.device("cpu"))
    changed = (goal != before).any(1, keepdim=True)
    to_goal, to_before = (((edited - picture).square() * changed).sum((1, 2, 3)) for picture in (goal, before))
    return to_goal < to_before / 2


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
    import matplotlib.pyplot as plt

    groups = {"(a)": "C0", "(b)": "C1", "(c)": "C2", "(d)": "C3"}
    fig, axes = plt.subplots(1, 3, figsize=(12, 4), layout="constrained")
    for axis, column in zip(axes, ("questions", "iou", "edit")):
        for name in list(VARIANTS)[:7]:
            runs = rows.get(name, [])
            color = groups[VARIANTS[name].title[:3]]
            axis.scatter([float(r["tokens"]) for r in runs], [float(r[column]) for r in runs], color=color, alpha=0.7)
            if runs:
                at = (float(runs[0]["tokens"]), np.mean([float(r[column]) for r in runs]))
                axis.annotate(name, at, (6, 0), textcoords="offset points", fontsize=8, va="center")
        axis.set(xscale="log", xlabel="tokens per picture", title=COLUMNS[column])
        axis.grid(alpha=0.3)
    fig.savefig(figure, dpi=110)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "checkpoint", type=Path, nargs="?", help="of stage 2 or later, or a model folder: its encoder is used"
    )
    parser.add_argument("--text", type=Path, default=Path("models/setokim-tiny/tokenizer.json"))
    parser.add_argument("--variants", nargs="*", choices=VARIANTS, default=list(VARIANTS))
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=500)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--scenes", type=int, default=2500, help="training scenes, each with one edit")
    parser.add_argument("--measured", type=int, default=256, help="scenes of `val`")
    parser.add_argument("--threads", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path("training/logs/ablations.csv"))
    parser.add_argument("--report", action="store_true", help="only print the table and write the figure")
    parser.add_argument("--figure", type=Path, default=Path("docs/images/ablations.png"))
    arguments = parser.parse_args()
    if arguments.report:
        return report(arguments.out, arguments.figure)
    if not arguments.checkpoint:
        parser.error("a checkpoint is needed, or --report")
    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    encoder, text = load_setokim(arguments.checkpoint), Tokenizer.from_file(str(arguments.text))
    data = look_at_split(encoder, "train", arguments.scenes)
    held_out = look_at_split(encoder, "val", arguments.measured)
    for seed in range(arguments.seeds):
        for name in arguments.variants:
            if any((row["variant"], row["seed"]) == (name, str(seed)) for row in read_rows(arguments.out)):
                continue
            print(name, "seed", seed, flush=True)
            started = time.monotonic()
            model = train(VARIANTS[name], encoder.tokenizer_config, text, data, arguments, seed)
            row = {"variant": name, "seed": seed, "steps": arguments.steps, **measure(model, text, held_out)}
            append_row(arguments.out, {**row, "seconds": round(time.monotonic() - started)})
            print("  measured", {k: round(v, 3) for k, v in row.items() if isinstance(v, float)}, flush=True)


if __name__ == "__main__":
    main()
