"""Batches for stages 2 and 3: pictures drawn and tokenised, and sequences with their tokens in place."""

from concurrent.futures import Future
from dataclasses import dataclass

import torch
from tokenizers import Tokenizer
from torch import Tensor

from ..data.renderer import Canvas, Layouts, Renderer
from ..data.special_tokens import SpecialTokens
from ..data.targets import Targets, targets_of
from ..data.tasks import Contents, Planned, Sequence, TaskWriter
from ..model.cluster import cluster_features
from ..model.setokim import Setokim, order_by_area
from .ahead import Ahead
from .losses import token_regions
from .precision import mixed_precision


@dataclass
class Pictures:
    """M tokenised pictures; tokens in the order of the language model, largest first. K tokens at most."""

    images: Tensor  # [M, 3, S, S]
    regions: Tensor  # [M, S, S] region of each pixel
    features: Tensor  # [M, N, C] normalised
    labels: Tensor  # [M, N] index of the token of each patch
    valid: Tensor  # [M, K]
    tokens: Tensor  # [M, K, D] normalised for the projector
    token_regions: Tensor  # [M, K] region that each token shows, -1 for none

    @property
    def real_tokens(self) -> Tensor:
        """[n, D], picture by picture."""
        return self.tokens[self.valid]


@torch.no_grad()
def tokenize(model: Setokim, canvas: Canvas) -> Pictures:
    image, config = canvas.normalized, model.tokenizer_config
    with mixed_precision(image.device):
        features = torch.nn.functional.layer_norm(model.vision(image), (config.vision.width,)).float()
    clusters = cluster_features(features, config.vision.grid, config.cluster, exact=False)
    order = order_by_area(clusters.labels, clusters.valid)  # [M, K]
    labels = order.argsort(1).gather(1, clusters.labels)
    valid = clusters.valid.gather(1, order)
    with mixed_precision(image.device):
        tokens = model.setok["merger"](features, labels, valid)
    return Pictures(
        image,
        canvas.regions,
        features,
        labels,
        valid,
        model.projector.normalize(tokens.float()),
        token_regions(labels, valid, canvas.patch_regions),
    )


@dataclass
class TaskBatch:
    """`targets` and `visual` lie where the pictures do."""

    targets: Targets
    visual: Tensor  # [B, T, D]
    pictures: Pictures

    @classmethod
    def of(cls, targets: Targets, pictures: Pictures) -> "TaskBatch":
        targets = targets.to(pictures.tokens.device)
        row, position, picture, token = targets.visual.unbind(1)
        visual = pictures.tokens.new_zeros(*targets.ids.shape, pictures.tokens.shape[-1])
        visual[row, position] = pictures.tokens[picture, token]
        return cls(targets, visual, pictures)


@dataclass
class WrittenBatch(TaskBatch):
    """With the sequences themselves and what they are about, for evaluation."""

    sequences: list[Sequence]
    contents: Contents


class TaskSampler:
    """Writes about pictures that the model tokenises, batch by batch, all in this process."""

    def __init__(self, model: Setokim, text: Tokenizer, shares: dict[str, float]):
        self.model = model
        self.writer = TaskWriter(text, model.config.special_tokens, shares)
        self.renderer = Renderer.on(model.projector.mean.device)

    def batch(self, split: str, first: int, count: int, kind: str | None = None, held_out_words=False) -> WrittenBatch:
        """See `TaskWriter.plan`."""
        planned = self.writer.plan(split, first, count, kind, held_out_words)
        pictures = tokenize(self.model, self.renderer.draw(Layouts.of(planned.scenes, planned.easy)))
        contents = planned.contents(pictures.valid.sum(1).tolist(), pictures.token_regions.tolist())
        sequences = self.writer.write(planned, contents)
        batch = TaskBatch.of(targets_of(sequences, contents), pictures)
        return WrittenBatch(batch.targets, batch.visual, pictures, sequences, contents)


class TaskLoader:
    """The training batches `first`, `first + stride`, ..., with all that needs no tokenizer done ahead."""

    def __init__(self, model: Setokim, text: Tokenizer, shares: dict[str, float], stride: int, processes: int):
        self.model, self.stride = model, stride
        self.renderer = Renderer.on(model.projector.mean.device)
        self.ahead = Ahead(processes, _start, text.to_str(), model.config.special_tokens, shares)
        self.planned: dict[int, Future] = {}  # layouts, by the first sequence of the batch
        self.pictures: dict[int, Pictures] = {}
        self.known: dict[int, tuple[Tensor, torch.cuda.Event | None]] = {}  # on the CPU once the event has come
        self.written: dict[int, Future] = {}  # targets

    def batch(self, first: int, count: int) -> TaskBatch:
        for begin in range(first, first + self.ahead.depth * self.stride, self.stride):
            if begin not in self.planned and begin not in self.pictures:
                self.planned[begin] = self.ahead.submit(begin // self.stride, _plan, begin, count)
        self._write()
        self._tokenize()
        if first in self.planned:
            self.planned[first].result()
            self._tokenize()
        if first in self.known:
            self._write()
        return TaskBatch.of(self.written.pop(first).result(), self.pictures.pop(first))

    def _tokenize(self) -> None:
        for begin, layouts in list(self.planned.items()):
            if layouts.done():
                pictures = tokenize(self.model, self.renderer.draw(self.planned.pop(begin).result()))
                known = torch.cat([pictures.valid.sum(1, keepdim=True), pictures.token_regions], 1)
                known = known.to("cpu", non_blocking=True)
                arrived = torch.cuda.current_stream().record_event() if pictures.tokens.is_cuda else None
                self.pictures[begin], self.known[begin] = pictures, (known, arrived)

    def _write(self) -> None:
        """Have written about what was tokenised; what was in an earlier call has arrived without waiting."""
        for begin, (known, arrived) in list(self.known.items()):
            if arrived:
                arrived.synchronize()
            counts, regions = known[:, 0].tolist(), known[:, 1:].tolist()
            self.written[begin] = self.ahead.submit(begin // self.stride, _write, begin, counts, regions)
        self.known.clear()


# In the process that writes: who writes, and what was planned and is not yet written.
_writer: TaskWriter
_plans: dict[int, Planned]


def _start(text: str, special: SpecialTokens, shares: dict[str, float]) -> None:
    global _writer, _plans
    _writer, _plans = TaskWriter(Tokenizer.from_str(text), special, shares), {}


def _plan(first: int, count: int) -> Layouts:
    _plans[first] = planned = _writer.plan("train", first, count)
    return Layouts.of(planned.scenes, planned.easy)


def _write(first: int, counts: list[int], regions: list[list[int]]) -> Targets:
    planned = _plans.pop(first)
    contents = planned.contents(counts, regions)
    return targets_of(_writer.write(planned, contents), contents)
