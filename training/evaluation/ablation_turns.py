"""Turns about one image for the ablations: many questions share it, none sees another."""

from dataclasses import dataclass

import torch
from tokenizers import Tokenizer
from torch import Tensor

from ..data.edits import Edit
from ..data.questions import QUESTIONS, ask_any
from ..data.scenes import Scene
from ..data.speaker import Speaker
from ..data.special_tokens import SpecialTokens
from ..data.tasks import IGNORE, Sequence
from ..data.templates import TEMPLATES
from ..data.text import dense_caption, refer

QUESTIONS_PER_IMAGE, MASKS_PER_IMAGE = 8, 3  # turns about each, beside one caption and one edit


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
    to_predict: Places  # the edited picture's tokens
    masks: list[tuple[int, int, int]]  # (row, position of [SEG], region)
    answers: list[tuple[int, int, int]]  # (row, first, end) of answers to questions


class PlainSpeaker(Speaker):
    """One template for each kind of sentence: what is compared is tokens, not language."""

    def say(self, kind: str, **parts: str) -> str:
        return TEMPLATES[kind][0].format(**parts)


def write_turns(
    text: Tokenizer,
    scenes: list[Scene],
    speakers: list[Speaker],
    counts: list[int] | None,
    edits: list[tuple[Edit, int]],
) -> Turns:
    """`counts`: tokens of each image, None where it is described in words; `edits`: with those of the edited ones."""
    sequences = []
    for b, (scene, speaker) in enumerate(zip(scenes, speakers)):
        sequence = Sequence(SpecialTokens(), text, b)
        sequence.user(*(("", b, counts[b]) if counts else (dense_caption(scene),)))
        ask_about(sequence, scene, speaker)
        if edits:
            mark_and_edit(sequence, scene, speaker, *edits[b])
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
    for _ in range(QUESTIONS_PER_IMAGE):
        question = ask_any(speaker, scene)
        sequence.user(question.question)
        sequence.answer(question.kind, question.answer)


def mark_and_edit(sequence: Sequence, scene: Scene, speaker: Speaker, edit: Edit, edited_tokens: int) -> None:
    """Masks, a caption and an edit."""
    for region in speaker.rng.permutation(len(scene.objects))[:MASKS_PER_IMAGE].tolist():
        if phrase := refer(speaker, scene, scene.objects[region]):
            sequence.user(speaker.say("segment", phrase=phrase))
            sequence.answer_mask(sequence.image, region)
    sequence.user(speaker.say("dense"))
    sequence.answer("dense", dense_caption(scene))
    sequence.user(edit.instruction)
    sequence.answer_image([(sequence.image, i) for i in range(edited_tokens)])


def visual_places(sequences: list[Sequence], is_read: bool) -> Places:
    found = [
        (b, position, visual[1])
        for b, sequence in enumerate(sequences)
        for position, visual in enumerate(sequence.visual)
        if visual and (sequence.labels[position] == IGNORE) == is_read
    ]
    return Places(*torch.tensor(found, dtype=torch.long).reshape(-1, 3).unbind(1))
