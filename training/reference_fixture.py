"""A checkpoint such as the paper's own code would save, in small: `python -m training.reference_fixture`.

Names and shapes are what the modules of https://github.com/ChocoWu/SeTok (commit 55cfc9f) define; the file beside each
class says where. Expected tokens come from the classes here, which compute what those modules compute.
"""

import argparse
import json
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from transformers import SiglipVisionConfig, SiglipVisionModel

from .fixtures import FIXTURES, tiny_picture
from .fixtures_llm import randomize
from .model.llm import Llama, LlmConfig

GRID, WIDTH, HEADS, FEED_FORWARD, TOKEN_WIDTH, HIDDEN = 4, 32, 2, 48, 24, 32
NEIGHBORS, THRESHOLD = 3, 0.55
TOWER = {
    "hidden_size": WIDTH,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "image_size": 32,
    "patch_size": 8,
}


class Attention(nn.Module):
    """src/model/setok/module.py"""

    def __init__(self, width: int, heads: int):
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width)
        self.proj = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self.qkv(x).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        return self.proj(nn.functional.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2))


class Mlp(nn.Module):
    """src/model/setok/module.py"""

    def __init__(self, width: int, hidden: int):
        super().__init__()
        self.fc1 = nn.Linear(width, hidden)
        self.fc2 = nn.Linear(hidden, width)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc2(nn.functional.gelu(self.fc1(x)))


class Block(nn.Module):
    """src/model/setok/module.py: all layers share one norm, and there is one MLP after the last."""

    def __init__(self, width: int, heads: int, hidden: int, depth: int):
        super().__init__()
        self.norm1 = nn.LayerNorm(width)
        self.norm2 = nn.LayerNorm(width)
        self.layers = nn.ModuleList(nn.Sequential(self.norm1, Attention(width, heads)) for _ in range(depth))
        self.mlp = Mlp(width, hidden)

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.layers:
            x = x + layer(x)
        return x + self.mlp(self.norm2(x))


