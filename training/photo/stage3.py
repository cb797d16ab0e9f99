"""Stage III: questions, phrases with masks and refusals, beside captions, from stage II's weights."""

import csv
import io
import json
import random
import tarfile
import time
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from .data import Phrase, load_phrases, load_voc_masks
from .evaluate import in_batches
from .loop import Run, ranks, shuffled
from .mask_head import MaskHead, box_loss, mask_loss
from .packs import DESCRIBE, Pack, PackBatch, natural, packed
from .questions import THINGS, article, is_absent, questions, words
from .score import score_phrases
from .stage1 import Stage1, cells_in_boxes
from .stage2 import PhotoLanguage, Stage2Data, evaluate_stage2, open_stage2
from .text import flipped
from .tokenizer import Summary

SEG = "<file_sep>"
FIND = "Segment {}."
VOC = {"person": 15, "man": 15, "woman": 15, "boy": 15, "girl": 15, "child": 15, "people": 15, "men": 15, "women": 15,
       "children": 15, "dog": 12, "dogs": 12, "cat": 8, "horse": 13, "bird": 3, "boat": 4, "car": 7,
       "bicycle": 2, "bike": 2, "motorcycle": 14}  # fmt: skip
MASK_WEIGHT = 0.5


@dataclass
class Wanted:
    """A mask that a [SEG] of the batch must give."""

    photo: int  # in the batch
    branch: int  # of the photo's pack
    inside: Tensor  # [h, w] cells of the boxes, at stride 8
    mask: Tensor | None  # [h, w] where it is known well


class PhotoTasks(PhotoLanguage):
    """Stage II's model with a mask head."""

    def __init__(self, config, gguf, dtype):
        super().__init__(config, gguf, dtype)
        self.mask_head = MaskHead(self.language.config.hidden, config.width, config.channels8, config.norm_eps)


class Stage3Data:
    def __init__(self, second: Stage2Data, photos: Path, side: int):
        self.second, self.side = second, side
        self.phrases: dict[str, list[Phrase]] = defaultdict(list)
        for phrase in load_phrases(photos)["train"]:
            self.phrases[phrase.image].append(phrase)
        self.voc = load_voc_masks(photos, side)
        self.indoor = load_daquar(photos)["train"]
        self.indoor_rows = second.first.cache.of_archives("daquar")
        self.indoor_names = sorted(name for name in self.indoor if name in self.indoor_rows)[: second.first.limit]
        self.seg = second.first.text.encode(SEG).ids
        used = set(second.used.tolist())
        texts = [answer for pairs in self.indoor.values() for _, answer in pairs]
        texts += ["Yes, there is no one two three four five six seven eight nine ten.", *THINGS]
        for text in texts:
            used |= set(second.first.text.encode(text.capitalize() + ".").ids) | set(
                second.first.text.encode(" " + text).ids
            )
        second.used = torch.tensor(sorted(used | set(self.seg)))

    def pairs(self, name: str, flip: int, rng: random.Random) -> list[tuple[str, str]]:
        captions = self.second.captions["train"][name]
        turned = [flipped(caption) for caption in captions] if flip else captions
        kind = rng.random()
        if kind < 0.4:
            return [(rng.choice(DESCRIBE), natural(caption)) for caption in rng.sample(turned, 3)]
        return questions(turned, rng, 5)

    def finds(self, name: str, flip: int, rng: random.Random) -> tuple[list[tuple[str, str]], list]:
        """Phrases that are there, with their masks, and one that is not."""
        said = words(self.second.captions["train"][name])
        found = rng.sample(self.phrases[name], min(3, len(self.phrases[name])))
        mirror = flipped if flip else str
        pairs = [(FIND.format(mirror(phrase.text.lower())), SEG) for phrase in found]
        masks = [self.labels(name, phrase, flip) for phrase in found]
        absent = [thing for thing in THINGS if is_absent(thing, said)]
        if absent:
            thing = rng.choice(absent)
            pairs.append(
                (FIND.format(rng.choice((thing, "the " + thing, article(thing)))), f"There is no {thing} in the photo.")
            )
        return pairs, masks

    def labels(self, name: str, phrase: Phrase, flip: int) -> tuple[Tensor, Tensor | None]:
        inside = cells_in_boxes(phrase.boxes, self.side, bool(flip)).view(self.side, self.side) > 0.5
        noun = phrase.text.lower().split()[-1]
        voc = self.voc[name][:, ::-1] if flip else self.voc[name]
        mask = torch.from_numpy(voc == VOC.get(noun, 254)) & inside
        return inside, mask if mask.sum() > 0.2 * inside.sum() else None

    def batch(self, names: list[str], indoor: list[str], rng: random.Random):
        flips = [rng.randrange(2) for _ in names] + [0] * len(indoor)
        prompts = self.second.prompts
        rows = [self.second.rows[name] for name in names] + [self.indoor_rows[name] for name in indoor]
        summary = self.second.summaries.read(rows, flips)
        hints = self.second.hints(summary, rng)
        packs: list[Pack] = []
        wanted: list[Wanted] = []
        for i, name in enumerate(names):
            if rng.random() < 0.5 and self.phrases[name]:
                pairs, masks = self.finds(name, flips[i], rng)
                wanted += [Wanted(i, j, *labels) for j, labels in enumerate(masks)]
            else:
                pairs = self.pairs(name, flips[i], rng)
            packs.append(prompts.questions(pairs, hints[i]))
        for name, hint in zip(indoor, hints[len(names) :]):
            chosen = rng.sample(self.indoor[name], min(5, len(self.indoor[name])))
            packs.append(prompts.questions([(q.capitalize() + "?", a.capitalize() + ".") for q, a in chosen], hint))
        batch = packed(packs, summary.valid.sum(1).tolist())
        return summary, batch, wanted, rows, flips, sum(len(pack.branches) for pack in packs)


