"""Training sequences of the language model: what a user says and what Setokim answers, with visual tokens in place."""

import re
from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass, field

import numpy as np
from tokenizers import Tokenizer

from . import easy_vqa
from .edits import Edit, absent_edit, edit_any, strange_edit, strange_generation
from .questions import ask_any
from .scenes import Scene, SceneObject, region_labels, sample_scene, scene_rng
from .speaker import Speaker
from .special_tokens import SpecialTokens
from .sprites import SPRITES
from .templates import STRANGE_NAMES
from .text import (
    a_thing,
    absent_name,
    background_phrase,
    caption,
    dense_caption,
    loose_caption,
    noun,
    plural,
    refer,
    refusal,
    unique_objects,
)

IGNORE = -100
QUESTIONS_PER_IMAGE = 5
SEQUENCES_PER_SCENE = 4  # in training: tokenising a picture costs as much as learning from a sequence about it
ABSENT_SHARE = 0.25  # of referring phrases that fit nothing
ABSENT_EDIT_SHARE = 0.12  # of instructions about something that is not there
STRANGE_SHARE = 0.1  # of images and edits that want something which cannot be generated, in training
LOOSE_SHARE = 0.35  # of images asked for with little detail, in training
SMALL_TALK_SHARE = 0.05
GREETING_SHARE = 0.2  # of chats that begin with small talk, half of them before there is a picture
# Share of each kind of sequence, by stage.
TASK_SHARES = {
    2: {"chat": 0.5, "caption": 0.3, "segment": 0.2},
    3: {"chat": 0.28, "caption": 0.15, "segment": 0.12, "generate": 0.13, "edit": 0.25, "easy_vqa": 0.07},
}
# To end stage 3 with.
FINISHING_SHARES = {"chat": 0.40, "caption": 0.10, "segment": 0.05, "generate": 0.10, "edit": 0.27, "easy_vqa": 0.08}

# What can be counted: "cat" and "cats", and what no picture shows.
NAMES = [*SPRITES.names, *STRANGE_NAMES]
SINGULAR = {form: name for name in NAMES for form in (name, plural(name))}
KNOWN_NAMES = re.compile(rf"\b({'|'.join(SINGULAR)})\b")


# --- pictures ---------------------------------------------------------------------------------------------


@dataclass
class Contents:
    """What M images show, and which of it each of their tokens shows: all that a sequence needs to know of them."""

    scenes: list[Scene]  # images of no scene come last
    names: np.ndarray  # [M, R] of each region
    colors: np.ndarray  # [M, R]
    counts: list[int]  # tokens of each image
    regions: list[list[int]]  # that each token shows, -1 for none

    def shown(self, image: int, token: int) -> SceneObject | None:
        """The object that a token shows; None for a background, and in pictures of no scene."""
        region = self.regions[image][token]
        objects = self.scenes[image].objects if image < len(self.scenes) else []
        return objects[region] if 0 <= region < len(objects) else None


def edited_tokens(
    contents: Contents, source: int, target: int, edit: Edit
) -> tuple[list[tuple[int, int]], list[tuple[int, int]]]:
    """(image, token) of what an edit copies from the source image and of what it generates as in the target.

    Everything that did not change is copied, in the order of the source, whatever the clustering makes of the target:
    that could not be foreseen, and one plan in five was something else than the text asked for.
    """
    regions, counts = contents.regions, contents.counts
    copied = [(source, i) for i in range(counts[source]) if regions[source][i] in edit.sources]
    generated = [(target, j) for j in range(counts[target]) if edit.sources[regions[target][j]] < 0]
    return copied, generated


# --- sequences --------------------------------------------------------------------------------------------


