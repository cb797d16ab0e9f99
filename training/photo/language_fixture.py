"""The language half of a tiny photo model with its answers: tests/fixtures/photo_language.{json,safetensors}.

`python -m training.photo.language_fixture`. It talks with tests/fixtures/tiny.gguf about the tokens of
tests/fixtures/photo_tiny.safetensors. Weights in the names of the README, rows of q and k in GGUF's own order. Answers:
`embeddings` [L, H] of the photo; `prompt` and `hidden` [T, H] of a question about it (a photo's token is -1), `greedy`
the answer; `plain_prompt`, `plain_hidden`, `plain_greedy` the same without a photo and with the adapters off;
`find_prompt`, `find_state` [1, H] of the [SEG] after it and `find_logits` [2G, 2G]. The JSON joins photo_tiny.json.
"""

import argparse
import json
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from ..model.projector import Projector
from .fixtures import TOKENIZER, shaken
from .mask_head import WIDTH, MaskHead
from .packs import DESCRIBE, Prompts
from .smollm2 import LanguageConfig, LanguageModel, load_tokenizer, reader

FIXTURES = Path("tests/fixtures")
RANK, SCALE = 4, 2.0
SEG = "<|endoftext|>"  # the tiny vocabulary has no `<file_sep>`
FIND, PHRASE = "Segment {}.", "a dog"
CONFIG = LanguageConfig(hidden=64, heads=4, kv_heads=2, layers=2, feed_forward=96, rope_base=10000.0)
GREEDY = 12


class TinyLanguage:
    def __init__(self):
        torch.manual_seed(12)
        gguf = reader(FIXTURES / "tiny.gguf")
        self.tokenizer = load_tokenizer(gguf)
        self.prompts = Prompts(self.tokenizer)
        self.model = LanguageModel(gguf, RANK, SCALE, torch.float32, CONFIG)
        self.projector = shaken(Projector(TOKENIZER.token_width, CONFIG.hidden))
        self.mask_head = shaken(MaskHead(CONFIG.hidden, TOKENIZER.width, TOKENIZER.channels8, TOKENIZER.norm_eps))
        for name, p in self.model.named_parameters():
            if name.endswith(".b"):
                torch.nn.init.normal_(p, std=0.2)
        with torch.no_grad():  # a mask with an inside and an outside
            for p in self.mask_head.parameters():
                p.mul_(3 if p.ndim > 1 else 0.1)
        self.model.requires_grad_(False)

    def turn_adapters(self, on: bool) -> None:
        for layer in self.model.layers:
            for part in ("q", "v", "o", "down"):
                getattr(layer, part).is_on = on

    def hidden(self, ids: list[int], photo: Tensor) -> Tensor:
        """ids, -1 where the next token of the photo stands -> [T, H]"""
        where = torch.tensor(ids)
        x = self.model.embed(where.clamp(min=0))
        x[where < 0] = photo
        count = len(ids)
        return self.model(x[None], torch.arange(count)[None], torch.ones(1, count, count, dtype=torch.bool).tril())[0]

    def greedy(self, ids: list[int], photo: Tensor) -> list[int]:
        """Text only: control tokens are never chosen, but for the end."""
        banned = [self.tokenizer.token_to_id(name) for name in ("<|endoftext|>", "<|im_start|>")]
        said: list[int] = []
        while len(said) < GREEDY:
            logits = self.hidden(ids + said, photo)[-1] @ self.model.embedding.T
            logits[banned] = -torch.inf
            said.append(int(logits.argmax()))
        return said


@torch.no_grad()
def tensors() -> dict[str, Tensor]:
    tiny = TinyLanguage()
    photo = load_file(FIXTURES / "photo_tiny.safetensors")
    tokens = photo["tokens"]
    tiny.projector.mean.copy_(tokens.mean(0))
    tiny.projector.std.copy_(tokens.std(0))
    seen = tiny.projector(tiny.projector.normalize(tokens))
    visual = [-1] * len(tokens)
    prompts, seg = tiny.prompts, tiny.tokenizer.token_to_id(SEG)

    prompt = prompts.user + visual + prompts.question(DESCRIBE[0])
    answers = {"embeddings": seen, "prompt": torch.tensor(prompt), "hidden": tiny.hidden(prompt, seen)}
    answers["greedy"] = torch.tensor(tiny.greedy(prompt, seen))

    asked = prompts.user + visual + prompts.question(FIND.format(PHRASE))
    state = tiny.hidden([*asked, seg], seen)[-1:]
    stride8 = photo["stride8"].permute(1, 2, 0)[None]
    logits = tiny.mask_head(state, tiny.mask_head.places(photo["normal"][None], stride8))[0]
    answers |= {"find_prompt": torch.tensor(asked), "find_state": state, "find_logits": logits}

    tiny.turn_adapters(False)
    plain = prompts.user + prompts.encode("Hello!<|im_end|>\n<|im_start|>assistant\n")
    answers |= {"plain_prompt": torch.tensor(plain), "plain_hidden": tiny.hidden(plain, seen[:0])}
    answers["plain_greedy"] = torch.tensor(tiny.greedy(plain, seen[:0]))

    weights = {f"projector.{name}": value for name, value in tiny.projector.state_dict().items()}
    weights |= {f"mask_head.{name}": value for name, value in tiny.mask_head.state_dict().items()}
    for name, value in tiny.model.state_dict().items():
        if name.endswith((".a", ".b")):
            weights["adapters." + name.removeprefix("layers.")] = value
    answers = {name: value.int() if value.dtype == torch.int64 else value for name, value in answers.items()}
    return {name: value.contiguous() for name, value in (weights | answers).items()}


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=FIXTURES)
    out = parser.parse_args().out
    save_file(tensors(), out / "photo_language.safetensors")
    config = {
        "adapters": {"rank": RANK, "scale": SCALE, "parts": ["q", "v", "o", "down"]},
        "mask_head": {"width": WIDTH},
        "chat": {"template": "chat_ml", "segment": SEG},
        "prompts": {"describe": DESCRIBE[0], "segment": FIND},
    }
    (out / "photo_language.json").write_text(json.dumps(config, indent=2) + "\n")