def load_daquar(photos: Path) -> dict[str, dict[str, list[tuple[str, str]]]]:
    """split -> image -> pairs of question and answer."""
    found: dict[str, dict[str, list[tuple[str, str]]]] = {}
    with tarfile.open(photos / "daquar.tar") as tar:
        for split in ("train", "eval"):
            pairs: dict[str, list[tuple[str, str]]] = defaultdict(list)
            text = io.TextIOWrapper(tar.extractfile(f"{split}.csv"))
            for row in csv.DictReader(text):
                pairs[row["image_id"] + ".jpg"].append((row["question"].strip(), row["answer"].strip()))
            found[split] = pairs
    return found


def seg_states(hidden: Tensor, batch: PackBatch, wanted: list[Wanted], seg: int) -> Tensor:
    """Hidden states where the wanted branches wrote [SEG]: branches of a photo are in their order."""
    states = []
    for want in wanted:
        places = (batch.ids[want.photo] == seg).nonzero()[:, 0]
        states.append(hidden[want.photo, places[want.branch]])
    return torch.stack(states)


def losses(model: PhotoTasks, first: Stage1, data: Stage3Data, made) -> tuple[Tensor, dict[str, Tensor]]:
    summary, batch, wanted, rows, flips, _ = made
    hidden = model.hidden(summary, batch)
    vocabulary = data.second.vocabulary_rows(batch.target, len(model.language.embedding))
    parts = {"text": model.text_loss(hidden, batch, vocabulary)}
    total = parts["text"]
    if wanted:
        states = seg_states(hidden, batch, wanted, data.seg[0]).float()
        photos = sorted({want.photo for want in wanted})
        with torch.no_grad():
            features, stride8 = zip(*(features_of(first, data, rows[i], flips[i]) for i in photos))
        places = model.mask_head.places(torch.cat(features), torch.cat(stride8))
        logits = model.mask_head(states, places[[photos.index(want.photo) for want in wanted]])
        parts["box"] = box_loss(logits, torch.stack([want.inside for want in wanted]))
        strong = [i for i, want in enumerate(wanted) if want.mask is not None]
        if strong:
            parts["mask"] = mask_loss(logits[strong], torch.stack([wanted[i].mask for i in strong]))
        total = total + MASK_WEIGHT * sum(part for name, part in parts.items() if name != "text")
    return total, parts


def features_of(first: Stage1, data: Stage3Data, row: int, flip: int) -> tuple[Tensor, Tensor]:
    maps = data.second.first.reader.read([row])
    maps = maps.flipped() if flip else maps
    return first.tokenizer.features(maps), maps.stride8


@torch.no_grad()
def answers(model: PhotoTasks, data: Stage3Data, rows: list[int], question: str, length: int = 12) -> list[str]:
    """The model's answers to one question about each photo."""
    said: list[str] = []
    for group in in_batches(rows):
        summary: Summary = data.second.summaries.read(group, [0] * len(group))
        ids = model.greedy(summary, data.second.prompts, question, data.second.namer.of_photos(summary), length)
        said += [data.second.first.text.decode(line, skip_special_tokens=False) for line in ids]
    return said


