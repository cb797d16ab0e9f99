"""Write a checkpoint as the model the library ships, with its model card, or the sample pictures of the demo.

python -m training.export runs/stage1-nano/checkpoint.pt --metrics metrics.json
python -m training.export --samples models/samples
"""

import argparse
import json
from pathlib import Path

from PIL import Image

from .bundle import write_bundle
from .evaluate import add_clustering_options, chosen_clustering, load_average
from .model import SeTok
from .scenes import BACKGROUND_NAMES, render_scene, sample_scene

BUNDLE = Path("models/setokim-tiny")
SAMPLES = 8

METRIC_LINES = {
    "object_iou": "object cluster mIoU, by patch",
    "region_iou": "region cluster mIoU, by patch (objects and backgrounds)",
    "tokens": "tokens per image",
    "regions": "true regions per image",
    "tokens_off_by": "mean difference between tokens and true regions",
    "tokens_exact": "images with exactly as many tokens as true regions",
    "psnr": "reconstruction PSNR, dB",
    "ssim": "reconstruction SSIM",
    "object_names": "objects named correctly from their token",
    "object_colors": "colours of recoloured objects named correctly from their token",
    "object_names_from_reconstruction": "objects named correctly from the reconstructed picture",
}


def model_card(model: SeTok, report: dict) -> str:
    """README.md of the bundle, with the numbers of `training.evaluate`."""
    config, parameters = model.config, sum(p.numel() for p in model.parameters())
    rows = "\n".join(f"| {line} | {report['metrics'][name]:.3f} |" for name, line in METRIC_LINES.items())
    return f"""# {config.name}

A SeTok tokenizer and detokenizer: it turns a picture of {config.vision.image_size} x {config.vision.image_size} pixels
into a few visual tokens, about one for each thing in it, and tokens back into a picture.
{parameters / 1e6:.1f} M parameters, float16.

**It knows one world only**: emoji-style objects on ten plain backgrounds, drawn by the scene generator in `training/`.
Photographs are out of distribution: it will cut one into patches of similar colour and reconstruct a blur.

| part | size |
| --- | --- |
| encoder | width {config.vision.width}, {config.vision.depth} layers, patch {config.vision.patch_size} |
| clustering | density peaks, k = {config.cluster.neighbors}, threshold {config.cluster.threshold} |
| token | {config.merger.token_width} numbers, at most {config.cluster.max_clusters} tokens per picture |
| detokenizer | width {config.detokenizer.width}, {config.detokenizer.depth} layers |

## Numbers

{report["scenes"]} scenes of the split `{report["split"]}`, which training never showed (float32, PyTorch):

| metric | value |
| --- | --- |
{rows}

Naming from a reconstructed picture is judged by this model's own naming head on the true regions; what the same head
reaches on real pictures ("from their token") is the most that a perfect reconstruction could get.

## Training

Stage 1 of `training/`: {report["images"]:,} rendered scenes, seen once each, in {report["minutes"]:.0f} minutes on two
CPU cores shared with other work. The numbers were still rising when the time was up.

## Licences

The weights are under the project's licence. They were trained on pictures made from Noto Emoji (Apache-2.0) and Fluent
Emoji (MIT); see `training/NOTICE`.
"""


def write_samples(folder: Path) -> None:
    """Eight scenes of the test split as PNG, the first ones with different backgrounds and two or more objects."""
    folder.mkdir(parents=True, exist_ok=True)
    seen, index = set(), 0
    while len(seen) < min(SAMPLES, len(BACKGROUND_NAMES)):
        scene = sample_scene("test", index)
        index += 1
        if scene.background in seen or len(scene.objects) < 2:
            continue
        seen.add(scene.background)
        Image.fromarray(render_scene(scene)[0]).save(folder / f"{scene.background}.png", optimize=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("checkpoint", type=Path, nargs="?")
    parser.add_argument("--out", type=Path, default=BUNDLE)
    parser.add_argument("--metrics", type=Path, help="report of training.evaluate, for the model card")
    add_clustering_options(parser)
    parser.add_argument("--samples", type=Path, help="write sample pictures into this folder")
    arguments = parser.parse_args()
    if arguments.samples:
        write_samples(arguments.samples)
    if arguments.checkpoint:
        model = load_average(arguments.checkpoint, chosen_clustering(arguments))
        write_bundle(arguments.out, model)
        if arguments.metrics:
            card = model_card(model, json.loads(arguments.metrics.read_text()))
            (arguments.out / "README.md").write_text(card)


if __name__ == "__main__":
    main()
