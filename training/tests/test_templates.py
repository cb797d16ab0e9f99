"""The templates as data: a seed gives the sentences that it gave when the shipped weights were trained."""

import hashlib

import numpy as np
import pytest

from training.data.edits import edit_any
from training.data.questions import ask_any
from training.data.scenes import sample_scene
from training.data.speaker import Speaker
from training.data.templates import fill
from training.data.text import loose_caption, refer

SENTENCES = {
    "usual": ("val", {}, "2fbee8a47215994c"),
    "careless": ("train", {"careless": True}, "0ebece4f44660e9f"),
    "held out": ("val", {"held_out_words": True}, "2068620053c8c3e9"),
}


def sentences(split: str, options: dict[str, bool]) -> list[str]:
    found = []
    for index in range(100):
        scene, speaker = sample_scene(split, index), Speaker(np.random.default_rng([7, index]), **options)
        question = ask_any(speaker, scene)
        found += [question.question, question.answer, edit_any(speaker, scene).instruction, *speaker.small_talk()]
        found.append(speaker.say("segment", phrase=refer(speaker, scene, scene.objects[0]) or "it"))
        found.append(speaker.say("draw", caption=loose_caption(speaker, scene, scene.objects)))
    return found


@pytest.mark.parametrize("name", SENTENCES)
def test_a_seed_gives_the_same_sentences_as_ever(name):
    split, options, digest = SENTENCES[name]
    assert hashlib.sha256("\n".join(sentences(split, options)).encode()).hexdigest()[:16] == digest


def test_a_pattern_has_one_of_each_choice():
    first, last = (lambda options: options[0]), (lambda options: options[-1])
    assert fill("[a|b] [c [d|e]|] , {name} ?", first) == "a c d, {name}?"
    assert fill("[a|b] [c [d|e]|] , {name} ?", last) == "b, {name}?"
    assert fill("[thing] [that]", first) == "object the"
