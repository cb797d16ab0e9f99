"""Sequences for the language model: a photo once, and several continuations of it side by side, none seeing another."""

import re
from dataclasses import dataclass

import torch
from torch import Tensor

USER = "<|im_start|>user\n"
ASSISTANT = "<|im_end|>\n<|im_start|>assistant\n"
END = "<|im_end|>"
HINT = "\nNames: {}."
DESCRIBE = (
    "Describe the photo.",
    "What is in the photo?",
    "What do you see?",
    "Write a caption for this photo.",
    "Describe this picture in one sentence.",
)


def natural(caption: str) -> str:
    """A caption as a person writes it: a capital to begin with, a full stop, no blanks before signs."""
    text = re.sub(r"\s+([.,;:!?])", r"\1", " ".join(caption.split())).strip(' ."')
    text = re.sub(r"\s+'s\b", "'s", text)
    return text[:1].upper() + text[1:] + "." if text else ""


@dataclass
class Pack:
    """One photo's sequence. `before` and `after` the tokens of the photo; every branch goes on from there by itself.

    A branch is (ids, first): the model learns the ids from number `first` on.
    """

    before: list[int]
    after: list[int]
    branches: list[tuple[list[int], int]]


@dataclass
class PackBatch:
    ids: Tensor  # [B, T], 0 where a photo's token or nothing is
    is_photo: Tensor  # [B, T]
    positions: Tensor  # [B, T]
    allowed: Tensor  # [B, T, T]
    photo: Tensor  # [n] the sequence, and
    source: Tensor  # [n] the position whose hidden state says
    target: Tensor  # [n] this id


def packed(packs: list[Pack], tokens: list[int]) -> PackBatch:
    """`tokens` is the number of visual tokens of each photo."""
    lengths = [
        len(pack.before) + count + len(pack.after) + sum(len(ids) for ids, _ in pack.branches)
        for pack, count in zip(packs, tokens)
    ]
    shape = (len(packs), max(lengths))
    ids, positions = torch.zeros(shape, dtype=torch.long), torch.zeros(shape, dtype=torch.long)
    segment = torch.full(shape, -1)
    is_photo = torch.zeros(shape, dtype=torch.bool)
    photo, source, target = [], [], []
    for i, (pack, count) in enumerate(zip(packs, tokens)):
        start = len(pack.before) + count
        prefix = start + len(pack.after)
        ids[i, : len(pack.before)] = torch.tensor(pack.before)
        is_photo[i, len(pack.before) : start] = True
        ids[i, start:prefix] = torch.tensor(pack.after)
        positions[i, :prefix] = torch.arange(prefix)
        segment[i, :prefix] = 0
        at = prefix
        for number, (branch, first) in enumerate(pack.branches):
            end = at + len(branch)
            ids[i, at:end] = torch.tensor(branch)
            positions[i, at:end] = torch.arange(prefix, prefix + len(branch))
            segment[i, at:end] = number + 1
            for k in range(first, len(branch)):
                photo.append(i)
                source.append(at + k - 1 if k else prefix - 1)
                target.append(branch[k])
            at = end
    earlier = torch.ones(shape[1], shape[1], dtype=torch.bool).tril()
    shared = (segment[:, None, :] == 0) | (segment[:, None, :] == segment[:, :, None])
    allowed = earlier & shared & (segment[:, None, :] >= 0)
    return PackBatch(ids, is_photo, positions, allowed, *map(torch.tensor, (photo, source, target)))


class Prompts:
    """Texts of the chat as ids."""

    def __init__(self, tokenizer):
        self.tokenizer = tokenizer
        self.user = tokenizer.encode(USER).ids
        self.end = tokenizer.encode(END).ids

    def encode(self, text: str) -> list[int]:
        return self.tokenizer.encode(text).ids

    def question(self, text: str) -> list[int]:
        """What follows the photo up to where the assistant begins."""
        return self.encode("\n" + text + ASSISTANT)

    def hint(self, names: list[str]) -> list[int]:
        """What is said right behind the photo of the names of its tokens; nothing where there are none."""
        return self.encode(HINT.format(", ".join(names))) if names else []

    def captions(self, captions: list[str], question: str, names: list[str]) -> Pack:
        answers = [self.encode(natural(caption))[:30] + self.end for caption in captions]
        return Pack(self.user, self.hint(names) + self.question(question), [(ids, 0) for ids in answers])

    def questions(self, pairs: list[tuple[str, str]], names: list[str]) -> Pack:
        """Every pair of question and answer a branch of its own."""
        branches = []
        for question, answer in pairs:
            asked = self.question(question)
            branches.append((asked + self.encode(answer) + self.end, len(asked)))
        return Pack(self.user, self.hint(names), branches)
