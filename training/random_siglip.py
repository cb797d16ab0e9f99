"""Write a SigLIP vision tower of the published size with random weights, and the same as ONNX: its speed does not
depend on what it has learned.

    python -m training.random_siglip --out target/peers/siglip-base

The folder is laid out as the published ones (`google/siglip-base-patch16-224`); `encoder.onnx` beside it gives the
features that this library reads, those of the last layer but one. Input `image` [1, 3, S, S], normalised; output
`features` [1, N, C]. Needs the packages of the extra `onnx`, and transformers.
"""

import argparse
import json
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from transformers import SiglipVisionConfig, SiglipVisionModel

from .export_onnx import export_encoder


class LastButOne(nn.Module):
    def __init__(self, tower: SiglipVisionModel):
        super().__init__()
        self.tower = tower

    def forward(self, image: Tensor) -> Tensor:
        return self.tower(pixel_values=image, output_hidden_states=True).hidden_states[-2]


@torch.no_grad()
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--image-size", type=int, default=224)
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(0)
    config = SiglipVisionConfig(image_size=arguments.image_size, attn_implementation="eager")
    tower = SiglipVisionModel(config).eval()
    weights = {f"vision_model.{name.removeprefix('vision_model.')}": t for name, t in tower.state_dict().items()}
    save_file({name: t.contiguous() for name, t in weights.items()}, arguments.out / "model.safetensors")
    sizes = {name: value for name, value in config.to_diff_dict().items() if name != "transformers_version"}
    layout = {"architectures": ["SiglipModel"], "model_type": "siglip", "vision_config": sizes}
    (arguments.out / "config.json").write_text(json.dumps(layout, indent=2) + "\n")
    export_encoder(LastButOne(tower), arguments.image_size, arguments.out / "encoder.onnx")


if __name__ == "__main__":
    main()
