"""Golden answers of the four tasks: `python -m training.multimodal_fixtures`, after `training.fixtures_llm`.

The model is tests/fixtures/tiny-setokim, read back from its files. Its weights are random, so what it says means
nothing, but every word, token, pixel and mask of it is decided. Everything is greedy and drawn from no noise; each step
reads the whole sequence anew in float64, without a cache. `segment` and `edit` may not answer in words. Questions are
searched until no step is close to call and the answer shows something (some tokens kept and some drawn, say).
"""

import argparse
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from tokenizers import Tokenizer
from torch import Tensor

from .bundle import read_bundle
from .fixtures import FIXTURES, save, tiny_picture
from .fixtures_llm import GREEDY_MARGIN
from .model.cluster import cluster_features
from .model.mask_head import full_size
from .model.setokim import Setokim, order_by_area
from .sprites import SPRITES
from .text import CELLS

STEPS = 5
ANSWER = 12  # tokens at the most
LAYOUT_MARGIN = 1e-3  # of every patch to its second token
MASK_MARGIN = 1e-3  # of every pixel's logit to 0
ATTEMPTS = 4000
SOURCES = 40


@dataclass
class Picture:
    """A picture as the language model reads it."""

    image: Tensor  # [1, 3, S, S]
    features: Tensor  # [1, N, C]
    labels: Tensor  # [N] token of each patch, largest first
    ids: Tensor  # [L] cluster of each token
    tokens: Tensor  # [L, D] normalised


def look(model: Setokim, seed: int) -> Picture:
    image = (tiny_picture(seed).double() / 127.5 - 1).permute(2, 0, 1)[None]
    config = model.tokenizer_config
    features = torch.nn.functional.layer_norm(model.vision(image), (config.vision.width,), eps=config.cluster.norm_eps)
    clusters = cluster_features(features, config.vision.grid, config.cluster)
    order = order_by_area(clusters.labels, clusters.valid)[0, : int(clusters.valid.sum())]
    tokens = model.setok["merger"](features, clusters.labels, clusters.valid)[0, order]
    labels = order.argsort()[clusters.labels[0]]
    return Picture(image, features, labels, order, model.projector.normalize(tokens))


@dataclass
class Sequence:
    """What has been read so far."""

    ids: list[int] = field(default_factory=list)
    slots: list[int] = field(default_factory=list)
    visual: list[Tensor] = field(default_factory=list)

    def word(self, *ids: int) -> None:
        for token in ids:
            self.ids.append(token)
            self.slots.append(-1)
            self.visual.append(torch.zeros(WIDTH).double())

    def token(self, slot: int, value: Tensor) -> None:
        self.ids.append(0)  # a visual token has no word
        self.slots.append(slot)
        self.visual.append(value)


WIDTH = 8  # of a token


def prompt(model: Setokim, text: Tokenizer, words: str, pictures: list[Picture]) -> Sequence:
    special, sequence = model.config.special_tokens, Sequence()
    sequence.word(special.begin, special.user)
    for picture in pictures:
        sequence.word(special.image_start)
        for slot, value in enumerate(picture.tokens):
            sequence.token(slot, value)
        sequence.word(special.image_end)
    sequence.word(*text.encode(words).ids, special.end, special.assistant)
    return sequence


@dataclass
class Answer:
    ids: list[int] = field(default_factory=list)  # as chosen, the last one included
    tokens: list[Tensor] = field(default_factory=list)
    kept: list[int] = field(default_factory=list)  # source token of each, or -1
    hidden: Tensor | None = None  # at [SEG]


class TooClose(Exception):
    pass


def respond(model: Setokim, text: Tokenizer, sequence: Sequence, source: Picture | None, may: set[str]) -> Answer:
    """One answer. `may` names what it may hold: text, mask, picture."""
    special, answer, drawing = model.config.special_tokens, Answer(), False
    words = set(range(special.keep_first + special.keep_count, text.get_vocab_size()))
    while len(answer.ids) < ANSWER:
        hidden = model(*(t[None] for t in tensors(sequence)))[0]
        if drawing:
            allowed = {special.image_end} if answer.tokens else set()
            if len(answer.tokens) < model.tokenizer_config.cluster.max_clusters:
                fresh = range(len(source.tokens)) if source else []
                allowed |= {special.visual} | {special.keep_first + i for i in fresh if i not in answer.kept}
        else:
            allowed = words | {special.end} if "text" in may else set()
            allowed |= {special.segment} if "mask" in may else set()
            allowed |= {special.image_start} if "picture" in may else set()
        chosen = choose(model.llm.logits(hidden[-1]), allowed)
        answer.ids.append(chosen)
        if chosen == special.end:
            break
        if chosen == special.visual:
            noise = torch.zeros(1, WIDTH).double()
            value = model.diffusion.sample(noise, hidden[-1:], steps=STEPS, guidance=2.0)[0]
            answer.kept.append(-1)
        elif chosen >= special.keep_first and chosen < special.keep_first + special.keep_count:
            value = source.tokens[chosen - special.keep_first]
            answer.kept.append(chosen - special.keep_first)
        else:
            sequence.word(chosen)
            if chosen == special.segment:
                answer.hidden = model(*(t[None] for t in tensors(sequence)))[0, -1:]
                break
            if chosen == special.image_end:
                break
            drawing = drawing or chosen == special.image_start
            continue
        sequence.token(len(answer.tokens), value)
        answer.tokens.append(value)
    return answer


def tensors(sequence: Sequence) -> tuple[Tensor, Tensor, Tensor]:
    return torch.tensor(sequence.ids), torch.tensor(sequence.slots), torch.stack(sequence.visual)


