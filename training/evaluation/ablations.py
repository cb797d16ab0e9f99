"""The paper's claims at our scale: ways of making visual tokens, compared under one frozen encoder.

    python -m training.evaluation.ablations models/setokim-tiny

One small language model learns from scenes described in words. Then, for each way of making tokens, that way and a
small detokenizer begin from nothing and are trained end to end with a copy of that language model, for the same number
of steps. Rows that --out already holds are not trained again; `--report` makes the table and the figure of
docs/ablations.md of them.
"""

import argparse
import time
from collections import Counter, defaultdict
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from tokenizers import Tokenizer
from torch import Tensor, nn

from ..data.questions import ask_any
from ..data.scenes import render_batch, sample_scene, scene_rng
from ..data.speaker import Speaker
from ..data.text import refer
from ..model.checkpoints import load_setokim
from ..model.config import ModelConfig
from ..model.llm import Llama
from ..stages.losses import dice_loss, edge_loss, naming_loss, of_region, pixel_loss, token_regions
from ..stages.metrics import images_to_tensor, psnr
from ..stages.runs import append_row
from .ablation_model import LLM, MASK_WIDTH, Ablated, read_images, read_turns, text_loss
from .ablation_report import read_rows, report
from .ablation_scenes import EncodedScenes, SceneSplit, encode_split
from .ablation_turns import QUESTIONS_PER_IMAGE, PlainSpeaker, Turns, write_turns
from .ablation_variants import VARIANTS, Made, Variant

DECODED = 4  # images of a batch that are reconstructed
WEIGHTS = {"text": 1.0, "extra": 1.0, "name": 0.5, "color": 0.25, "mask": 1.0, "drawn": 1.0, "pixel": 2.0, "edge": 0.5}


def losses(
    model: Ablated, data: SceneSplit, rows: list[int], turns: Turns, made: Made, target: Made
) -> dict[str, Tensor]:
    before, hidden = data.before, read_images(model, made, turns)
    terms = {"text": text_loss(model.llm, hidden, turns), "extra": torch.as_tensor(made.extra_loss)}
    if model.variant.contrast:
        terms |= naming_losses(model, made, before, rows)
    logits, true = mask_logits(model, before, rows, turns, hidden)
    terms["mask"] = F.binary_cross_entropy_with_logits(logits, true) + dice_loss(logits, true)
    predicted, to_predict = model.predict_tokens(hidden, turns, made, target.valid.shape), turns.to_predict
    terms["drawn"] = F.mse_loss(*(tokens[to_predict.row, to_predict.token] for tokens in (predicted, target.tokens)))
    decoded, decoded_rows = made.tokens[:DECODED], rows[:DECODED]
    if not model.variant.reconstruction:  # the detokenizer learns all the same, for the measurement
        decoded = decoded.detach()
    image = images_to_tensor(before.images[decoded_rows])
    again = model.render(decoded, made.valid[:DECODED])
    terms["pixel"] = pixel_loss(again, image, before.object_masks[decoded_rows])
    terms["edge"] = edge_loss(again, image)
    return terms


def naming_losses(model: Ablated, made: Made, before: EncodedScenes, rows: list[int]) -> dict[str, Tensor]:
    """Tokens contrasted with all names. Where a token has no patches of its own, some token must say each true name."""
    attributes = {"name": (model.name, before.names[rows]), "color": (model.color, before.colors[rows])}
    if made.labels is None:
        return {key: any_token_loss(head(made.tokens), true) for key, (head, true) in attributes.items()}
    token_region = token_regions(made.labels, made.valid, before.regions[rows])
    named = {key: (head(made.tokens), of_region(true, token_region)) for key, (head, true) in attributes.items()}
    return {key: naming_loss(logits, true) for key, (logits, true) in named.items()}


def any_token_loss(logits: Tensor, true: Tensor) -> Tensor:
    """How unlikely it is that any token says what is true (noisy or). [B, K, names], [B, R], -1 for no region."""
    silent = torch.log1p(-logits.softmax(-1).clamp(max=1 - 1e-6)).sum(1)  # [B, names] log probability that none says it
    said = -torch.expm1(silent.gather(1, true.clamp(min=0)))
    return -(said.clamp(min=1e-6).log() * (true >= 0)).sum() / (true >= 0).sum()


def mask_logits(
    model: Ablated, before: EncodedScenes, rows: list[int], turns: Turns, hidden: Tensor
) -> tuple[Tensor, Tensor]:
    """Logits and truth by patch [n, N]."""
    b, place, region = (list(column) for column in zip(*turns.masks))
    images = [rows[i] for i in b]
    query = model.mask_query(hidden[b, place])
    logits = model.mask_features(before.features[images].float()) @ query[..., None] / MASK_WIDTH**0.5
    return logits[..., 0], (before.regions[images] == torch.tensor(region)[:, None]).float()


