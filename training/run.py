"""Train a stage, from the root of the repository or under `torchrun`; a run found in --out is resumed.

python -m training.run --stage 1 --config nano
python -m training.run --stage 2 --start runs/stage1-nano/checkpoint.pt --text models/setokim-tiny/tokenizer.json
python -m training.run --stage 3 --start runs/stage2-nano/checkpoint.pt --text models/setokim-tiny/tokenizer.json
python -m training.run --stage 4 --start runs/stage3-nano/checkpoint.pt
python -m training.run --stage 5 --start runs/stage4-nano/checkpoint.pt

Stage 1 goes on from a checkpoint with --start, and stages 3 and 4 take over what it learned with --tokenizer.
"""

import argparse
import dataclasses
from pathlib import Path

import torch
from tokenizers import Tokenizer

from .model import CONFIGS, SeTok
from .model.checkpoints import add_clustering_options, chosen_clustering, load_setok, load_setokim
from .stages.distributed import Workers
from .stages.runs import Run
from .stages.stage1 import Stage1, Stage1Settings
from .stages.stage2 import (
    Stage2,
    Stage2Settings,
    load_heads,
    replace_detokenizer,
    replace_tokenizer,
    setokim_from_stage1,
)
from .stages.stage4 import Stage4, Stage4Settings
from .stages.stage5 import Stage5, Stage5Settings


def start(arguments: argparse.Namespace, workers: Workers) -> Run:
    """The run of a stage as the command line asks for it."""
    options = {
        name: getattr(arguments, name)
        for name in ("steps", "minutes", "batch", "learning_rate", "seed")
        if getattr(arguments, name) is not None
    }
    folder = arguments.out or Path("runs") / f"stage{arguments.stage}-{arguments.config}"
    if arguments.stage == 1:
        settings = Stage1Settings(**options)
        if arguments.start:  # clusters that exist already are learned from
            settings = dataclasses.replace(settings, true_clusters=0.0)
            return Stage1(load_setok(arguments.start), settings, workers, folder)
        torch.manual_seed(settings.seed)
        return Stage1(SeTok(CONFIGS[arguments.config]), settings, workers, folder)
    text = Tokenizer.from_file(str(arguments.text)) if arguments.text else None
    model = setokim_from_stage1(arguments.start, text) if arguments.stage == 2 else load_setokim(arguments.start)
    model.to(workers.device)
    if arguments.tokenizer:
        replace_tokenizer(model, load_setok(arguments.tokenizer, chosen_clustering(arguments)), text)
    if arguments.detokenizer:
        replace_detokenizer(model, load_setok(arguments.detokenizer))
    if arguments.stage == 4:
        return Stage4(model, Stage4Settings(**options), workers, folder)
    if arguments.stage == 5:
        return Stage5(model, Stage5Settings(**options), workers, folder)
    settings = Stage2Settings(stage=arguments.stage, finish=arguments.finish, **options)
    run = Stage2(model, text, settings, workers, folder)
    load_heads(run, arguments.start)
    return run


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--stage", type=int, choices=[1, 2, 3, 4, 5], default=1)
    parser.add_argument("--config", choices=CONFIGS, default="nano", help="size of the tokenizer (stage 1)")
    parser.add_argument("--start", type=Path, help="checkpoint to begin with; stages 2 to 5 need one")
    parser.add_argument("--text", type=Path, help="tokenizer.json (stages 2 to 4), see training.data.vocabulary")
    parser.add_argument(
        "--tokenizer", type=Path, help="stages 3 and 4: take SeTok from this checkpoint, as it went on learning"
    )
    parser.add_argument(
        "--detokenizer", type=Path, help="stage 3: take the detokenizer from this checkpoint of stage 4"
    )
    parser.add_argument("--finish", action="store_true", help="stage 3: let the text decide, to end with")
    add_clustering_options(parser)
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda")
    parser.add_argument("--out", type=Path, help="folder of checkpoint and logs")
    parser.add_argument("--steps", type=int)
    parser.add_argument("--minutes", type=float, help="plan the run by time instead of steps")
    parser.add_argument("--batch", type=int, help="examples per step, over all processes")
    parser.add_argument("--learning-rate", type=float)
    parser.add_argument("--seed", type=int)
    parser.add_argument("--threads", type=int, default=0, help="CPU threads of each process (0: decided by PyTorch)")
    parser.add_argument("--loaders", type=int, default=0, help="processes that make examples ahead, for a GPU")
    arguments = parser.parse_args()
    if arguments.stage > 1 and not arguments.start:
        parser.error(f"stage {arguments.stage} needs --start")
    if (arguments.stage in (2, 3) or arguments.tokenizer) and not arguments.text:
        parser.error(f"stage {arguments.stage} needs --text")
    if arguments.finish and arguments.stage != 3:
        parser.error("--finish is for stage 3")
    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    workers = Workers(arguments.device, arguments.loaders)
    start(arguments, workers).run()
    workers.close()


if __name__ == "__main__":
    main()
