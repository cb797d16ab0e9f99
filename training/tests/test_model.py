import pytest
import torch

from training.fixtures.golden import tiny_model
from training.model import CONFIGS, ModelConfig, SeTok
from training.model.bundle import read_bundle, split_shards, write_bundle
from training.model.layers import Attention, attend, sincos_positions


@pytest.fixture(scope="module")
def model():
    return tiny_model()


@pytest.fixture(scope="module")
def image():
    return torch.rand(3, 3, 32, 32, generator=torch.Generator().manual_seed(0)) * 2 - 1


def test_shapes(model, image):
    found = model.tokenize(image)
    assert found.features.shape == (3, 16, 16)
    assert found.tokens.shape == (3, 6, 8)
    assert model.detok(found.tokens, found.clusters.valid).shape == image.shape
    layout = model.detok.layout(found.tokens, found.clusters.valid)
    assert torch.allclose(layout.sum(-1), torch.ones(3, 16))


@torch.no_grad()
def test_padding_changes_nothing(model, image):
    found = model.tokenize(image[:1])
    valid = found.clusters.valid
    count = int(valid.sum())
    exact = model.merge(found.features, found.clusters.labels, valid[:, :count])
    assert torch.allclose(found.tokens[:, :count], exact, atol=1e-5)
    assert torch.allclose(model.detok(found.tokens, valid), model.detok(exact, valid[:, :count]), atol=1e-5)


@torch.no_grad()
def test_tokens_do_not_depend_on_the_order_of_clusters(model, image):
    labels = torch.arange(16)[None] % 3
    valid = torch.ones(1, 3, dtype=torch.bool)
    features = model.encode(image[:1])
    tokens = model.merge(features, labels, valid)
    swapped = model.merge(features, (labels + 1) % 3, valid)
    assert torch.allclose(tokens.roll(1, 1), swapped, atol=1e-5)


def test_unpatchify_puts_pixels_where_they_belong(model):
    patches = torch.zeros(1, 16, 8 * 8 * 3)
    patches[0, 6, (2 * 8 + 5) * 3 + 1] = 1  # patch row 1, column 2; pixel row 2, column 5; green
    assert model.detok.unpatchify(patches).nonzero().tolist() == [[0, 1, 8 + 2, 16 + 5]]


def test_attention_spelled_out_is_attention():
    q, k, v = torch.randn(3, 2, 4, 6, 8)
    mask = torch.rand(2, 1, 6, 6) > 0.3
    mask[..., 0] = True
    expected = torch.nn.functional.scaled_dot_product_attention(q, k, v, mask)
    assert torch.allclose(attend(q, k, v, mask), expected, atol=1e-5)


def test_attention_weights_are_those_of_the_forward_pass():
    torch.manual_seed(0)
    attention, x = Attention(8, 2), torch.randn(1, 5, 8)
    assert torch.allclose(attention.weights(x, x).sum(-1), torch.ones(1, 5))


def test_sincos_positions():
    positions = sincos_positions((2, 3), 8)
    assert positions.shape == (6, 8)
    expected = torch.tensor([1.0, 0.01, 1.0, 0.01]).sin()  # patch 4 is row 1, column 1
    assert torch.allclose(positions[4, [0, 1, 4, 5]], expected)


@pytest.mark.parametrize("name", CONFIGS)
def test_config_survives_json(name):
    assert ModelConfig.from_json(CONFIGS[name].to_json()) == CONFIGS[name]


def test_bundle_round_trip(tmp_path, model, image):
    write_bundle(tmp_path, model, matrix_dtype=torch.float32)
    again = read_bundle(tmp_path)
    assert isinstance(again, SeTok)
    assert torch.equal(model.tokenize(image).tokens, again.tokenize(image).tokens)
    assert {f.name for f in tmp_path.iterdir()} == {"config.json", "manifest.json", "setok-00001-of-00001.safetensors"}


def test_shards_hold_every_tensor_once_and_stay_small():
    tensors = {f"t{i}": torch.zeros(1000) for i in range(10)}
    shards = split_shards(tensors, limit=8192 + 3 * 4000)
    assert [len(s) for s in shards] == [3, 3, 3, 1]
    assert sorted(name for s in shards for name in s) == sorted(tensors)
