"""Stage I: neck and merger learn from captions, groups, a teacher's similarities and noun phrases.

Run by `python -m training.photo.run`; run again it goes on from its checkpoint.
"""

import random
import time
from collections import defaultdict
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .cache import FeatureCache
from .data import Phrase, cells_of_mask, load_captions, load_panoptic, load_phrases, load_voc_masks
from .decoder import CaptionDecoder
from .evaluate import evaluate_stage1
from .features import MapReader
from .loop import Run, autocast, ranks, shuffled
from .losses import UNKNOWN, grouping_loss, phrase_place_loss, phrase_token_loss, sampled_cosines, teacher_loss
from .smollm2 import embedding_table, load_tokenizer, reader
from .teacher import TeacherCache
from .text import Pieces, flipped, padded
from .tokenizer import Maps, PhotoTokenizer, TokenizerConfig, Tokens, cluster_share

WANTED_TOKENS = 8.5
PHRASES_PER_PHOTO = 3
SAMPLED_CELLS = 160
EMBEDDING = 128
WEIGHTS = {"caption": 1.0, "group": 1.0, "teacher": 3.0, "phrase": 0.15, "place": 0.15}


class PhraseEncoder(nn.Module):
    """Mean of the language model's word embeddings -> a direction in the space that tokens and cells share."""

    def __init__(self, word_width: int = 576, hidden: int = 512, width: int = EMBEDDING):
        super().__init__()
        self.fc1 = nn.Linear(word_width, hidden)
        self.fc2 = nn.Linear(hidden, width)

    def forward(self, mean: Tensor) -> Tensor:
        return F.normalize(self.fc2(F.gelu(self.fc1(mean))).float(), dim=-1)


class Stage1(nn.Module):
    """The tokenizer and what teaches it."""

    def __init__(self, config: TokenizerConfig, vocabulary: int):
        super().__init__()
        self.tokenizer = PhotoTokenizer(config)
        self.decoder = CaptionDecoder(vocabulary, config.token_width)
        self.phrase = PhraseEncoder()
        self.of_token = nn.Linear(config.token_width, EMBEDDING)
        self.of_cell = nn.Linear(config.width, EMBEDDING)
        self.scale = nn.Parameter(torch.tensor([2.5, 2.5]))  # logarithms

    def token_directions(self, tokens: Tensor) -> Tensor:
        return F.normalize(self.of_token(tokens).float(), dim=-1)

    def cell_directions(self, features: Tensor) -> Tensor:
        return F.normalize(self.of_cell(features).float(), dim=-1)


@dataclass
class Batch:
    """`captioned` photos with everything, then some that only have segments."""

    maps: Maps
    captioned: int
    pieces: Tensor  # [captioned * 5, T]
    segments: Tensor  # [B, N]
    teacher: Tensor  # [B, N, 64]
    taught: Tensor  # [B] true where there is a teacher
    phrases: Tensor  # [P, 576] mean embeddings
    phrase_photo: Tensor  # [P]
    phrase_cells: Tensor  # [P, N] share of each cell that is in the boxes
    phrase_text: list[str]