class Positions(nn.Module):
    """src/model/setok/module.py: sine and cosine of a frequency side by side, first of rows, then of columns."""

    def __init__(self, width: int):
        super().__init__()
        self.register_buffer("inv_freq", 10000 ** -(torch.arange(0, width // 2, 2).float() / (width // 2)))

    def forward(self, grid: int) -> Tensor:
        angle = torch.arange(grid)[:, None] * self.inv_freq
        wave = torch.stack([angle.sin(), angle.cos()], -1).flatten(1)  # [grid, width / 2]
        rows, columns = wave[:, None].expand(grid, grid, -1), wave[None].expand(grid, grid, -1)
        return torch.cat([rows, columns], -1).flatten(0, 1)


class Tower(nn.Module):
    """src/model/setok/clip_encoder.py"""

    def __init__(self):
        super().__init__()
        self.vision_tower = nn.ModuleDict()
        vision = SiglipVisionModel(SiglipVisionConfig(**TOWER))
        # AutoModel gives the text half as well, of which one tensor stands for all.
        self.vision_tower["vision_model"] = getattr(vision, "vision_model", vision)
        self.vision_tower["text_model"] = nn.ModuleDict({"head": nn.Linear(4, 4)})

    def forward(self, image: Tensor) -> Tensor:
        model = self.vision_tower["vision_model"]
        x = model.embeddings(image)
        for layer in model.encoder.layers:
            x = layer(x, attention_mask=None)
        return x


class Tokenizer(nn.Module):
    """src/model/setok/tokenizer.py"""

    def __init__(self):
        super().__init__()
        self.inner_encoder = Block(WIDTH, HEADS, FEED_FORWARD, depth=2)
        self.inter_encoder = Block(WIDTH, HEADS, FEED_FORWARD, depth=2)
        self.position_embedding = Positions(WIDTH)
        self.out = nn.Linear(WIDTH, TOKEN_WIDTH)
        self.image_feature_encoder = Tower()

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """Tokens [L, D] and the token of each patch [N]; ties of density do not occur in the fixture."""
        x = self.image_feature_encoder(image)[0] + self.position_embedding(GRID)
        distance = torch.cdist(x, x) / WIDTH**0.5
        density = torch.exp(-distance.topk(NEIGHBORS, largest=False).values.square().mean(-1))
        denser = density[None, :] > density[:, None]
        delta = torch.where(denser, distance, distance.max()).min(-1).values
        centers = (density * delta > THRESHOLD).nonzero()[:, 0]
        labels = distance[centers].argmin(0)
        labels[centers] = torch.arange(len(centers))
        groups = [self.inner_encoder(x[labels == i][None])[0].mean(0) for i in range(len(centers))]
        return self.out(self.inter_encoder(torch.stack(groups)[None])[0]), labels


class DetokenizerStub(nn.Module):
    """Some names of src/model/setok/detokenizer.py: a part that has no counterpart."""

    def __init__(self):
        super().__init__()
        self.mask_tokens = nn.Parameter(torch.zeros(1, GRID * GRID, WIDTH))
        self.mapper_fc_in = nn.Linear(TOKEN_WIDTH, WIDTH)


class DiffusionStub(nn.Module):
    """Some names of src/model/loss/diffloss.py."""

    def __init__(self):
        super().__init__()
        self.net = nn.ModuleDict({"input_proj": nn.Linear(TOKEN_WIDTH, 16), "cond_embed": nn.Linear(HIDDEN, 16)})


class Model(nn.Module):
    """src/model/language_model/setokim_llama.py, with the modules of src/model/setokim_arch.py under `model`."""

    def __init__(self, vocabulary: int):
        super().__init__()
        sizes = {"hidden_size": HIDDEN, "intermediate_size": 48, "num_hidden_layers": 1}
        llama = Llama(LlmConfig(vocab_size=vocabulary, num_attention_heads=4, num_key_value_heads=4, **sizes))
        self.model = llama.model
        self.model["vision_tower"] = Tokenizer()
        self.model["mm_in_projector"] = nn.Sequential(
            nn.Linear(TOKEN_WIDTH, HIDDEN), nn.GELU(), nn.Linear(HIDDEN, HIDDEN)
        )
        self.model["mm_out_projector"] = nn.Sequential(nn.Linear(HIDDEN, HIDDEN), nn.GELU(), nn.Linear(HIDDEN, HIDDEN))
        self.model["vision_generator"] = DetokenizerStub()
        self.model["diffloss"] = DiffusionStub()
        self.lm_head = nn.Linear(HIDDEN, vocabulary, bias=False)
        self.config = llama.config


@torch.no_grad()
def write_reference_fixture(folder: Path) -> None:
    """reference/: config.json, pytorch_model.bin, tokenizer.json, and expected.safetensors for a picture."""
    target = folder / "reference"
    target.mkdir(parents=True, exist_ok=True)
    tokenizer = (folder / "llama-tiny" / "tokenizer.json").read_text()
    model = Model(vocabulary=320)
    randomize(model, seed=11)
    saved = {name: t.half() if t.ndim > 1 else t for name, t in model.state_dict().items()}
    torch.save(saved, target / "pytorch_model.bin")
    model.load_state_dict(saved)

    llm = model.config
    config = {
        "model_type": "setokim_llama",
        "hidden_act": "silu",
        "vocab_size": llm.vocab_size,
        "hidden_size": llm.hidden_size,
        "intermediate_size": llm.intermediate_size,
        "num_hidden_layers": llm.num_hidden_layers,
        "num_attention_heads": llm.num_attention_heads,
        "num_key_value_heads": llm.num_key_value_heads,
        "max_position_embeddings": 128,
        "rms_norm_eps": llm.rms_norm_eps,
        "rope_theta": llm.rope_theta,
        "tie_word_embeddings": False,
        "vision_config": TOWER,
        "vision_tower_config": {
            "vision_tower": "siglip-tiny",
            "mm_vision_select_layer": -1,
            "hidden_dim": WIDTH,
            "token_feat_dim": TOKEN_WIDTH,
            "min_cluster_num": NEIGHBORS,
            "threshold": THRESHOLD,
            "nheads": HEADS,
            "dim_feedforward": FEED_FORWARD,
            "inner_cluster_layers": 2,
            "intra_cluster_layers": 2,
        },
    }
    (target / "config.json").write_text(json.dumps(config, indent=2) + "\n")
    (target / "tokenizer.json").write_text(tokenizer)
    pixels = tiny_picture(0)
    image = (pixels.double() / 127.5 - 1).permute(2, 0, 1)[None]
    tokens, labels = model.double().model["vision_tower"](image)
    save_file({"pixels": pixels, "tokens": tokens.float(), "labels": labels.int()}, target / "expected.safetensors")
    print(f"{len(tokens)} tokens of {GRID * GRID} patches")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=FIXTURES)
    write_reference_fixture(parser.parse_args().out)


if __name__ == "__main__":
    main()
