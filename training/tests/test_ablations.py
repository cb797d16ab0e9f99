import argparse

import pytest
import torch

from training.ablations import VARIANTS, Ablated, edit_success, images_to_tensor, look_at_split, measure, train
from training.scenes import sample_batch
from training.tests.test_tasks import model, text  # noqa: F401 (fixtures)


@pytest.fixture(scope="module")
def data(model):  # noqa: F811
    return look_at_split(model, "train", 6)


@pytest.mark.parametrize("name", ["codebook-64", "queries-4", "setok", "setok-fixed", "setok-mean"])
def test_everything_behind_the_encoder_learns_and_is_measured(model, text, data, name):  # noqa: F811
    arguments = argparse.Namespace(steps=2, batch=6)
    trained = train(VARIANTS[name], model.tokenizer_config, text, data, arguments, seed=0)
    torch.manual_seed(0)
    fresh = Ablated(VARIANTS[name], model.tokenizer_config)
    moved = [n for (n, a), b in zip(trained.make.named_parameters(), fresh.make.parameters()) if not torch.equal(a, b)]
    assert moved
    found = measure(trained, text, data)
    assert set(found) == {"tokens", "psnr", "questions", "iou", "edit"}
    if name in ("queries-4", "setok-fixed"):
        assert found["tokens"] == {"queries-4": 4, "setok-fixed": 5}[name]


def test_no_picture_but_the_edited_one_is_a_success():
    pictures = sample_batch("val", 0, 4).images
    before, after = images_to_tensor(pictures[:2], torch.device("cpu")), pictures[2:]
    assert not edit_success(before, before, after).any()
    assert edit_success(images_to_tensor(after, torch.device("cpu")), before, after).all()