class Stage1Data:
    """Everything that stage I reads, and its batches: the same for the same step."""

    def __init__(
        self, photos, cache: FeatureCache, teacher: TeacherCache, reader_of_maps, grid: int, limit: int | None
    ):
        self.limit = limit
        gguf = reader()
        self.text = load_tokenizer(gguf)
        self.embeddings = embedding_table(gguf)
        self.photos, self.cache, self.teacher, self.reader, self.grid = photos, cache, teacher, reader_of_maps, grid
        self.captions = load_captions(photos)
        self.pieces = Pieces.of_captions(self.text, [c for of in self.captions["train"].values() for c in of])
        self.voc = load_voc_masks(photos, grid)
        self.panoptic = {name: panoptic_cells(ids, grid) for name, ids in load_panoptic(photos)["train2017"].items()}
        self.phrases: dict[str, list[Phrase]] = defaultdict(list)
        for phrase in load_phrases(photos)["train"]:
            self.phrases[phrase.image].append(phrase)
        self.refresh()

    def refresh(self) -> None:
        """Takes in photos whose maps have been computed since."""
        rows = self.cache.of_archives("flickr8k-train")
        self.train = sorted(name for name in self.captions["train"] if name in rows)[: self.limit]
        self.rows = rows
        coco = self.cache.of_archives("coco128")
        self.segmented = sorted(name for name in self.panoptic if name in coco)
        self.coco_rows = coco

    def phrase_mean(self, text: str) -> Tensor:
        return self.embeddings[self.text.encode(" " + text.lower()).ids].mean(0)

    def batch(self, names: list[str], segmented: list[str], rng: random.Random, dtype: torch.dtype) -> Batch:
        flip = rng.random() < 0.5
        rows = [self.rows[name] for name in names] + [self.coco_rows[name] for name in segmented]
        maps = self.reader.read(rows, dtype)
        segments = np.stack([voc_segments(self.voc[name]) for name in names] + [self.panoptic[n] for n in segmented])
        teacher, taught = self.teacher.read(rows)
        side = self.grid
        if flip:
            maps = maps.flipped()
            segments = segments[:, :, ::-1]
            teacher = teacher.unflatten(1, (side, side)).flip(2).flatten(1, 2)
        mirror = flipped if flip else str
        captions = [mirror(c) for name in names for c in self.captions["train"][name]]
        chosen = [
            (i, phrase)
            for i, name in enumerate(names)
            for phrase in rng.sample(self.phrases[name], min(PHRASES_PER_PHOTO, len(self.phrases[name])))
        ]
        return Batch(
            maps,
            len(names),
            padded([self.pieces.encode(c) for c in captions]),
            torch.from_numpy(segments.astype(np.int64).reshape(len(rows), -1)),
            teacher,
            taught,
            torch.stack([self.phrase_mean(mirror(p.text.lower())) for _, p in chosen]),
            torch.tensor([i for i, _ in chosen]),
            torch.stack([cells_in_boxes(p.boxes, side, flip) for _, p in chosen]),
            [p.text.lower() for _, p in chosen],
        )


def voc_segments(cells: np.ndarray) -> np.ndarray:
    """VOC classes with 255 for unsure cells -> UNKNOWN, BACKGROUND (0) or the class."""
    return np.where(cells == 255, UNKNOWN, cells.astype(np.int64))


def panoptic_cells(ids: np.ndarray, grid: int) -> np.ndarray:
    """Segment ids of pixels -> small numbers of cells, UNKNOWN where unlabelled or mixed."""
    _, numbers = np.unique(ids, return_inverse=True)
    numbers = numbers.reshape(ids.shape) + (1 if ids.min() > 0 else 0)
    cells = cells_of_mask(np.minimum(numbers, 254).astype(np.uint8), grid).astype(np.int64)
    return np.where((cells == 255) | (cells == 0), UNKNOWN, cells)


def cells_in_boxes(boxes: np.ndarray, grid: int, flip: bool) -> Tensor:
    """Share of each cell that lies in the union of the boxes, at sixteen points: [N]."""
    points = (np.arange(grid * 4) + 0.5) / (grid * 4)
    inside = np.zeros((grid * 4, grid * 4), bool)
    for x0, y0, x1, y1 in boxes:
        inside |= ((points >= y0) & (points <= y1))[:, None] & ((points >= x0) & (points <= x1))[None]
    if flip:
        inside = inside[:, ::-1]
    return torch.from_numpy(inside.reshape(grid, 4, grid, 4).mean((1, 3)).astype(np.float32)).flatten()


def tokens_inside(tokens: Tokens, batch: Batch) -> Tensor:
    """[P, B, K]: 1 where most of a token is in a phrase's box, 0 where it is something else, -1 where it is neither."""
    share = cluster_share(tokens.labels, tokens.valid.shape[1])  # [B, K, N]
    own = (share[batch.phrase_photo] @ batch.phrase_cells[:, :, None])[..., 0]  # [P, K]
    own = own.masked_fill(~tokens.valid[batch.phrase_photo], -1)
    positive = (own > 0.6) | (own >= own.amax(1, keepdim=True))
    inside = torch.where(positive, 1, torch.where(own > 0.3, -1, 0))
    everywhere = torch.where(tokens.valid, 0, -1)[None].repeat(len(own), 1, 1)
    for i, text in enumerate(batch.phrase_text):  # another photo's thing of the same name is not something else
        for j, other in enumerate(batch.phrase_text):
            if text == other and i != j:
                everywhere[i, batch.phrase_photo[j]] = -1
    inside = torch.where(tokens.valid[batch.phrase_photo], inside, -1)
    everywhere[torch.arange(len(own)), batch.phrase_photo] = inside
    return everywhere


