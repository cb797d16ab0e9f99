"""Write a checkpoint as a model folder of 32-bit floats, with its model card, or the sample pictures of the demo.

python -m training.export runs/stage1-nano/checkpoint.pt --metrics metrics.json --out runs/exported
python -m training.export runs/stage3-nano/checkpoint.pt --text tokenizer.json --out runs/exported
cargo run --release --all-features --bin setokim -- convert runs/exported -o models/setokim-tiny --type q8  # packed
python -m training.export --samples models/samples
"""

import argparse
import dataclasses
import json
import shutil
from pathlib import Path

import torch
from PIL import Image

from .data.scenes import BACKGROUND_NAMES, render_scene, sample_scene
from .data.text import REFUSALS
from .model import SeTok
from .model.bundle import write_bundle
from .model.checkpoints import add_clustering_options, chosen_clustering, load_setok, load_setokim, read_weights
from .model.setokim import Setokim
from .stages.stage2 import replace_detokenizer

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


TASK_LINES = {
    "questions": "questions answered exactly",
    "segment_iou": "referring masks, IoU by pixel",
    "segment_refused": "phrases for absent things refused",
    "generate_objects": "objects of a prompt found in the drawn picture",
    "generate_objects_real": "the same on real pictures",
    "edit": "edits right and everything else unchanged",
    "edit_judged_real": "the same on real pictures",
}


def load(checkpoint: Path, clustering: dict[str, float]) -> SeTok | Setokim:
    """The averaged weights of a checkpoint of any stage, or those of a model folder."""
    config = json.loads(read_weights(checkpoint)[0])
    return load_setokim(checkpoint, clustering) if "llm" in config else load_setok(checkpoint, clustering)


def task_card(model: Setokim, tasks: dict[str, float] | None) -> str:
    """What a language model adds to the card; `tasks` is what `training.evaluation.tasks` or `setokim eval` reports."""
    llm, diffusion = model.config.llm, model.config.diffusion
    rows = "\n".join(f"| {line} | {tasks[name]:.3f} |" for name, line in TASK_LINES.items() if name in (tasks or {}))
    table = f"\n| task | value |\n| --- | --- |\n{rows}\n" if rows else ""
    return f"""
## Language model

Talks about its pictures, marks what a phrase means, draws and edits: a LLaMA of width {llm.hidden_size},
{llm.num_hidden_layers} layers, a vocabulary of {llm.vocab_size} and a context of {llm.max_position_embeddings}
tokens; visual tokens are drawn by a diffusion head of width {diffusion.width}.
{table}"""


def model_card(model: SeTok | Setokim, report: dict, tasks: dict[str, float] | None = None) -> str:
    """README.md of the bundle, with the numbers of `training.evaluation.tokenizer`."""
    is_setokim, parameters = isinstance(model, Setokim), sum(p.numel() for p in model.parameters())
    config = model.tokenizer_config if is_setokim else model.config
    language = task_card(model, tasks) if is_setokim else ""
    rows = "\n".join(f"| {line} | {report['metrics'][name]:.3f} |" for name, line in METRIC_LINES.items())
    return f"""# {config.name}

A SeTok tokenizer and detokenizer: it turns a picture of {config.vision.image_size} x {config.vision.image_size} pixels
into a few visual tokens, about one for each thing in it, and tokens back into a picture.
{parameters / 1e6:.1f} M parameters.

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
{language}
## Training

Stage 1 of `training/`, the tokenizer: {report["images"]:,} rendered scenes, seen once each, in
{report["minutes"]:.0f} minutes on two CPU cores shared with other work. The numbers were still rising when the
time was up.

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
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoint", type=Path, nargs="?", help="of any stage, or a model folder")
    parser.add_argument("--out", type=Path, help="folder to write")
    parser.add_argument("--text", type=Path, help="tokenizer.json of the language model (stages 2 and 3)")
    parser.add_argument(
        "--metrics", type=Path, help="report of training.evaluation.tokenizer on a checkpoint, for the model card"
    )
    parser.add_argument("--tasks", type=Path, help="report of training.evaluation.tasks, for the model card")
    add_clustering_options(parser)
    parser.add_argument(
        "--detokenizer", type=Path, help="take it from this checkpoint of stage 4, which may have run beside stage 3"
    )
    parser.add_argument("--picture-margin", type=float, help="of a model of stage 3 or 4, see training.evaluation.tune")
    parser.add_argument("--samples", type=Path, help="write sample pictures into this folder")
    arguments = parser.parse_args()
    if arguments.samples:
        write_samples(arguments.samples)
    if not arguments.checkpoint:
        return
    if not arguments.out:
        parser.error("a checkpoint needs --out")
    model = load(arguments.checkpoint, chosen_clustering(arguments))
    if isinstance(model, Setokim) and not arguments.text:
        parser.error("a language model needs the --text it was trained with")
    if arguments.detokenizer and not isinstance(model, Setokim):
        parser.error("--detokenizer is for a language model: a tokenizer has its own")
    if arguments.detokenizer:
        replace_detokenizer(model, load_setok(arguments.detokenizer))
    if isinstance(model, Setokim):
        model.config = dataclasses.replace(model.config, refusals=REFUSALS)
    if arguments.picture_margin is not None:
        model.config = dataclasses.replace(model.config, picture_margin=arguments.picture_margin)
    arguments.out.mkdir(parents=True, exist_ok=True)
    if arguments.text:
        shutil.copyfile(arguments.text, arguments.out / "tokenizer.json")
    write_bundle(arguments.out, model, matrix_dtype=torch.float32)
    if arguments.metrics:
        tasks = json.loads(arguments.tasks.read_text()) if arguments.tasks else None
        (arguments.out / "README.md").write_text(model_card(model, json.loads(arguments.metrics.read_text()), tasks))


if __name__ == "__main__":
    main()
