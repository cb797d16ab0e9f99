import torch
from safetensors.torch import save_file

from training.model.bundle import read_tensors


def block(scale: float, quants: torch.Tensor) -> torch.Tensor:
    return torch.cat([torch.tensor([scale]).half().view(torch.uint8), quants.view(torch.uint8)])


def test_packed_tensors_mean_what_ggml_means(tmp_path):
    q8 = torch.stack([block(0.5, torch.arange(32, dtype=torch.int8)), block(-2.0, -torch.arange(32, dtype=torch.int8))])
    q4 = block(0.25, torch.full((16,), 0x1F, dtype=torch.uint8))[None]
    metadata = {"a": "q8_0 2 32", "b": "q4_0 1 4 8"}
    save_file({"a": q8, "b": q4, "c": torch.ones(2).half()}, tmp_path / "x.safetensors", metadata)
    tensors = read_tensors(tmp_path)
    assert torch.equal(tensors["a"], torch.stack([0.5 * torch.arange(32), 2.0 * torch.arange(32)]))
    assert torch.equal(tensors["b"].flatten(), 0.25 * torch.tensor([7.0] * 16 + [-7.0] * 16))
    assert tensors["b"].shape == (1, 4, 8)
    assert tensors["c"].dtype == torch.float32


def test_parts_are_joined_in_order(tmp_path):
    save_file({"w.part.1": torch.full((1, 2), 2.0), "other": torch.zeros(1)}, tmp_path / "a.safetensors")
    save_file({"w.part.0": torch.full((2, 2), 1.0)}, tmp_path / "b.safetensors")
    tensors = read_tensors(tmp_path)
    assert tensors["w"].tolist() == [[1, 1], [1, 1], [2, 2]]
    assert sorted(tensors) == ["other", "w"]
