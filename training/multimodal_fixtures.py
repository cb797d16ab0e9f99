"""Golden answers of the four tasks: `python -m training.multimodal_fixtures`, after `training.fixtures_llm`.

The model is tests/fixtures/tiny-setokim, read back from its files. Its weights are random, so what it says means
nothing, but every word, token, pixel and mask of it is decided. Everything is greedy and drawn from no noise; each step
reads the whole sequence anew in float64, without a cache. `segment` and `edit` may not answer in words. Questions are
searched until no step is close to call and the answer shows something (some tokens kept and some drawn, say).
"""

import argparse
import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from tokenizers import Tokenizer
from torch import Tensor

from .answer import Answer, Drawing, Picture, Sequence, look, paste, prompt, respond
from .bundle import read_bundle
from .fixtures import FIXTURES, save, tiny_picture
from .fixtures_llm import GREEDY_MARGIN
from .model.mask_head import full_size
from .model.setokim import Setokim
from .sprites import SPRITES
from .text import CELLS

STEPS = 5
ANSWER = 12  # tokens at the most
LAYOUT_MARGIN = 1e-3  # of every patch to its second token
MASK_MARGIN = 1e-3  # of every pixel's logit to 0
ATTEMPTS = 4000
SOURCES = 40


class TooClose(Exception):
    pass


def seen(model: Setokim, seed: int) -> Picture:
    return look(model, tiny_picture(seed).double())


def answered(model: Setokim, text: Tokenizer, sequence: Sequence, source: Picture | None, may: set[str]) -> Answer:
    drawing = Drawing(noise=torch.zeros_like, steps=STEPS, guidance=2.0)
    return respond(model, text, sequence, source, may, drawing, limit=ANSWER, choose=choose)


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
        pictures = [seen(model, seed), seen(model, seed + 1)]
        answer = answered(model, text, prompt(model, text, words, pictures), pictures[-1], {"text", "mask", "picture"})
        is_text = min(answer.ids) >= model.config.special_tokens.keep_first
        wanted = is_text and len(pictures[0].tokens) != len(pictures[1].tokens)
        return wanted and {"ids": torch.tensor(answer.ids), "second": tiny_picture(seed + 1)}

    def find(words, seed):
        picture = seen(model, seed)
        answer = answered(model, text, prompt(model, text, f"segment {words}", [picture]), picture, {"mask"})
        found = segment(model, picture, answer.hidden)
        some = 0.1 < found["mask"].float().mean() < 0.9
        return some and {"ids": torch.tensor(answer.ids), **found}

    def draw(words, seed):
        answer = answered(model, text, prompt(model, text, f"draw {words}", []), None, {"picture"})
        if len(answer.tokens) < 2:
            return None
        drawn = paint(model, answer.tokens)
        return {"ids": torch.tensor(answer.ids), "tokens": torch.stack(answer.tokens), **drawn}

    def edit(words, seed):
        picture = seen(model, seed)
        answer = answered(model, text, prompt(model, text, words, [picture]), picture, {"picture"})
        if not (answer.tokens and -1 in answer.kept and max(answer.kept) >= 0):
            return None
        drawn = paint(model, answer.tokens)
        before = paint(model, list(picture.tokens))["pixels"]
        pasted = paste(drawn["pixels"], drawn["labels"], answer.kept, picture, tiny_picture(seed), before)
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
