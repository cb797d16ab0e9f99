"""Stage 5: the layers of the detokenizer alone, from tokens that are made once.

Where things lie decides how near a reconstruction is to its picture: with the true places it would be 5 dB better, with
the true pictures of things .1 dB. Places take a tenth of the work of pictures, so a step learns eight times as many.
"""

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from ..model.setokim import Setokim
from .distributed import Workers
from .losses import layer_losses, place_loss
from .sampler import encode_images
from .stage1 import SceneLoader
from .stage4 import Stage4, Stage4Settings


@dataclass(frozen=True)
class Stage5Settings(Stage4Settings):
    batch: int = 512  # tokens that are placed
    layer_images: int = 64  # of them, whose layers' images are learned too
    learning_rate: float = 5e-4
    last_learning_rate: float = 1e-5
    warmup_steps: int = 300
    token_noise: float = 0.3
    scenes: int = 40_000  # whose tokens are learned from
    scenes_at_once: int = 32


class Stage5(Stage4):
    loss_weights = {"layers": 10.0, "boxes": 40.0}

    def __init__(self, model: Setokim, settings: Stage5Settings, workers: Workers, folder: Path):
        super().__init__(model, settings, workers, folder)
        self.loader = SceneLoader(settings.easy_vqa, settings.scenes_at_once, workers)
        self.fill_buffer()

    @staticmethod
    def learning(model: Setokim) -> nn.Module:
        return model.detok.layers

    def losses(self, first: int, count: int) -> tuple[dict[str, Tensor], dict[str, float]]:
        layers, images = self.model["setokim"].detok.layers, self.settings.layer_images // self.workers.count
        chosen = torch.randint(len(self.buffer.tokens), (count,), device=self.buffer.tokens.device)
        tokens, objects = self.blurred(self.buffer.tokens[chosen]), self.buffer.objects[chosen]
        loss = layer_losses(layers, tokens[:images], objects[:images])["layers"]
        return {"layers": loss, "boxes": place_loss(layers.boxes(tokens), objects)}, {}

    def fill_buffer(self) -> None:
        """Tokens of the scenes that a seed gives; a resumed run makes them again."""
        settings, workers = self.settings, self.workers
        share = settings.scenes // workers.count
        own = (settings.seed << 24) + workers.rank * share
        for first in range(own, own + share, settings.scenes_at_once):
            labeled = self.loader.batch(first, settings.scenes_at_once)
            self.buffer.add(
                encode_images(self.model["setokim"], labeled.rendered), labeled.objects, settings.buffer_size
            )
