import dataclasses

import pytest
import torch

from training.fixtures.golden import randomize
from training.fixtures.language_model import LLAMA, greedy, llama_logits
from training.model.diffusion import DiffusionConfig, DiffusionHead, sample_times, signal_levels
from training.model.llm import Llama
from training.model.mask_head import MaskHead, MaskHeadConfig, full_size
from training.model.setokim import SetokimConfig, order_by_area


@pytest.fixture(scope="module")
def llama():
    model = Llama(LLAMA)
    randomize(model, seed=0)
    return model.eval()


@torch.no_grad()
def test_llama_is_the_llama_of_transformers(llama):
    transformers = pytest.importorskip("transformers")
    config = transformers.LlamaConfig(**dataclasses.asdict(LLAMA), attn_implementation="eager")
    config.rope_parameters = {"rope_type": "default", "rope_theta": LLAMA.rope_theta}
    published = transformers.LlamaForCausalLM(config).eval()
    published.load_state_dict(llama.state_dict() | {"lm_head.weight": llama.embedding})
    ids = torch.randint(0, LLAMA.vocab_size, (2, 11), generator=torch.Generator().manual_seed(0))
    ours = llama.logits(llama(llama.embedding[ids]))
    assert torch.allclose(ours, published(ids).logits, atol=2e-4)


@torch.no_grad()
def test_llama_does_not_look_ahead(llama):
    ids = [5, 6, 7, 8]
    whole, part = llama_logits(llama)(ids), llama_logits(llama)(ids[:2])
    assert torch.allclose(whole[:2], part, atol=1e-5)
    assert len(greedy(llama_logits(llama), ids, 3) or [0] * 3) == 3


def test_signal_levels_fall_from_one_to_zero():
    levels = signal_levels(1000)
    assert (levels.diff() <= 0).all() and levels[0] > 0.999 and levels[-1] < 1e-4


def test_sample_times():
    assert sample_times(1000, 3) == [999, 499, 0]
    assert sample_times(1000, 1) == [999]


def test_diffusion_learns_a_token_for_each_condition():
    torch.manual_seed(0)
    head = DiffusionHead(DiffusionConfig(width=32, depth=1), token_width=2, hidden=2)
    optimizer = torch.optim.Adam(head.parameters(), 5e-3)
    condition = torch.tensor([[1.0, 0], [0, 1.0]]).repeat(32, 1)
    token = torch.tensor([[1.5, -1.0], [-1.0, 0.5]]).repeat(32, 1)
    for _ in range(150):
        optimizer.zero_grad()
        head.loss(token, condition)[0].backward()
        optimizer.step()
    drawn = head.sample(torch.randn(64, 2), condition, steps=10)
    assert (drawn - token).abs().mean() < 0.3


def test_mask_head_shapes():
    head = MaskHead(MaskHeadConfig(width=6), hidden=8, vision_width=16, stem_channels=(4, 8))
    logits = head(torch.randn(2, 8), torch.randn(2, 16, 16), torch.randn(2, 8, 8, 8), torch.randn(2, 4, 16, 16))
    assert logits.shape == (2, 16, 16)
    assert full_size(logits, 32).shape == (2, 32, 32)


def test_tokens_are_read_largest_first():
    labels = torch.tensor([[0, 1, 1, 2, 2, 2]])
    valid = torch.tensor([[True, True, True, False]])
    assert order_by_area(labels, valid).tolist() == [[2, 1, 0, 3]]


def test_special_tokens_are_named_in_order():
    names = SetokimConfig().special_tokens.names
    special = SetokimConfig().special_tokens
    assert names[special.visual] == "<vis>" and names[special.keep_first + 3] == "<keep_3>"
    assert len(names) == special.keep_first + special.keep_count