def choose(logits: Tensor, allowed: set[int]) -> int:
    open_logits = torch.full_like(logits, -torch.inf)
    index = sorted(allowed)
    open_logits[index] = logits[index]
    best = open_logits.topk(2)
    if best.values[0] - best.values[1] < GREEDY_MARGIN:
        raise TooClose
    return int(best.indices[0])


def paint(model: Setokim, tokens: list[Tensor]) -> dict[str, Tensor]:
    raw = model.projector.denormalize(torch.stack(tokens))[None]
    valid = torch.ones(1, len(tokens), dtype=torch.bool)
    values = (model.detok(raw, valid)[0].clamp(-1, 1) + 1) * 127.5
    best = model.detok.layout(raw, valid)[0].topk(min(2, len(tokens)))
    if best.values.shape[1] == 2 and (best.values[:, 0] - best.values[:, 1]).min() < LAYOUT_MARGIN:
        raise TooClose
    return {"pixels": values.round().byte().permute(1, 2, 0), "labels": best.indices[:, 0]}


def paste(drawn: dict[str, Tensor], kept: list[int], picture: Picture, original: Tensor) -> Tensor:
    """The source's own pixels wherever a kept token still owns what it owned."""
    changed = torch.tensor(
        [int(before) not in kept or kept[int(now)] < 0 for before, now in zip(picture.labels, drawn["labels"])]
    )
    side = int(len(changed) ** 0.5)
    patch = original.shape[0] // side
    mask = changed.view(side, side).repeat_interleave(patch, 0).repeat_interleave(patch, 1)[..., None]
    return torch.where(mask, drawn["pixels"], original)


def segment(model: Setokim, picture: Picture, hidden: Tensor) -> dict[str, Tensor]:
    stride2, stride4 = model.vision.stem_stages(picture.image)
    logits = model.mask_head(hidden, picture.features, stride4, stride2)
    large = full_size(logits, picture.image.shape[-1])
    if large.abs().min() < MASK_MARGIN or logits.abs().min() < MASK_MARGIN:
        raise TooClose
    inside = logits > 0
    score = logits.sigmoid()[inside].mean() if inside.any() else torch.zeros(()).double()
    return {"mask": (large[0] > 0).to(torch.uint8), "score": score[None]}


def phrases() -> Iterator[str]:
    """Nonsense of known words: a random model is moved by nothing less."""
    rng = np.random.default_rng(0)
    words = [*SPRITES.names, *SPRITES.colors, *CELLS, "the", "a", "on", "of", "?", "at"]
    while True:
        yield " ".join(rng.choice(words, rng.integers(1, 7)))


@torch.no_grad()
def write_task_fixtures(folder: Path) -> None:
    """tasks_tiny.safetensors and tasks_tiny.json, what was asked."""
    bundle = folder / "tiny-setokim"
    model, text = read_bundle(bundle).double(), Tokenizer.from_file(str(bundle / "tokenizer.json"))
    asked, golden = {}, {}

    def search(task, attempt):
        for words, attempts in zip(phrases(), range(ATTEMPTS)):
            seed = attempts % SOURCES
            try:
                found = attempt(words, seed)
            except TooClose:
                continue
            if found:
                asked[task] = {"words": words}
                golden[f"{task}.source"] = tiny_picture(seed)
                golden.update({f"{task}.{name}": tensor for name, tensor in found.items()})
                return
        raise RuntimeError(f"no question gives a clear answer to {task}")

    def chat(words, seed):
        pictures = [look(model, seed), look(model, seed + 1)]
        answer = respond(model, text, prompt(model, text, words, pictures), pictures[-1], {"text", "mask", "picture"})
        is_text = min(answer.ids) >= model.config.special_tokens.keep_first
        wanted = is_text and len(pictures[0].tokens) != len(pictures[1].tokens)
        return wanted and {"ids": torch.tensor(answer.ids), "second": tiny_picture(seed + 1)}

    def find(words, seed):
        picture = look(model, seed)
        answer = respond(model, text, prompt(model, text, f"segment {words}", [picture]), picture, {"mask"})
        found = segment(model, picture, answer.hidden)
        some = 0.1 < found["mask"].float().mean() < 0.9
        return some and {"ids": torch.tensor(answer.ids), **found}

    def draw(words, seed):
        answer = respond(model, text, prompt(model, text, f"draw {words}", []), None, {"picture"})
        if len(answer.tokens) < 2:
            return None
        drawn = paint(model, answer.tokens)
        return {"ids": torch.tensor(answer.ids), "tokens": torch.stack(answer.tokens), **drawn}

    def edit(words, seed):
        picture = look(model, seed)
        answer = respond(model, text, prompt(model, text, words, [picture]), picture, {"picture"})
        if not (answer.tokens and -1 in answer.kept and max(answer.kept) >= 0):
            return None
        drawn = paint(model, answer.tokens)
        pasted = paste(drawn, answer.kept, picture, tiny_picture(seed))
        if (pasted == drawn["pixels"]).all():
            return None  # nothing of the source is left
        ids = torch.tensor(answer.ids)
        kept = torch.tensor([-1 if k < 0 else int(picture.ids[k]) for k in answer.kept])
        return {"ids": ids, "tokens": torch.stack(answer.tokens), "kept": kept, "pasted": pasted, **drawn}

    search("chat", chat)
    search("segment", find)
    search("generate", draw)
    search("edit", edit)
    save(folder / "tasks_tiny.safetensors", golden)
    settings = {"steps": STEPS, "guidance": 2.0, "temperature": 0.0, "max_tokens": ANSWER}
    (folder / "tasks_tiny.json").write_text(json.dumps(asked | {"settings": settings}, indent=2) + "\n")
    for task in asked:
        print(task, asked[task], golden[f"{task}.ids"].tolist())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=FIXTURES)
    write_task_fixtures(parser.parse_args().out)


if __name__ == "__main__":
    main()
