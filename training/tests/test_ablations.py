import argparse

import numpy as np
import pytest
import torch

from training.data.scenes import sample_batch
from training.evaluation.ablation_model import LLM, Ablated, read_images
from training.evaluation.ablation_scenes import encode_split, in_source_order
from training.evaluation.ablation_turns import MASKS_PER_IMAGE, QUESTIONS_PER_IMAGE, PlainSpeaker
from training.evaluation.ablation_variants import VARIANTS
from training.evaluation.ablations import about, any_token_loss, baselines, edit_success, measure, train, train_llm
from training.model.llm import Llama
from training.stages.metrics import images_to_tensor
from training.tests.test_tasks import model, text  # noqa: F401 (fixtures)


@pytest.fixture(scope="module")
def data(model):  # noqa: F811
    return encode_split(model, "train", 6)


@pytest.mark.parametrize("name", ["codebook-64", "queries-4", "setok", "setok-fixed", "setok-mean"])
def test_everything_behind_the_encoder_learns_and_is_measured(model, text, data, name):  # noqa: F811
    arguments = argparse.Namespace(steps=2, batch=6)
    trained = train(VARIANTS[name], model.tokenizer_config, Llama(LLM), text, data, arguments, seed=0)
    torch.manual_seed(0)
    fresh = Ablated(VARIANTS[name], model.tokenizer_config)
    moved = [n for (n, a), b in zip(trained.make.named_parameters(), fresh.make.parameters()) if not torch.equal(a, b)]
    assert moved
    found = measure(trained, text, data)
    assert set(found) == {"tokens", "psnr", "questions", "iou", "edit"}
    if name in ("queries-4", "setok-fixed"):
        assert found["tokens"] == {"queries-4": 4, "setok-fixed": 5}[name]


def test_a_turn_sees_the_picture_and_itself_only(model, text, data):  # noqa: F811
    rows = [0, 1]
    ablated = Ablated(VARIANTS["setok"], model.tokenizer_config).eval()
    made, target = (ablated.tokens(encoded, rows) for encoded in (data.before, data.after))
    turns = about(text, data, rows, [PlainSpeaker(np.random.default_rng(b)) for b in rows], made, target)
    assert len(turns.answers) == len(rows) * QUESTIONS_PER_IMAGE
    assert 0 < len(turns.masks) <= len(rows) * MASKS_PER_IMAGE
    hidden = read_images(ablated, made, turns)
    b, first, end = turns.answers[0]  # the first turn is only changed where it stands
    turns.ids[b, first - 2 : end] = turns.ids[b, first - 2 : end].flip(0)
    changed = (read_images(ablated, made, turns) != hidden).any(-1)[b]
    assert changed[first - 2 : end].any() and not changed[end:].any() and not changed[: first - 2].any()
    made.tokens[b] += torch.randn_like(made.tokens[b])
    assert (read_images(ablated, made, turns) != hidden).any(-1)[b, end:].any()


def test_the_language_model_learns_from_words(text):  # noqa: F811
    torch.manual_seed(0)
    before, after = Llama(LLM), train_llm(text, steps=1, batch=2)
    assert any(not torch.equal(a, b) for a, b in zip(before.parameters(), after.parameters()))


def test_who_only_heard_the_questions_is_right_at_times(text):  # noqa: F811
    found = baselines(Llama(LLM), text, count=40, heard=8000)
    assert found["told in words"] == 0  # nothing was learned
    assert 0.2 < found["guessed"] < 0.45
    assert 0.3 < found["all things marked"] < 0.5


def test_tokens_of_an_edited_picture_come_in_the_order_of_its_source():
    before = torch.tensor([[0, 0, 0, 0, 1, 1, 2, 2]]), torch.tensor([[True, True, True, False]])
    # Cluster 0 is what was 2, cluster 1 is new, cluster 2 is what was 0; what was 1 is gone.
    after = torch.tensor([[2, 2, 2, 2, 1, 2, 0, 0]]), torch.tensor([[True, True, True, False]])
    assert in_source_order(before, after).tolist() == [[2, 0, 1, 3]]


def test_some_token_must_say_each_true_name():
    sure = torch.full((1, 3, 5), -20.0)
    sure[0, [0, 1, 2], [4, 2, 2]] = 20.0
    assert any_token_loss(sure, torch.tensor([[2, 4, -1]])) < 1e-3
    assert any_token_loss(sure, torch.tensor([[2, 3, -1]])) > 5


def test_no_picture_but_the_edited_one_is_a_success():
    images = images_to_tensor(sample_batch("val", 0, 4).images)
    before, after = images[:2], images[2:].clone()
    after[..., :64] = before[..., :64]  # one half is not to change
    assert not edit_success(before, after, before, after).any()
    assert edit_success(after, after, before, after).all()
    ruined = after.clone()
    ruined[..., :64] += 0.3
    noisy = after + 0.1
    assert not edit_success(ruined, noisy, before, after).any()
    assert edit_success(noisy, noisy, before, after).all()