@dataclass
class Sequence:
    """Token by token: its id, the id to learn at this place (or IGNORE), and for visual tokens their slot in their
    image and the (image, token) they are."""

    special: SpecialTokens
    text: Tokenizer
    image: int  # that it is about
    nouns: dict[str, int] = field(default_factory=dict)  # that name one region of this image each
    numbers: dict[str, int] = field(default_factory=dict)  # of the things in it by their names; empty for no scene
    ids: list[int] = field(default_factory=list)
    labels: list[int] = field(default_factory=list)
    slots: list[int] = field(default_factory=list)
    visual: list[tuple[int, int] | None] = field(default_factory=list)
    answers: list[tuple[str, int, int]] = field(default_factory=list)  # (kind, first, end) of text answers
    masks: list[tuple[int, int, int]] = field(default_factory=list)  # (position of [SEG], image, region)
    sources: list[tuple[int, int, int]] = field(default_factory=list)  # (position, image, token) that was read
    # (position before, image, token) copied or generated
    plans: list[tuple[int, int, int]] = field(default_factory=list)
    mentions: list[tuple[int, int, int]] = field(default_factory=list)  # (position of a noun, image, region)
    # (position before an answer, or before what a caption names next, image, region)
    meant: list[tuple[int, int, int]] = field(default_factory=list)
    # (position of a name that is read, how many of it there are)
    counted: list[tuple[int, int]] = field(default_factory=list)
    # (position before the answer, image, first region, second region, what was said) of turns that name two things
    comparisons: list[tuple[int, int, int, int, str]] = field(default_factory=list)

    def __post_init__(self):
        self._put(self.special.begin, learn=False)

    def _put(self, token: int, learn: bool, slot: int = -1, visual: tuple[int, int] | None = None) -> None:
        self.ids.append(token)
        self.labels.append(token if learn else IGNORE)
        self.slots.append(slot)
        self.visual.append(visual)

    def user(self, words: str, image: int | None = None, count: int = 0) -> None:
        self._put(self.special.user, learn=False)
        if image is not None:
            self._put(self.special.image_start, learn=False)
            for i in range(count):
                self.sources.append((len(self.ids), image, i))
                self._put(self.special.visual, learn=False, slot=i, visual=(image, i))
            self._put(self.special.image_end, learn=False)
        known = len(self.mentions)
        self._words(words, learn=False)
        self._put(self.special.end, learn=False)
        self._put(self.special.assistant, learn=False)
        named = [region for _, _, region in sorted(self.mentions[known:])]
        if len(named) == 2:
            self.comparisons.append((len(self.ids) - 1, self.image, *named, words))

    def answer(self, kind: str, words: str) -> None:
        first = len(self.ids)
        self._words(words, learn=True)
        self._put(self.special.end, learn=True)
        self.answers.append((kind, first, len(self.ids)))

    def answer_caption(self, kind: str, words: str, named: list[tuple[str, int]]) -> None:
        """`named`: what the words name, one after another, and the region of each."""
        encoded, at = self.text.encode(words), 0
        for phrase, region in named:
            at = words.index(phrase, at)
            self.meant.append((len(self.ids) + encoded.char_to_token(at) - 1, self.image, region))
            at += len(phrase)
        self.answer(kind, words)

    def answer_mask(self, image: int, region: int) -> None:
        self.masks.append((len(self.ids), image, region))
        first = len(self.ids)
        self._put(self.special.segment, learn=True)
        self._put(self.special.end, learn=True)
        self.answers.append(("segment", first, len(self.ids)))

    def answer_image(self, generated: list[tuple[int, int]], copied: Collection[tuple[int, int]] = ()) -> None:
        """(image, token) of what is generated, and before it of what is copied from the image that was read.

        Among them by size, what is new could come anywhere, and each copy had to be foreseen among all others; in this
        order the only choice is what is left out.
        """
        self._put(self.special.image_start, learn=True)
        for slot, visual in enumerate([*copied, *generated]):
            self.plans.append((len(self.ids) - 1, *visual))
            token = self.special.keep_first + visual[1] if slot < len(copied) else self.special.visual
            self._put(token, learn=True, slot=slot, visual=visual)
        self._put(self.special.image_end, learn=True)
        self._put(self.special.end, learn=True)

    def _words(self, words: str, learn: bool) -> None:
        encoded = self.text.encode(words)
        for name, region in self.nouns.items():
            for found in re.finditer(rf"\b{name}\b", words):
                last = encoded.char_to_token(found.end() - 1)
                self.mentions.append((len(self.ids) + last, self.image, region))
        if self.numbers and not learn:
            for found in KNOWN_NAMES.finditer(words):
                last, name = encoded.char_to_token(found.end() - 1), SINGULAR[found.group()]
                self.counted.append((len(self.ids) + last, self.numbers.get(name, 0)))
        for token in encoded.ids:
            self._put(token, learn)


