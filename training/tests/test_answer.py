"""The decoding loop: what may stand in an answer."""

import dataclasses

import torch
from tokenizers import Tokenizer

from training.evaluation.answer import DenoiseOptions, encode_image, prompt, refuses, respond
from training.fixtures.golden import FIXTURES, tiny_image
from training.model.bundle import read_bundle


def test_a_refusal_is_known_by_how_it_begins():
    ours = [[1, 2, 3], [4]]
    assert all(refuses(ours, said) for said in ([1], [1, 2], [1, 2, 3, 9], [4, 9]))
    assert not any(refuses(ours, said) for said in ([2], [1, 3], [9, 4]))


def test_only_a_refusal_takes_the_place_of_a_picture():
    bundle = FIXTURES / "tiny-setokim"
    model, text = read_bundle(bundle), Tokenizer.from_file(str(bundle / "tokenizer.json"))
    denoise = DenoiseOptions(noise=torch.zeros_like, steps=1)
    for refusals in (), ("i can not", "there is no"):
        # Its weights are random; the margin makes it speak.
        model.config = dataclasses.replace(model.config, picture_margin=1e3, refusals=refusals)
        encoded = encode_image(model, tiny_image(0))
        sequence = prompt(model, text, "remove the dog", [encoded])
        said = text.decode(respond(model, text, sequence, encoded, {"text", "image"}, denoise, limit=12).ids)
        assert said and said.startswith(("i can not", "there is no")) == bool(refusals), said
