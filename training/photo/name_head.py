"""Names of tokens: `python -m training.photo.name_head --photos DIR --cache CACHE`, after stage I.

One linear layer over the encoder's head map, pooled over a cluster. It learns from captions which nouns a photo must
show somewhere (noisy-or over its tokens), and from VOC masks which tokens are people, animals and vehicles. What no
caption of the photos names is left to the encoder's own classes, folded into nouns (class_nouns.txt).
"""

import argparse
import re
from collections import Counter
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .cache import CACHE, FeatureCache
from .data import PHOTOS, load_captions, load_voc_masks
from .encoder import pretrained_encoder
from .evaluate import in_batches
from .features import MapReader
from .names import BACKGROUNDS, THINGS, WORDS, class_nouns
from .tokenizer import PhotoTokenizer, Summary, TokenizerConfig, by_area, cluster_share, pool_head

LEAST = 40  # photos whose captions say a noun, for it to be learned
PEOPLE = ("person", "man", "woman", "boy", "girl", "child", "baby", "crowd", "player")
VOC = {1: ("airplane",), 2: ("bicycle",), 3: ("bird",), 4: ("boat",), 5: ("bottle",), 6: ("bus",), 7: ("car",),
       8: ("cat",), 9: ("chair",), 10: ("cow",), 11: ("table",), 12: ("dog",), 13: ("horse",), 14: ("motorcycle",),
       15: PEOPLE, 16: ("plant",), 17: ("sheep",), 18: ("couch",), 19: ("train",), 20: ("television",)}  # fmt: skip
SILENCE = 0.1  # weight of nouns that no caption says: many things are not worth saying
MASKS = 1.0  # weight of tokens that a mask tells
STEPS, BATCH, RATE = 1500, 256, 2e-3
UNSURE = 0.4  # probability of the likeliest name below which none is given; README.md has what other limits give on dev
MOST_NAMES = 6  # that the language model is told


def said_nouns(captions: list[str]) -> Counter:
    """noun -> how many of the captions say it, in one of its forms."""
    counts: Counter = Counter()
    for caption in captions:
        words = set(re.findall(r"[a-z]+", caption.lower()))
        counts.update({noun for noun, forms in FORMS.items() if forms & words})
    return counts


FORMS = {noun: {noun, noun + "s", noun + "es", *WORDS.get(noun, "").split()} for noun in (*THINGS, *BACKGROUNDS)}


class NameHead(nn.Module):
    """Pooled head maps [.., 1280] -> logits of the nouns and, last, of none of them."""

    def __init__(self, nouns: list[str], head: int):
        super().__init__()
        self.nouns = nouns
        self.linear = nn.Linear(head, len(nouns) + 1)

    def forward(self, pooled: Tensor) -> Tensor:
        return self.linear(pooled)


class Namer:
    """Names of tokens by learned nouns and the encoder's classes: what the Rust runtime's `token_names.rs` does."""

    def __init__(self, cache: Path):
        saved = torch.load(cache / "names.pt", map_location="cpu")
        self.head = NameHead(saved["nouns"], saved["linear"]["weight"].shape[1])
        self.head.linear.load_state_dict(saved["linear"])
        self.classifier = pretrained_encoder().classifier
        classes = class_nouns()
        self.of_classes = sorted(set(classes) - {""})
        self.fold = torch.zeros(len(classes), len(self.of_classes))
        for i, noun in enumerate(classes):
            if noun:
                self.fold[i, self.of_classes.index(noun)] = 1

    @torch.no_grad()
    def of_photos(self, summary: Summary) -> list[list[str]]:
        """The names of each photo's tokens, the largest first, each once."""
        learned, noun = self.head(summary.head).softmax(-1)[..., :-1].max(-1)
        folded, place = (self.classifier(summary.head).softmax(-1) @ self.fold).max(-1)
        sure = (torch.maximum(learned, folded) >= UNSURE) & summary.valid
        names: list[list[str]] = []
        for photo, token in enumerate(sure):
            found = [
                self.of_classes[place[photo, k]]
                if folded[photo, k] > learned[photo, k]
                else self.head.nouns[noun[photo, k]]
                for k in token.nonzero()[:, 0].tolist()
            ]
            names.append(list(dict.fromkeys(found))[:MOST_NAMES])
        return names


@torch.no_grad()
def pooled_tokens(tokenizer: PhotoTokenizer, reader: MapReader, items: list[tuple[str, int]], voc) -> list[tuple]:
    """Of each photo: name, pooled head maps [K, 1280] and the share of each VOC class in each token [K, 21]."""
    found = []
    for group in in_batches(items):
        maps = reader.read([row for _, row in group])
        labels, valid = by_area(tokenizer.cluster(tokenizer.features(maps), exact=True))
        share = cluster_share(labels, valid.shape[1])
        pooled = pool_head(share, maps.head.float())
        for i, (name, _) in enumerate(group):
            classes = torch.from_numpy(voc[name].astype(np.int64)).flatten()
            known = F.one_hot(classes.clamp(max=21), 22)[:, :21].float()
            count = int(valid[i].sum())
            found.append((name, pooled[i, :count].half(), (share[i] @ known)[:count]))
    return found