def descent(parameters: list[nn.Parameter], steps: int, rate: float) -> Callable[[Tensor], None]:
    """What takes each of so many steps along the gradient of a loss."""
    optimizer = torch.optim.AdamW(parameters, lr=rate, betas=(0.9, 0.95), weight_decay=0.05, fused=True)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, rate, steps, pct_start=0.1)

    def descend(loss: Tensor) -> None:
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        schedule.step()

    return descend


def train_llm(text: Tokenizer, steps: int, batch: int) -> Llama:
    """Answers questions about scenes described in words: where every way of making tokens starts."""
    torch.manual_seed(0)
    model = Llama(LLM)
    descend = descent(list(model.parameters()), steps, rate=2e-3)
    for step in range(steps):
        scenes = [sample_scene("train", 2**30 + step * batch + b) for b in range(batch)]
        speakers = [PlainSpeaker(np.random.default_rng([step, b])) for b in range(batch)]
        turns = write_turns(text, scenes, speakers, None, [])
        loss = text_loss(model, read_turns(model, turns, model.embedding[turns.ids]), turns)
        descend(loss)
        if step % 50 == 0:
            print(f"  language model, step {step}: {loss.item():.3f}", flush=True)
    return model


def train(
    variant: Variant, config: ModelConfig, llm: Llama, text: Tokenizer, data: SceneSplit, arguments, seed: int
) -> Ablated:
    torch.manual_seed(seed)
    model = Ablated(variant, config)
    model.llm.load_state_dict(llm.state_dict())
    descend = descent(list(model.parameters()), arguments.steps, rate=1.5e-3)
    for step in range(arguments.steps):
        rng = np.random.default_rng([seed, step])  # every variant learns from the same pictures and words
        rows = rng.permutation(len(data.scenes))[: arguments.batch].tolist()
        speakers = [PlainSpeaker(np.random.default_rng([seed, step, b])) for b in range(arguments.batch)]
        made = model.tokens(data.before, rows)
        with torch.no_grad():
            target = model.tokens(data.after, rows)
        terms = losses(model, data, rows, about(text, data, rows, speakers, made, target), made, target)
        descend(sum(WEIGHTS[name] * term for name, term in terms.items()))
        if step % 50 == 0:
            print(f"  step {step}", {name: round(term.item(), 3) for name, term in terms.items()}, flush=True)
    return model.eval()


def about(
    text: Tokenizer, data: SceneSplit, rows: list[int], speakers: list[Speaker], made: Made, target: Made
) -> Turns:
    edits = list(zip((data.edits[row] for row in rows), target.valid.sum(1).tolist()))
    return write_turns(text, [data.scenes[row] for row in rows], speakers, made.valid.sum(1).tolist(), edits)


@torch.no_grad()
def measure(model: Ablated, text: Tokenizer, data: SceneSplit, batch: int = 32) -> dict[str, float]:
    values = defaultdict(list)
    for first in range(0, len(data.scenes), batch):
        rows = list(range(first, min(first + batch, len(data.scenes))))
        speakers = [PlainSpeaker(scene_rng(data.split, 2**35 + row)) for row in rows]
        made, target = model.tokens(data.before, rows), model.tokens(data.after, rows)
        turns = about(text, data, rows, speakers, made, target)
        hidden = read_images(model, made, turns)
        values["tokens"] += made.valid.sum(1).tolist()
        values["questions"] += answered_right(model.llm, hidden, turns)
        logits, true = mask_logits(model, data.before, rows, turns, hidden)
        found, true = logits > 0, true > 0
        values["iou"] += ((found & true).sum(1) / (found | true).sum(1).clamp(min=1)).tolist()
        before, after = (images_to_tensor(encoded.images[rows]) for encoded in (data.before, data.after))
        values["psnr"] += psnr(model.render(made.tokens, made.valid).clamp(-1, 1), before)
        edited = model.render(model.predict_tokens(hidden, turns, made, target.valid.shape), target.valid)
        values["edit"] += edit_success(edited, model.render(target.tokens, target.valid), before, after).tolist()
    return {name: float(np.mean(v)) for name, v in values.items()}


def answered_right(model: Llama, hidden: Tensor, turns: Turns) -> list[bool]:
    """Of each question, whether every word of the answer would be said."""
    said = model.logits(hidden).argmax(-1)
    return [bool((said[b, first - 1 : end - 1] == turns.ids[b, first:end]).all()) for b, first, end in turns.answers]


def edit_success(edited: Tensor, best: Tensor, before: Tensor, after: Tensor) -> Tensor:
    """Is the rendered image, where the two differ, twice as near to what it should be as to what it was, and elsewhere
    at most 1 dB worse than `best`, which the detokenizer makes of the true tokens? [B, 3, S, S] -> [B] bool."""
    changed = (after != before).any(1, keepdim=True)
    error = lambda image, goal, where: ((image - goal).square() * where).sum((1, 2, 3))  # noqa: E731
    is_changed = error(edited, after, changed) < error(edited, before, changed) / 2
    return is_changed & (error(edited, after, ~changed) <= 10**0.1 * error(best, after, ~changed))


