"""Captions as pieces: what the small decoder reads and writes, and left and right when a photo is flipped."""

import re
from collections import Counter

import torch
from torch import Tensor

from .decoder import END, PAD, SPECIAL, START, UNKNOWN

LONGEST = 26


def normalized(caption: str) -> str:
    """Lower case, letters, digits and blanks only: the form in which captions are compared."""
    return " ".join(re.sub(r"[^a-z0-9 ]", " ", caption.lower()).split())


def plain(caption: str) -> str:
    """The form that the small decoder learns: lower case, no stop at the end."""
    return " ".join(re.sub(r"[^a-z0-9' -]", " ", caption.lower()).split())


def flipped(text: str) -> str:
    """What a mirrored photo's caption says."""
    swap = {"left": "right", "right": "left"}
    return re.sub(r"\b(left|right)\b", lambda match: swap[match.group(1)], text)


class Pieces:
    """The language model's pieces that captions use at least three times, numbered anew."""

    def __init__(self, tokenizer, ids: list[int]):
        self.tokenizer = tokenizer
        self.ids = ids
        self.number = {piece: i + SPECIAL for i, piece in enumerate(ids)}

    @classmethod
    def of_captions(cls, tokenizer, captions: list[str]) -> "Pieces":
        counts = Counter(piece for caption in captions for piece in tokenizer.encode(" " + plain(caption)).ids)
        return cls(tokenizer, sorted(piece for piece, count in counts.items() if count >= 3))

    def __len__(self) -> int:
        return len(self.ids) + SPECIAL

    def encode(self, caption: str) -> list[int]:
        ids = self.tokenizer.encode(" " + plain(caption)).ids[: LONGEST - 2]
        return [START, *(self.number.get(piece, UNKNOWN) for piece in ids), END]

    def decode(self, numbers: list[int]) -> str:
        return self.tokenizer.decode([self.ids[n - SPECIAL] for n in numbers if n >= SPECIAL]).strip()


def padded(rows: list[list[int]], filler: int = PAD) -> Tensor:
    """Rows of different lengths -> [n, longest]."""
    out = torch.full((len(rows), max(map(len, rows))), filler)
    for i, row in enumerate(rows):
        out[i, : len(row)] = torch.tensor(row)
    return out