@dataclass
class Plan:
    """What a sequence will be about: a picture of the batch, and what the task needs beside."""

    task: str
    speaker: Speaker
    image: int
    edit: Edit | None = None
    edited: int = -1  # the picture that the edit makes
    asked: list[tuple[str, str]] = field(default_factory=list)  # questions and answers of easy-VQA


@dataclass
class Planned:
    """What the sequences of a batch will be about, and its pictures: scenes, then some of easy-VQA's train split."""

    plans: list[Plan]
    scenes: list[Scene]
    easy: list[int]

    def contents(self, counts: list[int], regions: list[list[int]]) -> Contents:
        """With what the tokenizer made of the pictures: tokens of each, and the region of each token."""
        labels = zip(region_labels(self.scenes), easy_vqa.region_labels("train", self.easy))
        return Contents(self.scenes, *(np.concatenate(both) for both in labels), counts, regions)


class TaskWriter:
    """Sequences `first`, `first + 1`, ... of a split, fresh scenes every time; in `train` a few about each scene.

    In two steps, since pictures must be tokenised before anything can be written about their tokens.
    """

    def __init__(self, text: Tokenizer, special: SpecialTokens, shares: dict[str, float]):
        self.text, self.special = text, special
        self.kinds, self.odds = list(shares), np.cumsum(list(shares.values()))

    def plan(self, split: str, first: int, count: int, kind: str | None = None, held_out_words=False) -> Planned:
        """`kind` fixes the task, as evaluation wants it."""
        shared = SEQUENCES_PER_SCENE if split == "train" else 1
        numbers = range(first // shared, -(-(first + count) // shared))
        planned = Planned([], [sample_scene(split, number) for number in numbers], [])
        for index in range(first, first + count):
            # Its own stream: the words of a scene change nothing about the scene.
            speaker = Speaker(scene_rng(split, 2**32 + index), held_out_words, careless=split == "train")
            task = kind or self.kinds[int(np.searchsorted(self.odds, speaker.rng.random() * self.odds[-1]))]
            plan = Plan(task, speaker, index // shared - numbers.start)
            if task == "easy_vqa":
                plan.image = len(planned.easy)
                planned.easy.append(easy_vqa.sample(speaker.rng, split))
                plan.asked = easy_vqa.questions("train")[planned.easy[-1]]
            elif task == "edit":
                plan.edit, plan.edited = edit_any(speaker, planned.scenes[plan.image]), len(planned.scenes)
                planned.scenes.append(plan.edit.target)
            planned.plans.append(plan)
        for plan in planned.plans:
            plan.image += len(planned.scenes) if plan.asked else 0  # they come last
        return planned

    def write(self, planned: Planned, contents: Contents) -> list[Sequence]:
        return [self._sequence(plan, contents) for plan in planned.plans]

    def _sequence(self, plan: Plan, contents: Contents) -> Sequence:
        task, speaker, image = plan.task, plan.speaker, plan.image
        scene = None if plan.asked else contents.scenes[image]
        sequence = Sequence(self.special, self.text, image)
        if scene and task != "generate":  # which speaks of a picture that is not there yet
            sequence.nouns = {noun(o): scene.objects.index(o) for o in unique_objects(scene)}
            sequence.numbers = Counter(noun(o) for o in scene.objects)
        source = (image, contents.counts[image])
        if task == "chat":
            is_shown = False
            if speaker.rng.random() < GREETING_SHARE:
                said, answer = speaker.small_talk()
                is_shown = bool(speaker.rng.random() < 0.5)
                sequence.user(said, *(source if is_shown else ()))
                sequence.answer("small talk", answer)
            for turn in range(QUESTIONS_PER_IMAGE):
                question = ask_any(speaker, scene)
                sequence.user(question.question, *(source if turn == 0 and not is_shown else ()))
                sequence.answer(question.kind, question.answer)
            if speaker.rng.random() < SMALL_TALK_SHARE * QUESTIONS_PER_IMAGE:
                said, answer = speaker.small_talk()
                sequence.user(said)
                sequence.answer("small talk", answer)
        elif task == "caption":
            self._caption_turn(sequence, speaker, contents, source)
        elif task == "easy_vqa":
            for turn, i in enumerate(speaker.rng.permutation(len(plan.asked))[:QUESTIONS_PER_IMAGE]):
                question, answer = plan.asked[i]
                sequence.user(question, *(source if turn == 0 else ()))
                sequence.answer("easy vqa", answer)
        elif task == "segment":
            self._segment_turns(sequence, speaker, scene, source)
        elif task in ("generate", "edit") and speaker.carelessly(STRANGE_SHARE):
            wish = strange_generation if task == "generate" else strange_edit
            words, answer = wish(speaker, scene)
            sequence.user(words, *(source if task == "edit" else ()))
            sequence.answer("refusal", answer)
        elif task == "generate":
            objects = [scene.objects[r] for r in in_token_order(contents, image)]
            if speaker.carelessly(LOOSE_SHARE):
                words = loose_caption(speaker, scene, objects)
            else:
                words = speaker.pick([caption, dense_caption])(scene, objects)
            sequence.user(speaker.say("draw", caption=words))
            sequence.answer_image([(image, i) for i in range(contents.counts[image])])
        elif task == "edit" and speaker.rng.random() < ABSENT_EDIT_SHARE:
            instruction, answer = absent_edit(speaker, scene)
            sequence.user(instruction, *source)
            sequence.answer("refusal", answer)
        elif task == "edit":
            sequence.user(plan.edit.instruction, *source)
            gone = [r for r in range(len(scene.objects)) if r not in plan.edit.sources]
            sequence.meant += [(len(sequence.ids) - 1, image, region) for region in gone]
            copied, generated = edited_tokens(contents, image, plan.edited, plan.edit)
            sequence.answer_image(generated, copied)
        return sequence

    def _caption_turn(self, sequence: Sequence, speaker: Speaker, contents: Contents, source: tuple[int, int]) -> None:
        """Everything that has a token."""
        image = sequence.image
        scene = contents.scenes[image]
        kind, say = speaker.pick([("caption", caption), ("dense", dense_caption)])
        shown = [r for r in in_token_order(contents, image) if r in contents.regions[image]]
        named = [(a_thing(scene.objects[r]), r) for r in shown]
        background = (background_phrase(scene), len(scene.objects))
        sequence.user(speaker.say(kind), *source)
        sequence.answer_caption(kind, say(scene, [scene.objects[r] for r in shown]), [*named, background])

    def _segment_turns(self, sequence: Sequence, speaker: Speaker, scene: Scene, source: tuple[int, int]) -> None:
        """Three objects, or something that is not there."""
        for turn in range(3):
            target = int(speaker.rng.integers(len(scene.objects)))
            phrase = refer(speaker, scene, scene.objects[target])
            absent = absent_name(speaker, scene)
            is_absent = phrase is None or speaker.rng.random() < ABSENT_SHARE
            words = speaker.say("segment", phrase=f"the {absent}" if is_absent else phrase)
            sequence.user(words, *(source if turn == 0 else ()))
            if is_absent:
                sequence.answer("refusal", refusal(absent))
            else:
                sequence.meant.append((len(sequence.ids) - 1, source[0], target))
                sequence.answer_mask(source[0], target)


def in_token_order(contents: Contents, image: int) -> list[int]:
    """The things of a scene, as regions, in the order in which its tokens show them, those without a token last.

    Things are named and generated in this order. Clusters of things of nearly the same size come in either order: with
    captions by size, what is named next could be one of several things, and one was named twice and another left out.
    """
    count, regions = len(contents.scenes[image].objects), contents.regions[image]
    return sorted(range(count), key=lambda r: regions.index(r) if r in regions else len(regions))