@torch.no_grad()
def baselines(llm: Llama, text: Tokenizer, count: int, heard: int = 48_000) -> dict[str, float]:
    """On scenes of `val`: questions answered by the language model that has the scene in words, and by whoever
    only knows the most frequent answer to them; the IoU of masks of all things whatever is asked."""
    answers = defaultdict(Counter)  # to each question, and to each kind of question
    for i in range(heard // QUESTIONS_PER_IMAGE):
        scene, speaker = sample_scene("train", i), PlainSpeaker(scene_rng("train", 2**36 + i))
        for question in (ask_any(speaker, scene) for _ in range(QUESTIONS_PER_IMAGE)):
            answers[question.question][question.answer] += 1
            answers[question.kind][question.answer] += 1
    scenes = [sample_scene("val", i) for i in range(count)]
    values = defaultdict(list)
    for first in range(0, count, 32):
        part = scenes[first : first + 32]
        speakers = [PlainSpeaker(scene_rng("val", 2**35 + first + b)) for b in range(len(part))]
        turns = write_turns(text, part, speakers, None, [])
        hidden = read_turns(llm, turns, llm.embedding[turns.ids])
        values["told in words"] += answered_right(llm, hidden, turns)
    for i, (scene, regions) in enumerate(zip(scenes, render_batch(scenes).patch_regions)):
        speaker = PlainSpeaker(scene_rng("val", 2**35 + i))
        for question in (ask_any(speaker, scene) for _ in range(QUESTIONS_PER_IMAGE)):
            known = answers[question.question] or answers[question.kind]
            values["guessed"].append(known.most_common(1)[0][0] == question.answer)
        things = (regions < len(scene.objects)).sum()
        values["all things marked"] += [
            (regions == region).sum() / things
            for region, thing in enumerate(scene.objects)
            if refer(speaker, scene, thing)
        ]
    return {name: float(np.mean(v)) for name, v in values.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "checkpoint", type=Path, nargs="?", help="of stage 2 or later, or a model folder: its encoder is used"
    )
    parser.add_argument("--text", type=Path, default=Path("models/setokim-tiny/tokenizer.json"))
    parser.add_argument("--variants", nargs="*", choices=VARIANTS, default=list(VARIANTS))
    parser.add_argument("--seeds", type=int, nargs="*", default=[0, 1, 2])
    parser.add_argument("--llm", type=Path, default=Path("runs/ablations-llm.pt"), help="made where there is none")
    parser.add_argument("--llm-steps", type=int, default=1500, help="of 16 scenes in words")
    parser.add_argument("--steps", type=int, default=400)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--scenes", type=int, default=2500, help="training scenes, each with one edit")
    parser.add_argument("--measured", type=int, default=256, help="scenes of `val`")
    parser.add_argument("--threads", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path("training/logs/ablations.csv"))
    parser.add_argument("--report", action="store_true", help="only print the table and write the figure")
    parser.add_argument("--baselines", action="store_true", help="only print what is right without seeing a picture")
    parser.add_argument("--figure", type=Path, default=Path("docs/images/ablations.png"))
    arguments = parser.parse_args()
    if arguments.report:
        return report(arguments.out, arguments.figure)
    if not (arguments.checkpoint or arguments.baselines):
        parser.error("a checkpoint is needed, or --report or --baselines")
    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    text = Tokenizer.from_file(str(arguments.text))
    if not arguments.llm.exists():
        arguments.llm.parent.mkdir(parents=True, exist_ok=True)
        torch.save(train_llm(text, arguments.llm_steps, 16).state_dict(), arguments.llm)
    llm = Llama(LLM)
    llm.load_state_dict(torch.load(arguments.llm))
    if arguments.baselines:
        return print(baselines(llm, text, arguments.measured))
    encoder = load_setokim(arguments.checkpoint)
    data = encode_split(encoder, "train", arguments.scenes)
    held_out = encode_split(encoder, "val", arguments.measured)
    for seed in arguments.seeds:
        for name in arguments.variants:
            if any((row["variant"], row["seed"]) == (name, str(seed)) for row in read_rows(arguments.out)):
                continue
            print(name, "seed", seed, flush=True)
            started = time.monotonic()
            model = train(VARIANTS[name], encoder.tokenizer_config, llm, text, data, arguments, seed)
            row = {"variant": name, "seed": seed, "steps": arguments.steps, **measure(model, text, held_out)}
            append_row(arguments.out, {**row, "seconds": round(time.monotonic() - started)})
            print("  measured", {k: round(v, 3) for k, v in row.items() if isinstance(v, float)}, flush=True)


if __name__ == "__main__":
    main()