@torch.no_grad()
def find(model: PhotoTasks, first: Stage1, data: Stage3Data, row: int, phrase: str) -> dict:
    """One phrase in one photo: found, score, box and point, as `setokim eval` writes them."""
    prompts = data.second.prompts
    summary = data.second.summaries.read([row], [0])
    pack = prompts.questions([(FIND.format(phrase.lower()), SEG)], data.second.namer.of_photos(summary)[0])
    batch = packed([pack], summary.valid.sum(1).tolist())
    hidden = model.hidden(summary, batch)
    before = hidden[batch.photo[:1], batch.source[:1]]
    probability = torch.softmax((before @ model.language.embedding.T).float(), -1)[0, data.seg[0]]
    state = seg_states(hidden, batch, [Wanted(0, 0, torch.empty(0), None)], data.seg[0]).float()
    features, stride8 = features_of(first, data, row, 0)
    logits = model.mask_head(state, model.mask_head.places(features, stride8))[0]
    mask = (logits > min(0.0, float(logits.max()) - 0.5)).numpy()
    side = mask.shape[0]
    ys, xs = np.where(mask)
    best = int(logits.argmax())
    box = [xs.min() / side, ys.min() / side, (xs.max() + 1) / side, (ys.max() + 1) / side]
    return {
        "found": bool(probability > 0.5),
        "score": round(float(probability), 4),
        "box": [round(float(value), 4) for value in box],
        "point": [(best % side + 0.5) / side, (best // side + 0.5) / side],
    }


def evaluate_stage3(model: PhotoTasks, first: Stage1, data: Stage3Data, photos: Path, limit: int, out: Path) -> dict:
    start = time.time()
    scores = evaluate_stage2(model, data.second, limit, out)
    known = [p for p in load_phrases(photos)["dev"] if p.size_known and p.image in data.second.rows][:limit]
    lines = [
        {"image": p.image, "phrase": p.text} | find(model, first, data, data.second.rows[p.image], p.text)
        for p in known
    ]
    scores |= score_phrases(lines, {(p.image, p.text): p.boxes for p in known})
    scores["phrases_found"] = round(float(np.mean([line["found"] for line in lines])), 4)
    rng = random.Random(0)
    refused = []
    for name in data.second.dev[: limit // 2]:
        absent = [thing for thing in THINGS if is_absent(thing, words(data.second.captions["dev"][name]))]
        refused.append(not find(model, first, data, data.second.rows[name], rng.choice(absent))["found"])
    scores["absent_refused"] = round(float(np.mean(refused)), 4)
    scores |= evaluate_daquar(model, data, photos, limit)
    with out.open("a") as file:
        file.writelines(json.dumps(line) + "\n" for line in lines)
    return scores | {"seconds": round(time.time() - start)}


def evaluate_daquar(model: PhotoTasks, data: Stage3Data, photos: Path, limit: int) -> dict[str, float]:
    """Exact answers to the questions of DAQUAR's eval split."""
    items = [(name, *pair) for name, pairs in load_daquar(photos)["eval"].items() for pair in pairs]
    items = [item for item in items if data.second.summaries.count[data.indoor_rows[item[0]]].all()][:limit]
    right = []
    for name, question, answer in items:
        said = answers(model, data, [data.indoor_rows[name]], question.capitalize() + "?")[0]
        right.append(said.strip(" .").lower() == answer.lower())
    return {"daquar": round(float(np.mean(right)), 4)}


def train_stage3(args) -> None:
    device = torch.device("cpu")
    model, second, first = open_stage2(args, device, PhotoTasks)
    saved = torch.load(args.cache / "stage2.pt", map_location="cpu", weights_only=False)
    model.load_state_dict(saved["average"], strict=False)
    data = Stage3Data(second, args.photos, 2 * first.tokenizer.config.grid)
    asked = list(load_daquar(args.photos)["eval"])[: args.limit]
    indoors = [data.indoor_rows[name] for name in {*data.indoor_names, *asked}]
    second.summaries.fill(first.tokenizer, second.first.reader, sorted(indoors))
    run = Run("stage3", model, args, args.stage3_steps, args.language_rate / 2, decay=0.01)
    if run.progress >= 1:
        return
    rng = random.Random(1000 * run.step + ranks()[0] + 13)
    torch.manual_seed(rng.getrandbits(32))
    names, indoor = shuffled(second.train, rng), shuffled(data.indoor_names, rng)

    def evaluate(limit: int) -> dict:
        return evaluate_stage3(model, first, data, args.photos, limit, args.cache / "stage3-dev.jsonl")

    print(f"stage III: {len(second.train)} photos, {len(data.indoor_names)} indoors, from step {run.step}", flush=True)
    model.train()
    while run.progress < 1:
        started = time.time()
        count = args.language_batch
        made = data.batch([next(names) for _ in range(count - 1)], [next(indoor)], rng)
        loss, parts = losses(model, first, data, made)
        run.update(loss, made[-1], started)
        run.note({name: float(part.detach()) for name, part in parts.items()})
        run.tend(evaluate)
    run.finish(evaluate)