def losses(model: Stage1, batch: Batch) -> tuple[Tensor, dict[str, Tensor], Tokens]:
    tokens = model.tokenizer(batch.maps)
    n = batch.captioned
    parts = {"caption": model.decoder.loss(tokens.tokens[:n], tokens.valid[:n], batch.pieces)}

    cells = torch.randperm(tokens.features.shape[1])[:SAMPLED_CELLS]
    cosines = sampled_cosines(tokens.features, cells)
    parts["group"] = grouping_loss(cosines, batch.segments[:, cells])
    if batch.taught.any():
        teacher = F.normalize(batch.teacher[batch.taught][:, cells].float(), dim=-1)
        parts["teacher"] = teacher_loss(cosines[batch.taught], teacher @ teacher.transpose(1, 2))

    scale = model.scale.clamp(max=4.0).exp()
    phrases = model.phrase(batch.phrases)
    flat = model.token_directions(tokens.tokens[:n]).flatten(0, 1)
    parts["phrase"] = phrase_token_loss(phrases, flat, tokens_inside_captioned(tokens, batch), scale[0])
    in_box = batch.phrase_cells > 0.5
    some = in_box.any(1)
    directions = model.cell_directions(tokens.features[:n])
    parts["place"] = phrase_place_loss(phrases[some], batch.phrase_photo[some], directions, in_box[some], scale[1])
    return sum(WEIGHTS[name] * part for name, part in parts.items()), parts, tokens


def tokens_inside_captioned(tokens: Tokens, batch: Batch) -> Tensor:
    n = batch.captioned
    first = Tokens(tokens.tokens[:n], tokens.valid[:n], tokens.labels[:n], tokens.features[:n])
    return tokens_inside(first, batch).flatten(1)


def open_stage1(args, device: torch.device) -> tuple[Stage1, Stage1Data]:
    """An untrained model and its data."""
    cache = FeatureCache(args.cache / "maps")
    reader = MapReader(cache, device)
    config = TokenizerConfig()
    teacher = TeacherCache(args.cache / "teacher", len(cache.rows))
    data = Stage1Data(args.photos, cache, teacher, reader, config.grid, args.limit)
    torch.manual_seed(0)
    return Stage1(config, len(data.pieces)).to(memory_format=torch.channels_last), data


SEGMENTED_PER_BATCH = 2


def train_stage1(args) -> None:
    device = torch.device("cpu")
    model, data = open_stage1(args, device)
    run = Run("stage1", model, args, args.stage1_steps, args.rate)
    if run.progress >= 1:
        return
    rng = random.Random(1000 * run.step + ranks()[0])
    torch.manual_seed(rng.getrandbits(32))
    names, groups = shuffled(data.train, rng), shuffled(data.segmented, rng)

    def evaluate(limit: int) -> dict:
        return evaluate_stage1(model, data, args.photos, limit, args.cache / "stage1-examples.json")

    dtype = torch.bfloat16 if args.bfloat16 else torch.float32
    print(f"stage I: {len(data.pieces)} pieces, {len(data.train)} photos, from step {run.step}", flush=True)
    model.train()
    while run.progress < 1:
        started = time.time()
        segmented = [next(groups) for _ in range(SEGMENTED_PER_BATCH)] if data.segmented else []
        batch = data.batch([next(names) for _ in range(args.batch)], segmented, rng, dtype)
        with autocast(args.bfloat16, device):
            loss, parts, tokens = losses(model, batch)
        run.update(loss, len(batch.pieces), started)
        model.tokenizer.follow(tokens.valid, WANTED_TOKENS)
        count = tokens.valid.sum(1).float().mean()
        run.note({name: float(part.detach()) for name, part in parts.items()} | {"tokens": float(count)})
        run.tend(evaluate)
    run.finish(evaluate)
