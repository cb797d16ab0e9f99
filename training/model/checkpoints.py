"""What a training run or a model folder holds, as a model again."""

import argparse
import dataclasses
from pathlib import Path

import torch
from torch import Tensor

from .bundle import read_tensors
from .config import ModelConfig
from .setok import SeTok
from .setokim import Setokim, SetokimConfig


def load_setok(checkpoint: Path, clustering: dict[str, float] | None = None) -> SeTok:
    """The averaged tokenizer of a checkpoint of any stage, or that of a model folder.

    `clustering` replaces settings of that section.
    """
    config, weights = read_weights(checkpoint)
    model = SeTok(with_clustering(config, clustering))
    model.load_state_dict({name: weights[name] for name in model.state_dict()})
    return model.eval()


def load_setokim(checkpoint: Path, clustering: dict[str, float] | None = None) -> Setokim:
    """The averaged weights of a checkpoint of stage 2 or later, or those of a model folder.

    `clustering` replaces settings of that section.
    """
    config, weights = read_weights(checkpoint)
    model = Setokim(SeTok(with_clustering(config, clustering)), SetokimConfig.from_json(config))
    model.load_state_dict({name: weights[name] for name in model.state_dict()})
    return model.eval()


def read_weights(path: Path) -> tuple[str, dict[str, Tensor]]:
    """config.json and tensors of a checkpoint, averaged over its last steps, or of a model folder."""
    if path.is_dir():
        return (path / "config.json").read_text(), read_tensors(path)
    state = torch.load(path, map_location="cpu")
    return state["config"], {name.removeprefix("setokim."): tensor for name, tensor in state["average"].items()}


def with_clustering(config_json: str, clustering: dict[str, float] | None) -> ModelConfig:
    config = ModelConfig.from_json(config_json)
    return dataclasses.replace(config, cluster=dataclasses.replace(config.cluster, **(clustering or {})))


def add_clustering_options(parser: argparse.ArgumentParser) -> None:
    """The settings that `training.evaluation.tune` finds, for commands that load a checkpoint."""
    parser.add_argument("--neighbors", type=int, help="clustering setting instead of the checkpoint's")
    parser.add_argument("--threshold", type=float, help="clustering setting instead of the checkpoint's")


def chosen_clustering(arguments: argparse.Namespace) -> dict[str, float]:
    chosen = {"neighbors": arguments.neighbors, "threshold": arguments.threshold}
    return {name: value for name, value in chosen.items() if value is not None}