def targets(shares: Tensor, nouns: list[str]) -> tuple[Tensor, Tensor]:
    """VOC shares [K, 21] -> which names each token may have [K, N + 1], and which tokens are known."""
    allowed = torch.zeros(len(shares), len(nouns) + 1)
    best, kind = shares.max(1)
    things = {name for names in VOC.values() for name in names}
    not_voc = torch.tensor([float(noun not in things) for noun in nouns] + [1.0])
    for i, (share, voc) in enumerate(zip(best.tolist(), kind.tolist())):
        if voc == 0 and share > 0.95:
            allowed[i] = not_voc
        elif voc and share > 0.6:
            allowed[i] = torch.tensor([float(noun in VOC[voc]) for noun in nouns] + [0.0])
    return allowed, allowed.any(1)


def photo_loss(logits: Tensor, valid: Tensor, positive: Tensor, negative: Tensor) -> Tensor:
    """A said noun is some token's name, others are none's.

    logits [B, K, N + 1], valid [B, K], positive and negative [B, N].
    """
    absent = F.logsigmoid(-(logits[..., :-1] - others(logits)))  # log(1 - p), [B, K, N]
    none = (absent * valid[..., None]).sum(1)  # log of the probability that no token has the name
    some = torch.log(-torch.expm1(none.clamp(max=-1e-6)))
    return -(positive * some + SILENCE * negative * none).sum(1).mean()


def others(logits: Tensor) -> Tensor:
    """log sum exp of all other names than each noun: [.., N]."""
    total = logits.logsumexp(-1, keepdim=True)
    nouns = logits[..., :-1]
    return total + torch.log(-torch.expm1((nouns - total).clamp(max=-1e-6)))


def mask_loss(logits: Tensor, allowed: Tensor) -> Tensor:
    """-log of the probability of the names that a token may have."""
    return -(logits.log_softmax(-1).masked_fill(allowed == 0, -torch.inf)).logsumexp(-1).mean()


def train(found: list[tuple], captions: dict[str, list[str]]) -> NameHead:
    said = [said_nouns(captions[name]) for name, _, _ in found]
    often = Counter(noun for counts in said for noun in counts)
    nouns = [noun for noun in (*THINGS, *BACKGROUNDS) if often[noun] >= LEAST]
    positive = torch.tensor([[min(counts[noun], 3) / 3 for noun in nouns] for counts in said])
    people = torch.tensor([noun in PEOPLE for noun in nouns])
    # Who is seen has several right names: "a person" of one caption is "a man" of another.
    negative = (positive == 0) & ~(people & (positive[:, people] > 0).any(1, keepdim=True))
    labels = [targets(shares, nouns) for _, _, shares in found]
    head = NameHead(nouns, found[0][1].shape[1])
    optimizer = torch.optim.AdamW(head.parameters(), lr=RATE, weight_decay=0.05)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, STEPS)
    draw = torch.Generator().manual_seed(0)
    for step in range(STEPS):
        chosen = torch.randint(len(found), (BATCH,), generator=draw).tolist()
        pooled = nn.utils.rnn.pad_sequence([found[i][1].float() for i in chosen], batch_first=True)
        valid = nn.utils.rnn.pad_sequence([torch.ones(len(found[i][1])) for i in chosen], batch_first=True)
        logits = head(pooled)
        loss = photo_loss(logits, valid, positive[chosen], negative[chosen].float())
        known = torch.cat([labels[i][1] for i in chosen])
        allowed = torch.cat([labels[i][0] for i in chosen])[known]
        masks = mask_loss(logits[valid > 0][known], allowed)
        optimizer.zero_grad()
        (loss + MASKS * masks).backward()
        optimizer.step()
        schedule.step()
        if step % 100 == 0:
            print(f"names {step}: captions {float(loss.detach()):.3f} masks {float(masks.detach()):.3f}", flush=True)
    return head


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--photos", type=Path, default=PHOTOS)
    parser.add_argument("--cache", type=Path, default=CACHE)
    args = parser.parse_args()
    torch.set_num_threads(1)
    cache = FeatureCache(args.cache / "maps")
    tokenizer = PhotoTokenizer(TokenizerConfig()).eval()
    average = torch.load(args.cache / "stage1.pt", map_location="cpu", weights_only=False)["average"]
    state = {name.removeprefix("tokenizer."): v for name, v in average.items() if name.startswith("tokenizer.")}
    tokenizer.load_state_dict(state)
    voc = load_voc_masks(args.photos, tokenizer.config.grid)
    items = [(name, row) for name, row in cache.of_archives("flickr8k-train").items() if name in voc]
    found = pooled_tokens(tokenizer, MapReader(cache, torch.device("cpu")), items, voc)
    head = train(found, load_captions(args.photos)["train"])
    torch.save({"nouns": head.nouns, "linear": head.linear.state_dict()}, args.cache / "names.pt")


if __name__ == "__main__":
    main()
